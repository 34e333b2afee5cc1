"""Reenactment on clips of the embedded world, by networks and by the truth.

Every person is embedded from the first frame of a clip of their own, and driven twice: by that clip
(self), and by the next person's (cross). What is measured, of what and in which unit is frozen in
`jaxface.evaluation.reenactment_protocol`; `jaxface.evaluation.reenactment_judges` measures.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import SuiteError, UsageError, did_you_mean
from jaxface.evaluation.ground_truth import rotation_angle
from jaxface.evaluation.outputs import Outcome, Workspace
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.reenactment_beside import (
    copy_sheets,
    earlier_document,
    joined,
    joined_description,
    tables_of,
)
from jaxface.evaluation.reenactment_floor import judges_floor
from jaxface.evaluation.reenactment_judges import (
    REQUIRED,
    Judged,
    by_networks,
    by_truth,
    judge_names,
    look,
)
from jaxface.evaluation.reenactment_protocol import (
    SEED,
    PersonClip,
    Protocol,
    expression_ranges,
    perfect_scenes,
    person_clip,
)
from jaxface.evaluation.reenactment_report import reenactment_report, sheet_name, write_sheet
from jaxface.evaluation.reenactment_scores import scores
from jaxface.evaluation.reenactment_tables import (
    CLIP_TABLES,
    PAIR_TABLES,
    SHIPPED,
    Tables,
    pair_scores,
    tables_method,
    trained_suites,
)
from jaxface.evaluation.reenactment_tables_report import tables_report
from jaxface.evaluation.reenactment_training import Budget
from jaxface.evaluation.suite_world import suite_world
from jaxface.keys import item_keys
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods.inversion import invert
from jaxface.methods.reenactment import BatchReenactor
from jaxface.methods.reenactment_presets import REENACTMENT_PRESETS
from jaxface.morphable import Scene
from jaxface.morphable.motion import Motion
from jaxface.morphable.retargeting import Retargeting
from jaxface.nets import Generator
from jaxface.runtime.progress import Pace
from jaxface.solving.solver import Status
from jaxface.suite import Suite, identity_network
from jaxface.weights import named_arrays, with_arrays

SHORT = {"pie": "pie_rignet"}
"""Names that methods also go by."""
CASES = ("self", "cross")
TOGETHER = 8
"""Persons that are embedded in one batch; but one, where a generator is tuned to each: nothing is
shared there, and a program of several rows is as many times as long to compile."""


def chosen_methods(text: str) -> dict[str, BatchReenactor]:
    """The methods of a comma-separated list, by the names given there.

    Raises:
      UsageError: an unknown name, or one twice.
    """
    names = [name.strip() for name in text.split(",")]
    known = [*SHORT, *REENACTMENT_PRESETS]
    for name in names:
        if name not in known:
            raise UsageError(f"--methods: unknown {name!r}; {did_you_mean(name, known)}")
    if len({SHORT.get(name, name) for name in names}) < len(names):
        raise UsageError(f"--methods: one is named twice in {text!r}")
    return {name: REENACTMENT_PRESETS[SHORT.get(name, name)] for name in names}


def scaled_steps(settings: Any, factor: float) -> Any:
    """Settings with so many times the steps, wherever a field of whole numbers is named so."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name.endswith("steps") and isinstance(value, int) and value:
            changes[field.name] = max(1, round(value * factor))
        elif dataclasses.is_dataclass(value):
            changes[field.name] = scaled_steps(value, factor)
    return dataclasses.replace(settings, **changes)


def evaluate_method(
    suite: Suite,
    name: str,
    method: BatchReenactor,
    protocol: Protocol,
    *,
    parts: Parts,
    cases: Sequence[str] = CASES,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, list[dict[str, np.ndarray]]]:
    """Measures a method: by case, and then for each person, what the judges gave.

    Args:
      suite: has the method's networks and the judges'.
      name: of the method, in the names of its parts.
      method: with the inversion that is to be run; methods with equal ones share its results.
      protocol: what is measured.
      parts: what is finished, and not done again.
      cases: out of `CASES`.
      say: receives a line before each part.
    """
    of = suite_world(suite)
    ranges = expression_ranges(of)
    inversion = hashlib.sha256(repr(method.inversion).encode()).hexdigest()[:8]
    names = [f"{name}-{case}-{i:03d}" for i in range(protocol.persons) for case in cases]
    pace = Pace(parts.missing(names))
    measured: dict[str, list[dict[str, np.ndarray]]] = {case: [] for case in cases}
    for number in range(protocol.persons):
        own = person_clip(protocol, number, of)
        together = 1 if method.inversion.tunes_generator else TOGETHER
        start = number // together * together
        numbers = range(start, min(start + together, protocol.persons))

        def embed(numbers=numbers) -> dict[str, Any]:
            say(f"{name}: embedding persons {numbers[0] + 1} to {numbers[-1] + 1}")
            return _embed(suite, method, protocol, numbers)

        sources = parts.get(f"sources-{inversion}-{start:03d}", embed)
        embedded = {k: v[number - start : number - start + 1] for k, v in sources.items()}
        for case in cases:
            other = number if case == "self" else (number + 1) % protocol.persons
            driver = own if case == "self" else person_clip(protocol, other, of)

            def make(
                own=own, driver=driver, embedded=embedded, case=case, number=number
            ) -> dict[str, Any]:
                say(f"{name}: person {number + 1} of {protocol.persons}, {case}, {pace.next()}")
                return _drive(suite, method, embedded, own, driver, ranges, cross=case == "cross")

            measured[case].append(parts.get(f"{name}-{case}-{number:03d}", make))
    return measured


def _embed(
    suite: Suite, method: BatchReenactor, protocol: Protocol, numbers: Sequence[int]
) -> dict[str, Any]:
    """The sources of some persons, inverted together: a row for each."""
    of = suite_world(suite)
    firsts = [
        jax.tree.map(lambda leaf: leaf[:1], person_clip(protocol, number, of).scenes)
        for number in numbers
    ]
    scenes = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *firsts)
    key = jax.random.key(SEED)
    result = invert(
        method.inversion,
        suite,
        _render(scenes, suite),
        keys=item_keys(key, [f"person-{number}" for number in numbers]),
        networks_key=jax.random.fold_in(key, 1),
    )
    tuned = {} if result.weights is None else named_arrays(result.weights)
    return {
        "w_plus": result.w_plus,
        "finite": result.status != Status.DIVERGED,
        **{f"weights.{each}": np.asarray(value) for each, value in tuned.items()},
    }


def _drive(
    suite: Suite,
    method: BatchReenactor,
    embedded: Mapping[str, np.ndarray],
    own: PersonClip,
    driver: PersonClip,
    ranges: np.ndarray,
    *,
    cross: bool,
) -> dict[str, Any]:
    """A clip that is drawn and judged."""
    scenes = perfect_scenes(own, driver)
    driving, perfect = _render(driver.scenes, suite), _render(scenes, suite)
    source = _render(jax.tree.map(lambda leaf: leaf[:1], own.scenes), suite)
    networks = method.networks(suite)
    generator = _generator(suite, embedded)
    motion = _read(networks, driving, method=method)
    w_plus = jnp.asarray(embedded["w_plus"])
    still, subject = _own(networks, generator, w_plus, method=method)
    wanted = Retargeting()(subject, motion)
    drawn = _move(networks, generator, w_plus, subject, wanted, method=method)
    result = from_uint8(to_uint8(jnp.clip(drawn, -1, 1)))
    still = from_uint8(to_uint8(jnp.clip(still, -1, 1)))
    clip = Judged(result, driving, perfect, source, still, scenes, ranges)
    turns, seen = _degrees(own, driver), look(suite, clip)
    return {
        "result": to_uint8(result),
        "driving": to_uint8(driving),
        "perfect": to_uint8(perfect),
        "source": to_uint8(source)[0],
        "still": to_uint8(still)[0],
        "turns": turns,
        "features": seen["result"].features,
        **{f"{k}_features": seen[k].features for k in ("driving", "perfect", "source")},
        **{f"network_{k}": v for k, v in by_networks(suite, clip, seen, cross=cross).items()},
        **{f"truth_{k}": v for k, v in by_truth(suite, clip, seen).items()},
    }


def _degrees(own: PersonClip, driver: PersonClip) -> np.ndarray:
    """How far the driver's head is turned from the source's, [T]."""
    first = jnp.broadcast_to(own.face.rotation[:1], driver.face.rotation.shape)
    return np.rad2deg(np.asarray(rotation_angle(driver.face.rotation, first)))


def _generator(suite: Suite, embedded: Mapping[str, np.ndarray]) -> Generator:
    """The suite's, or the one that was tuned to the person."""
    tuned = {
        f"synthesis.{name.removeprefix('weights.')}": value[0]
        for name, value in embedded.items()
        if name.startswith("weights.")
    }
    generator = suite.generator
    if not tuned:
        return generator
    own = named_arrays(generator)
    found: Any = with_arrays(generator, {name: own[name] + x for name, x in tuned.items()})
    return found


def _render(scenes: Scene, suite: Suite) -> jax.Array:
    return from_uint8(to_uint8(suite_world(suite).render(scenes, suite.generator.resolution)))


@functools.partial(jax.jit, static_argnames="method")
def _read(networks: Any, images: jax.Array, *, method: BatchReenactor) -> Motion:
    return method.read(networks, images)


@functools.partial(jax.jit, static_argnames="method")
def _own(
    networks: Any, generator: Generator, w_plus: Any, *, method: BatchReenactor
) -> tuple[jax.Array, Motion]:
    still = method.draw(generator, w_plus, noise="const")
    return still, method.read(networks, still)


@functools.partial(jax.jit, static_argnames="method")
def _move(
    networks: Any,
    generator: Generator,
    w_plus: Any,
    own: Motion,
    wanted: Motion,
    *,
    method: BatchReenactor,
) -> jax.Array:
    many = jnp.broadcast_to(w_plus, (len(wanted), *w_plus.shape[1:]))
    own = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(wanted), leaf.shape[1])), own)
    return method.move(networks, generator, many, own, wanted, noise="const").images


def description(
    suite: Suite,
    protocol: Protocol,
    methods: Mapping[str, BatchReenactor],
    *,
    tables: Tables | None = None,
) -> dict[str, Any]:
    """Everything that decides the numbers, in JSON's types."""
    return json.loads(
        json.dumps(
            {
                "evaluation": "reenactment",
                "protocol": protocol.to_json(),
                "digest": protocol.digest,
                "methods": {
                    name: dataclasses.asdict(each)  # type: ignore
                    for name, each in methods.items()
                },
                "tables": None if tables is None else dataclasses.asdict(tables),
                "judges": judge_names(suite),
                "suite": {
                    "name": suite.name,
                    **{role: suite.digest(role) for role in sorted(suite.files)},
                },
            }
        )
    )


def check_networks(suite: Suite, methods: Sequence[BatchReenactor]) -> None:
    """Insists on the networks that are needed, before hours of work.

    Raises:
      SuiteError: one is missing.
    """
    suite.require(REQUIRED)
    if identity_network(suite) is None:
        raise SuiteError(f"suite {suite.name!r} has no recognition; it judges identity")
    for method in methods:
        suite.require({**method.inversion.roles(), **method.driving_roles()})


def table_scores(
    suite: Suite,
    tables: Tables,
    protocol: Protocol,
    *,
    parts: Parts,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Tables 2 to 5: ``table2`` to ``table5``, each by row, and ``training``, the steps' losses.

    Args:
      suite: has the networks of the direction matrix's losses, a matrix, and an encoder.
      tables: how much is trained and how many pairs are measured.
      protocol: of the clips.
      parts: what is finished, and not done again.
      say: receives a line before each part.
    """
    suites, losses = trained_suites(suite, tables, parts=parts, say=say)
    found: dict[str, Any] = {"training": losses}
    for table, rows in PAIR_TABLES.items():
        found[table] = {}
        for row in (*rows, SHIPPED):

            def judge(row=row) -> dict[str, float]:
                say(f"{tables.pairs} pairs by {row!r}")
                return pair_scores(suites[row], tables.pairs)

            values = parts.get(f"pairs-{row}", judge)  # of one row in two tables once
            found[table][row] = {key: float(value) for key, value in values.items()}
    for table, rows in CLIP_TABLES.items():
        found[table] = {}
        for row, tuned in rows:
            name = f"{row}-{'tuned' if tuned else 'untuned'}"
            method: Any = tables_method(tuned=tuned, factor=protocol.iterations)
            measured = evaluate_method(
                suites[row], name, method, protocol, parts=parts, cases=("self",), say=say
            )
            means = scores(measured)
            found[table][name] = {key: means[key] for key in ("self", "self_true")}
    return found


def run(
    suite: Suite,
    workspace: Workspace,
    *,
    methods: str,
    persons: int,
    frames: int,
    iterations: float,
    tables: bool = False,
    steps: int = Budget.steps,
    beside: str | None = None,
) -> Outcome:
    """The experiment of `jaxface evaluate reenactment`.

    Parts that a stopped run finished are not done again.

    Args:
      suite: has the methods' networks and the judges'.
      workspace: receives ``reenactment.md``, ``reenactment.json``, sheets and ``parts/``.
      methods: comma-separated names of `jaxface.methods.reenactment_presets`, or of `SHORT`.
      persons, frames, iterations: see `Protocol`.
      tables: whether matrices are trained for Tables 2 to 5. The suite's z then begins with the
        factors of scenes.
      steps: of each of those trainings.
      beside: ``reenactment.json`` of an earlier run, whose methods and tables the report also has.

    Raises:
      UsageError: an unknown method, a folder that was begun with another description, or an earlier
        run of another protocol, other judges or other networks.
      SuiteError: the suite lacks a network.
    """
    protocol = Protocol(persons, frames, iterations)
    chosen: dict[str, Any] = {}
    for name, method in chosen_methods(methods).items():
        inversion = scaled_steps(method.inversion, iterations)
        chosen[name] = dataclasses.replace(method, inversion=inversion)  # type: ignore
    trained = Tables(Budget(steps)) if tables else None
    ablated = [tables_method(tuned=True)] if tables else []
    check_networks(suite, [*chosen.values(), *ablated])
    decided = description(suite, protocol, chosen, tables=trained)
    folder, say = workspace.folder, workspace.say
    earlier = None if beside is None else earlier_document(beside, decided)
    with workspace.claim(folder, decided):
        parts = Parts(folder / "parts")
        found: dict[str, Any] = {}
        driven: dict[str, list[dict[str, np.ndarray]]] = {}
        for name, method in chosen.items():
            measured = evaluate_method(suite, name, method, protocol, parts=parts, say=say)
            driven[name] = measured["cross"]
            for key, value in scores(measured).items():
                found.setdefault(key, {})[name] = value
            for case, clips in measured.items():
                write_sheet(folder / sheet_name(name, case), clips)
        found["judge_floor"] = judges_floor(
            suite, protocol, driven, parts=parts, knows_factors=tables, say=say
        )
        if trained is not None:
            found |= table_scores(suite, trained, protocol, parts=parts, say=say)
        if beside is not None and earlier is not None:
            found, decided = joined(found, earlier), joined_description(decided, earlier)
            copy_sheets(beside, earlier, folder)
        report = reenactment_report(suite, protocol, found, judge_names(suite))
        measured_tables = tables_of(decided)
        if measured_tables is not None:
            report += tables_report(found, measured_tables, protocol)
        workspace.write("reenactment", report, {**found, "description": decided})
    return Outcome(report)
