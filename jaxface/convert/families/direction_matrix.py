"""``A_matrix.pt`` of stylegan_directions_face_reenactment: the direction matrix.

The trainer's checkpoints are a dictionary of ``A_matrix``, ``learned_directions``,
``shift_scale``, ``w_plus``, ``num_layers_shift`` and ``step``; the inference scripts read
``shift_dim`` in place of ``step``, and the published file has it. Both are taken::

    A_matrix.linear.weight [rows * D, K]    weight [rows, D, K]   ([1, D, K] where w_plus is false)
    A_matrix.linear.bias [rows * D]         bias

Which numbers the K columns are the file does not say: the network is ``voxceleb`` (yaw, pitch,
roll, jaw, 11 expressions of DECA's) or ``ffhq`` (yaw, pitch, jaw, 12 expressions). Nor does it hold
the ranges of the jaw and the expressions: they are those of the authors' ``ranges_voxceleb.npy``
and ``ranges_FFHQ.npy`` unless ``--with ranges=FILE`` gives such a file, [54, 2], the least and the
largest yaw, pitch, roll, jaw and 50 expressions. Angles are rescaled by 40, 20 and 20 degrees
whatever the ranges are. The yaw's line has the other sign, as `jaxface.morphable.motion` counts.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert.formats.checkpoint import Checkpoint
from jaxface.convert.formats.tensors import ArrayRecord, as_array
from jaxface.convert.formats.words import one_line, shown
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.nets import DirectionMatrixConfig

NETWORKS: tuple[str, ...] = ("voxceleb", "ffhq")
EXTRAS: Mapping[str, Mapping[str, str]] = {}
OPTIONAL: Mapping[str, Mapping[str, str]] = {
    network: {"ranges": "the range file, [54, 2]"} for network in NETWORKS
}

STATE = "A_matrix"
WEIGHT, BIAS = "linear.weight", "linear.bias"
SETTINGS = ("learned_directions", "shift_scale", "w_plus", "num_layers_shift")
NOT_NEEDED = {"step": "a step of the training", "shift_dim": "the width of the rows, as found"}

ANGLES: Mapping[str, tuple[str, ...]] = {
    "voxceleb": ("yaw", "pitch", "roll"),
    "ffhq": ("yaw", "pitch"),
}
# Of libs/configs: degrees that are rescaled to a; the authors' yaw is the other way round.
ANGLE_LINES = {"yaw": -40.0, "pitch": 20.0, "roll": 20.0}
ANGLE_ROWS = {"yaw": 0, "pitch": 1, "roll": 2}
JAW_ROW, EXPRESSION_ROW, RANGE_ROWS = 3, 4, 54
JAW_SPREAD = 6.0  # a literal in the authors' code, where expressions follow shift_scale
DEGREES = np.pi / 180

# Least and largest values of the authors' files: yaw, pitch, roll (degrees), jaw, expressions.
# fmt: off
RANGES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "voxceleb": (
        (-46.37108612060547, 45.77767562866211),
        (-12.206389427185059, 29.508052825927734),
        (-20.664846420288086, 23.006832122802734),
        (-0.11169847846031189, 0.19479338824748993),
        (-0.9968752861022949, 2.3540308475494385),
        (-0.9558461308479309, 1.6016768217086792),
        (-0.2513495981693268, 0.6300631761550903),
        (-0.3255189061164856, 1.6557607650756836),
        (-1.8895974159240723, 1.3332788944244385),
        (-1.3506605625152588, 1.2258248329162598),
        (-1.1249886751174927, 1.052120327949524),
        (-1.6779751777648926, 0.9289817810058594),
        (-0.9170559644699097, 1.0866150856018066),
        (-0.7737163305282593, 1.8717907667160034),
        (-1.6655000448226929, 0.8243483901023865),
        (-1.026439905166626, 1.5903412103652954),
    ),
    "ffhq": (
        (-43.439971923828125, 41.85978317260742),
        (-15.939606666564941, 31.32115364074707),
        (-6.499998092651367, 4.76639986038208),
        (-0.07054586708545685, 0.24340760707855225),
        (-1.1691298484802246, 3.646054744720459),
        (-1.1616681814193726, 1.8393903970718384),
        (-0.26623764634132385, 0.5003353953361511),
        (-0.5655865669250488, 1.3908942937850952),
        (-1.6653085947036743, 1.6466118097305298),
        (-1.4325170516967773, 1.127746820449829),
        (-1.0907059907913208, 1.2641154527664185),
        (-1.8446381092071533, 0.6157387495040894),
        (-1.2562017440795898, 0.9579007625579834),
        (-0.8388957381248474, 1.4292562007904053),
        (-1.797635793685913, 0.8100603818893433),
        (-1.3200747966766357, 1.484714150428772),
    ),
}
# fmt: on


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return isinstance(root, dict) and STATE in root and "learned_directions" in root


def plan(root: Any, network: str, extras: Mapping[str, Checkpoint]) -> Plan:
    """How to convert the matrix.

    Raises:
        Refusal: if a setting is missing, or sizes do not fit each other.
    """
    missing = [key for key in SETTINGS if key not in root]
    if missing:
        raise Refusal(f"lacks {', '.join(missing)}")
    state = root[STATE]
    if not isinstance(state, dict):
        raise Refusal(f"{STATE} is {shown(state)}, expected a state dictionary")
    arrays = {str(key): as_array(value, where=str(key)) for key, value in state.items()}
    columns, rows, shared = _sizes(root)
    weight = arrays.get(WEIGHT)
    count = 1 if shared else rows
    if weight is None or weight.ndim != 2 or weight.shape[1] != columns or len(weight) % count:
        found = "none" if weight is None else list(weight.shape)
        raise Refusal(f"{WEIGHT}: expected [{count} x D, {columns}], got {found}")
    width = len(weight) // count
    names = _names(network, columns)
    spread = float(as_array(root["shift_scale"], where="shift_scale"))
    ranges, notes = _ranges(network, names, extras)
    slope, offset, unit = _lines(names, ranges, spread)
    config = make_config(
        DirectionMatrixConfig,
        names=names,
        basis="flame",
        rows=rows,
        w_dim=width,
        bias=BIAS in arrays,
        shared=shared,
        spread=spread,
    )
    arrays |= {"ranges": ranges, "slope": slope, "offset": offset, "unit": unit}
    entries = [Entry(WEIGHT, "weight", lambda x: x.reshape(count, width, columns))]
    if BIAS in arrays:
        entries.append(Entry(BIAS, "bias", lambda x: x.reshape(count, width)))
    entries += [Entry(name, name) for name in ("ranges", "slope", "offset", "unit")]
    return Plan(
        class_name="DirectionMatrix",
        config=config,
        arrays=arrays,
        entries=tuple(entries),
        notes=(f"columns: {', '.join(names)}", *notes),
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds, by name, with the reason why it is left out."""
    del network
    rest = [key for key in root if key not in (STATE, *SETTINGS)]
    return {one_line(str(key)): NOT_NEEDED.get(key, "not part of the matrix") for key in rest}


def _sizes(root: Any) -> tuple[int, int, bool]:
    """Columns, rows, and whether all rows move alike."""
    columns, rows = root["learned_directions"], root["num_layers_shift"]
    for key, value in (("learned_directions", columns), ("num_layers_shift", rows)):
        if type(value) is not int or not 1 <= value <= 1024:
            raise Refusal(f"{key} is {shown(value)}, expected a small whole number")
    if type(root["w_plus"]) is not bool:
        raise Refusal(f"w_plus is {shown(root['w_plus'])}, expected true or false")
    return columns, rows, not root["w_plus"]


def _names(network: str, columns: int) -> tuple[str, ...]:
    fixed = (*ANGLES[network], "jaw")
    expressions = columns - len(fixed)
    if not 0 <= expressions <= RANGE_ROWS - EXPRESSION_ROW:
        raise Refusal(f"learned_directions is {columns}, expected {len(fixed)} to 54")
    return (*fixed, *(f"expression_{k}" for k in range(expressions)))


def _ranges(
    network: str, names: tuple[str, ...], extras: Mapping[str, Checkpoint]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """[K, 2], and a note on where they are from."""
    if "ranges" in extras:
        root = extras["ranges"].root
        if not isinstance(root, ArrayRecord) or root.array().shape != (RANGE_ROWS, 2):
            raise Refusal(f"{extras['ranges'].path}: expected an array [{RANGE_ROWS}, 2]")
        table, note = root.array().astype(np.float64), "ranges: of the file given"
    else:
        table, note = np.array(RANGES[network]), f"ranges: the authors' of {network}"
    rows = [_row(name) for name in names]
    if max(rows) >= len(table):
        raise Refusal(f"{names[-1]} has no known range; give --with ranges=FILE")
    found = table[rows]
    if not (found[:, 1] > found[:, 0]).all():
        raise Refusal("ranges: a largest value is not above the least")
    return found, (note,)


def _row(name: str) -> int:
    if name in ANGLE_ROWS:
        return ANGLE_ROWS[name]
    return JAW_ROW if name == "jaw" else EXPRESSION_ROW + int(name.rpartition("_")[2])


def _lines(
    names: tuple[str, ...], ranges: np.ndarray, spread: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes and offsets of the rescaling, and units: a degree, or FLAME's own deviation."""
    low, high = ranges.T
    reach = np.array([JAW_SPREAD if name == "jaw" else spread for name in names])
    slope = 2 * reach / (high - low)
    offset = -reach * (high + low) / (high - low)
    unit = np.array([DEGREES if name == "jaw" else 1.0 for name in names])
    for place, name in enumerate(names):
        if name in ANGLE_LINES:
            slope[place], offset[place] = spread / ANGLE_LINES[name], 0.0
    return slope, offset, unit
