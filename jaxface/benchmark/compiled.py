"""What XLA says of a program that it compiled, whether its device is there or described only.

These are a compiler's figures, not measurements. Times are the sum of the cycles that XLA's TPU
backend writes beside each operation, at the chip's clock: asynchronous copies and some additions
have none, and a loop's body counts once, so a step's program is to be one step. Of GPUs XLA says no
cost: their traffic is counted here, every operation's operands and results, as if no cache held
them.
"""

import dataclasses
import importlib.metadata
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import jax

_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_CALLED = re.compile(r"(?:body|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_DTYPES = {"bf16": "bfloat16", "f32": "float32", "f16": "float16"}
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call"}


@dataclasses.dataclass(frozen=True)
class ProgramCost:
    """A compiled program on one of its devices.

    Attributes:
      operations: floating point ones, multiplications and additions; None where XLA does not say.
      traffic: bytes read from and written to the device's memory.
      peak: bytes of memory at the fullest, arguments included.
      seconds: XLA's estimate; None where it makes none.
      collectives: by kind, how many there are and the bytes of their results.
      convolutions: of images, by the dtype of what they read, how many there are.
    """

    operations: float | None
    traffic: float
    peak: int
    seconds: float | None
    collectives: dict[str, tuple[int, int]]
    convolutions: dict[str, int]

    def roofline(self, flop_per_second: float, bytes_per_second: float) -> float:
        """Seconds that the device cannot go below: operations or traffic at its peak."""
        return max((self.operations or 0.0) / flop_per_second, self.traffic / bytes_per_second)


def program_cost(
    compiled: jax.stages.Compiled, *, clock: float | None = None, rounds: int = 1
) -> ProgramCost:
    """What XLA says of a program.

    Args:
      compiled: it.
      clock: cycles a second of XLA's estimates, see `jaxface.runtime.topologies.Chip`.
      rounds: of each loop in it. XLA's own counts take a loop's body once: with more rounds
        traffic is counted here, and operations are not known.
    """
    computations = _computations(compiled.as_text() or "")
    convolutions = _convolutions(computations)
    cycles, counted, found = 0, 0, defaultdict[str, list[int]](list)
    for shape, op, operands, rest, times in _walk(computations, "ENTRY", rounds):
        said = _CYCLES.search(rest)
        cycles += times * int(said[1]) if said else 0
        if op not in _FREE:
            counted += times * (_bytes_of(shape) + _bytes_of(operands))
        kind = op.removesuffix("-start")
        if kind in _COLLECTIVES:
            found[kind] += [_bytes_of(shape)] * times
    cost = compiled.cost_analysis() if rounds == 1 else None
    memory: Any = compiled.memory_analysis()
    return ProgramCost(
        operations=None if not cost else cost.get("flops"),
        traffic=counted if not cost else cost.get("bytes accessed", math.nan),
        peak=int(memory.peak_memory_in_bytes),
        seconds=cycles / clock if clock and cycles else None,
        collectives={kind: (len(sizes), sum(sizes)) for kind, sizes in found.items()},
        convolutions=convolutions,
    )


@dataclasses.dataclass
class _Computation:
    lines: list[str]
    shapes: dict[str, str]  # of what each instruction gives


def _computations(text: str) -> dict[str, _Computation]:
    """The computations of a module, by name; the first one to run also as "ENTRY"."""
    found: dict[str, _Computation] = {}
    current = None
    for line in text.splitlines():
        if line.endswith("{") and "->" in line and not line.startswith(" "):
            entry, _, rest = line.partition("ENTRY ")
            name = (rest or entry).split("(")[0].strip().lstrip("%")
            current = found[name.split(" ")[0]] = _Computation([], {})
            if rest:
                found["ENTRY"] = current
        elif line.startswith("}"):
            current = None
        elif current is not None and (match := _INSTRUCTION.match(line)):
            current.lines.append(line)
            current.shapes[match[1]] = match[2]
    return found


def _walk(
    computations: dict[str, _Computation], name: str, rounds: int, times: int = 1
) -> Iterator[tuple[str, str, str, str, int]]:
    """Every operation that runs, in loops and branches too: its shape, what it is, its operands'
    shapes, the rest of its line, and how often it runs."""
    within = computations[name]
    for line in within.lines:
        match = _INSTRUCTION.match(line)
        assert match is not None
        _, shape, op, rest = match.groups()
        named = re.findall(r"%([\w.\-]+)", rest.partition(")")[0])
        yield shape, op, " ".join(within.shapes.get(each, "") for each in named), rest, times
        if op in ("while", "call", "conditional"):
            inner = _CALLED.findall(rest)
            for listed in _BRANCHES.findall(rest):
                inner += re.findall(r"[\w.\-]+", listed)
            for each in inner:
                again = times * rounds if op == "while" else times
                yield from _walk(computations, each, rounds, again)


def _convolutions(computations: dict[str, _Computation]) -> dict[str, int]:
    """Convolutions of arrays of four axes, in fusions too; a GPU's are calls of cuDNN.

    A TPU has matrix products as convolutions as well, which are not meant: by their origin.
    """
    found: dict[str, int] = defaultdict(int)
    for name, within in computations.items():
        for line in within.lines if name != "ENTRY" else ():
            match = _INSTRUCTION.match(line)
            assert match is not None
            _, _, op, rest = match.groups()
            if "dot_general" in rest or (op != "convolution" and '"__cudnn$conv' not in rest):
                continue
            read = re.findall(r"%([\w.\-]+)", rest.partition(")")[0])
            arrays = _ARRAY.findall(within.shapes.get(read[0], "")) if read else ()
            for kind, _, sides in arrays:
                if sides.count(",") >= 3:
                    found[_DTYPES.get(str(kind)) or str(kind)] += 1
    return dict(found)


def _bytes_of(shape: str) -> int:
    """Of all arrays in a shape's text."""
    total = 0
    for kind, bits, sides in _ARRAY.findall(shape):
        count = math.prod(int(side) for side in sides.split(",") if side)
        total += count * (1 if kind == "pred" else max(int(bits), 8) // 8)
    return total


def compilers() -> dict[str, str]:
    """The versions of what compiles."""
    names = ("jax", "jaxlib", "libtpu", "jax-cuda13-plugin")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
