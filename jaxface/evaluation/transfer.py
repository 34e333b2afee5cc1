"""Transfer's Table 1 on clips of the embedded world, by the paper's networks and by the truth.

Persons are driven as in the cross case of `jaxface.evaluation.reenactment_protocol`: the target is
the first frame of a person's clip, the driver the whole clip of the next person. Rows are those of
Jahoda and Cech 2023, Table 1: the baseline of equation 7 by pSp and by e4e, which has the person's
whole clip; the variants Gen and Cos; and the method. Two more are there to compare with: the target
as it is inverted, undriven, and the perfect result. A row whose networks are missing is left out,
and the report says so.

The three columns of the paper are `jaxface.methods.transfer.scores`'s. The truth judges the same
images: against the render of the target's person with the driver's rotation and expression.
Version 2 of the world has no gaze of its own; the paper's claim of eye movement is not measured.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import SuiteError
from jaxface.evaluation.named_rows import named_suites
from jaxface.evaluation.outputs import Outcome, Workspace
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.reenactment_judges import (
    REQUIRED,
    Judged,
    by_truth,
    judge_names,
    look,
)
from jaxface.evaluation.reenactment_protocol import (
    SEED,
    Protocol,
    expression_ranges,
    perfect_scenes,
    person_clip,
)
from jaxface.evaluation.suite_world import suite_world
from jaxface.evaluation.transfer_report import BASES, ROWS, transfer_report, write_transfer_sheet
from jaxface.keys import item_keys
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import encoder
from jaxface.methods.reenactment import Driving, drive_chunks
from jaxface.methods.transfer import LatentArithmetic, TransferReenactment
from jaxface.methods.transfer.scores import Judges, clip_scores, mean_scores
from jaxface.runtime.progress import Pace
from jaxface.suite import Suite

TRUE = ("rotation", "turn", "pose", "expression", "perceptual", "psnr", "mouth_psnr", "eyes_psnr")
"""Of `reenactment_protocol.TRUE_MEASURES`; and ``csim``, to the perfect result."""

OPEN: tuple[str, ...] = ("still", "perfect")
"""Rows that need no network of Transfer."""


def row_suites(suite: Suite, named: str | None) -> dict[str, Suite]:
    """The suite that each row is measured with, in the report's order.

    Args:
      suite: has what judges, and networks of rows that are not named.
      named: comma-separated ROW=DIR: folders whose networks take the place of the suite's in a row.

    Raises:
      UsageError: no such row, or one without a folder.
    """
    found: dict[str, Suite] = dict.fromkeys(OPEN, suite)
    if "transfer" in suite:
        found["ours"] = suite
    if "encoder" in suite:
        found |= {row: suite for row, kind in BASES.items() if _encodes(suite, kind)}
    found |= named_suites(suite, named, [row for row in ROWS if row not in OPEN])
    return {row: found[row] for row in ROWS if row in found}


def _encodes(suite: Suite, kind: Any) -> bool:
    return isinstance(suite.encoder, encoder.CLASSES[kind])


def drawn_row(
    row: str, suite: Suite, clip: Mapping[str, np.ndarray], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """What a row makes of a target and a driver, and of the target where it does not move.

    Args:
      row: out of `ROWS`.
      suite: of the row.
      clip: ``driving``, ``own`` (the person's clip; its first frame is the target) and ``perfect``,
        [T, R, R, 3] in [-1, 1].
      name: of the person.

    Returns:
      [T, R, R, 3] and [1, R, R, 3], not clipped.
    """
    target, keys = clip["own"][:1], item_keys(jax.random.key(SEED), [name])
    if row == "perfect":
        return clip["perfect"], target
    if row in BASES:
        baseline = LatentArithmetic(inversion=encoder.Settings(encoder=BASES[row]))
        networks = baseline.inversion.networks(suite, keys[0])
        still = _drawn(networks.generator, baseline.codes(networks, target))
        return baseline.transfer(networks, clip["own"], clip["driving"]), still
    method = TransferReenactment()
    subject = method.adapt(suite, target, keys=keys)
    still = _drawn(subject.generator, subject.w_plus)
    if row == "still":
        return still.repeat(len(clip["driving"]), axis=0), still
    chunks = drive_chunks(method, subject, Driving(images=clip["driving"]))
    return np.concatenate(list(chunks)), still


def _drawn(generator: Any, w_plus: Any) -> np.ndarray:
    return np.asarray(_synthesis(generator, jnp.asarray(w_plus)))


@jax.jit
def _synthesis(generator: Any, w_plus: jax.Array) -> jax.Array:
    return generator.synthesis(w_plus, "const")


def measured_clip(
    row: str, suite: Suite, judging: Suite, protocol: Protocol, number: int, ranges: np.ndarray
) -> dict[str, Any]:
    """A row's clip of a person, judged.

    Args:
      row: out of `ROWS`.
      suite: of the row.
      judging: whose networks judge.
      protocol: of the clips.
      number: of the person.
      ranges: of `expression_ranges`.

    Returns:
      ``table1_<score>`` of `clip_scores`, ``true_<measure>`` [T], and uint8 images by name.
    """
    of = suite_world(judging)
    own = person_clip(protocol, number, of)
    driver = person_clip(protocol, (number + 1) % protocol.persons, of)
    scenes = perfect_scenes(own, driver)
    size = suite.generator.resolution
    seen = {"driving": driver.scenes, "own": own.scenes, "perfect": scenes}
    clip = {
        name: np.asarray(from_uint8(to_uint8(of.render(each, size)))) for name, each in seen.items()
    }
    result, still = (
        np.asarray(from_uint8(to_uint8(jnp.clip(each, -1, 1))))
        for each in drawn_row(row, suite, clip, f"person-{number}")
    )
    source = clip["own"][:1]
    networks = {role: judging.network(role) for role in _JUDGES if role in judging}
    scored = clip_scores(Judges.of(networks), clip["driving"], source[0], result)
    judged = Judged(result, clip["driving"], clip["perfect"], source, still, scenes, ranges)
    true = by_truth(judging, judged, look(judging, judged))
    turned = np.abs(np.asarray(driver.face.rotation - own.face.rotation[:1]))
    return {
        **{f"table1_{name}": value for name, value in scored.items()},
        **{f"true_{name}": true[name] for name in ("csim", *TRUE)},
        "turns": np.rad2deg(turned.max(axis=1)),
        "result": to_uint8(result),
        "driving": to_uint8(clip["driving"]),
        "perfect": to_uint8(clip["perfect"]),
        "source": to_uint8(source)[0],
    }


_JUDGES = ("landmarks", "recognition", "pose", "reconstruction")


def row_scores(
    clips: list[dict[str, np.ndarray]],
) -> tuple[dict[str, float], dict[str, float | None]]:
    """The row of ``table1`` and that of ``table1_true``: means over frames, then over clips.

    What has no bound is None: the PSNR of images without any error.
    """
    prefix = "table1_"
    scored = [
        {name.removeprefix(prefix): float(v) for name, v in clip.items() if name.startswith(prefix)}
        for clip in clips
    ]
    true = {}
    for name in ("csim", *TRUE):
        mean = float(np.mean([np.nanmean(clip[f"true_{name}"]) for clip in clips]))
        true[name] = mean if np.isfinite(mean) else None
    return mean_scores(scored), true


def speed(suite: Suite, frames: int) -> dict[str, float]:
    """Seconds of an identity and frames a second of `TransferReenactment`, once compiled.

    Medians of five.
    """
    size = suite.generator.resolution
    images = np.random.default_rng(0).uniform(-1, 1, (frames, size, size, 3)).astype(np.float32)
    method, keys = TransferReenactment(), item_keys(jax.random.key(SEED), ["speed"])
    identities, driven = [], []
    for _ in range(6):  # the first compiles
        begun = time.perf_counter()
        subject = method.adapt(suite, images[:1], keys=keys)
        jax.block_until_ready(subject.w_plus)
        embedded = time.perf_counter()
        list(drive_chunks(method, subject, Driving(images=images)))
        identities.append(embedded - begun)
        driven.append(time.perf_counter() - embedded)
    return {
        "identity_seconds": float(np.median(identities[1:])),
        "frames_per_second": frames / float(np.median(driven[1:])),
    }


def description(suites: Mapping[str, Suite], judging: Suite, protocol: Protocol) -> dict[str, Any]:
    """Everything that decides the numbers, in JSON's types."""
    used = ("encoder", "generator", "transfer")
    rows = {
        row: {role: suite.digest(role) for role in used if role in suite}
        for row, suite in suites.items()
    }
    roles = sorted({*_JUDGES, *REQUIRED, "lpips"} & set(judging.files))
    found = {
        "evaluation": "transfer",
        "protocol": protocol.to_json(),
        "digest": protocol.digest,
        "rows": rows,
        "judges": {role: judging.digest(role) for role in roles},
    }
    return json.loads(json.dumps(found))


def run(
    suite: Suite, workspace: Workspace, *, persons: int, frames: int, rows: str | None
) -> Outcome:
    """The experiment of `jaxface evaluate transfer`.

    Parts that a stopped run finished are not done again.

    Args:
      suite: has a generator, an encoder, what judges, and the networks of the row ``ours``.
      workspace: receives ``transfer.md``, ``transfer.json``, a sheet and ``parts/``.
      persons, frames: see `Protocol`.
      rows: see `row_suites`.

    Raises:
      UsageError: no such row, or a folder that was begun with another description.
      SuiteError: the suite lacks a network.
    """
    suite.require({**REQUIRED, "recognition": "It judges identity", "encoder": "It encodes"})
    suites, protocol = row_suites(suite, rows), Protocol(persons, frames)
    for row, other in suites.items():
        if row in BASES and not _encodes(other, BASES[row]):
            raise SuiteError(
                f"--rows {row}: needs an encoder of the kind {BASES[row]}, got "
                f"{type(other.encoder).__name__}"
            )
        if row not in {*BASES, *OPEN}:
            other.require(TransferReenactment().roles())
    decided = description(suites, suite, protocol)
    with workspace.claim(workspace.folder, decided):
        found = _measure(suite, suites, protocol, workspace)
        report = transfer_report(suite, protocol, found, judge_names(suite))
        workspace.write("transfer", report, {**found, "description": decided})
    return Outcome(report)


def _measure(
    suite: Suite, suites: Mapping[str, Suite], protocol: Protocol, workspace: Workspace
) -> dict[str, Any]:
    parts, ranges = Parts(workspace.folder / "parts"), expression_ranges(suite_world(suite))
    numbers = range(protocol.persons)
    pace = Pace(parts.missing([f"{row}-{n:03d}" for row in suites for n in numbers]))
    found: dict[str, Any] = {"table1": {}, "table1_true": {}}
    shown: dict[str, list[dict[str, np.ndarray]]] = {}
    for row, own in suites.items():
        clips = []
        for number in numbers:

            def make(row: str = row, own: Suite = own, number: int = number) -> dict[str, Any]:
                told = f"{row}: person {number + 1} of {protocol.persons}, {pace.next()}"
                workspace.say(told)
                return measured_clip(row, own, suite, protocol, number, ranges)

            clips.append(parts.get(f"{row}-{number:03d}", make))
        found["table1"][row], found["table1_true"][row] = row_scores(clips)
        shown[row] = clips
    if "ours" in suites:

        def timed() -> dict[str, float]:
            workspace.say("speed of the identity and of frames")
            return speed(suites["ours"], 5 * 24)

        found["speed"] = {name: float(v) for name, v in parts.get("speed", timed).items()}
    write_transfer_sheet(workspace.folder / "transfer.png", shown)
    return found
