"""PIE's experiments on held-out portraits of the embedded world (Tewari et al. 2020, section 5).

Every portrait is embedded by six ways, the columns of the paper's Table 2, and every embedding is
turned to poses that are known exactly. Two judges look at the edits: the suite's networks, as in
the paper, and the embedded world's truth (`jaxface.evaluation.truth`).

What is chosen here:

* Targets are absolute rotations: the portrait's true one turned by up to 0.4 rad, mostly in yaw, as
  the world's heads are. They go to `pie.edit` as numbers, so that nothing of the truth but the
  wanted rotation reaches the system.
* The editing error is the angle of the rotation between wanted and judged pose.
* The recognition error is one minus the cosine of embeddings by the suite's recognition network, or
  by its descriptor where it has no other: of the edit and the portrait, as in
  the paper, or, for the truth, of the edit and a render of the same scene in the wanted pose, which
  is what a perfect edit shows.
* PSNR and SSIM are of the embedding against the portrait; both judges share them.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.devices import divisor_mesh
from jaxface.errors import SuiteError
from jaxface.evaluation import truth
from jaxface.files import atomic_writer
from jaxface.images import from_uint8, to_uint8
from jaxface.losses import identity
from jaxface.methods import image2stylegan, pie
from jaxface.metrics import psnr, ssim
from jaxface.morphable import NUM_FACTORS, FaceParameters, Scene, render, scene_from_gaussian
from jaxface.morphable.model import region_model
from jaxface.nets.framing import portrait_embeddings
from jaxface.solve import Status, item_keys
from jaxface.suite import Suite, identity_network

SEED = 30_000_001
"""Of the portraits; training counts its seeds from 0, a generator is evaluated with another."""

LARGEST_EDIT = 0.4  # rad

# Pitch, yaw and roll: shares of the edits, after the world's deviations of 0.14, 0.38 and 0.07 rad,
# and how far from frontal they may lead, some 2.2 deviations.
_SHARES = (0.36, 1.0, 0.17)
_FARTHEST = (0.30, 0.83, 0.14)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How much is measured.

    Attributes:
      portraits: held-out scenes.
      edits: of each embedding's pose.
      iterations: factor of every column's numbers of steps, and of its decay.
      batch_size: portraits at a time.
    """

    portraits: int = 100
    edits: int = 4
    iterations: float = 1.0
    batch_size: int = 20


def columns(
    everything: pie.Settings = pie.EMBEDDED_ALL,
    other: pie.Settings = image2stylegan.PAPER,
    *,
    iterations: float = 1.0,
) -> dict[str, pie.Settings]:
    """The columns of Table 2 by name.

    Recognition is the term on the embedding and on its edits; modification is the identity, edit
    and invariance terms.

    Args:
      everything: settings with all terms.
      other: Image2StyleGAN's.
      iterations: factor of the numbers of steps and of the steps of a decay.
    """
    recognition = ("recognition", "edit_recognition")
    modification = ("identity", "edit", "invariance")
    found = {
        "synthesis": pie.without(everything, *recognition, *modification),
        "synthesis_recognition": pie.without(everything, *modification),
        "synthesis_modification": pie.without(everything, *recognition),
        "all": everything,
        "all_direct": pie.direct(everything),
        "image2stylegan": other,
    }
    return {name: scaled(settings, iterations) for name, settings in found.items()}


def scaled(settings: pie.Settings, factor: float) -> pie.Settings:
    """The settings with so many times the steps, and of its decay."""

    def scale(steps: int) -> int:
        return round(steps * factor) if steps == 0 else max(1, round(steps * factor))

    names = ("w_steps", "w_plus_steps", "decay_steps")
    return dataclasses.replace(settings, **{n: scale(getattr(settings, n)) for n in names})


COLUMNS = tuple(columns())


class Batch(NamedTuple):
    """A batch of held-out portraits, filled up to the batch size with its first one.

    Attributes:
      start: number of the first portrait.
      count: how many count.
      scenes: their scenes.
      images: their renders in 8 bits, [B, R, R, 3] in [-1, 1].
      rotations: wanted, [B, E, 3].
      targets: renders of the scenes in the wanted poses, 8 bits, uint8 [B, E, R, R, 3].
      judges: the judges' own errors in rad, [B, E]: `network` on the renders in the wanted poses;
        `truth` on the portraits, as if they were what an edit gave.
    """

    start: int
    count: int
    scenes: Scene
    images: jax.Array
    rotations: jax.Array
    targets: np.ndarray
    judges: dict[str, np.ndarray]


class Parts:
    """Finished parts of an evaluation, each a file of arrays: what is there is not done again."""

    def __init__(self, folder: Path):
        self.folder = folder

    def get(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The part of that name, made and stored where it is not there yet."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            arrays = {key: np.asarray(value) for key, value in make().items()}
            with atomic_writer(path) as file:
                np.savez(file, allow_pickle=False, **arrays)
        with np.load(path) as stored:
            return dict(stored)


def held_out(protocol: Protocol) -> tuple[Scene, jax.Array]:
    """The portraits' scenes and the wanted rotations, [N, E, 3]."""
    scene_key, edit_key = jax.random.split(jax.random.key(SEED))
    # Drawn one by one, so that more portraits or edits leave the first ones as they are.
    numbers = jnp.arange(protocol.portraits)
    factors = jax.vmap(
        lambda i: jax.random.normal(jax.random.fold_in(scene_key, i), (NUM_FACTORS,))
    )
    scenes = scene_from_gaussian(factors(numbers))

    def wanted(number: jax.Array, rotation: jax.Array) -> jax.Array:
        keys = jax.vmap(lambda e: jax.random.fold_in(jax.random.fold_in(edit_key, number), e))
        return jax.vmap(lambda key: _wanted(key, rotation))(keys(jnp.arange(protocol.edits)))

    return scenes, jax.vmap(wanted)(numbers, scenes.face.rotation)


def _wanted(key: jax.Array, rotation: jax.Array) -> jax.Array:
    """A rotation up to `LARGEST_EDIT` from a portrait's; inwards where it would lead too far."""
    size_key, direction_key = jax.random.split(key)
    direction = jax.random.normal(direction_key, (3,)) * jnp.array(_SHARES)
    size = jax.random.uniform(size_key, maxval=LARGEST_EDIT)
    change = size * direction / jnp.linalg.norm(direction)
    far = jnp.array(_FARTHEST)
    outward = jnp.abs(rotation + change) > far
    return jnp.where(outward, rotation - change, rotation + change)


def batches(
    suite: Suite, protocol: Protocol, parts: Parts, say: Callable[[str], None]
) -> Iterator[Batch]:
    """The held-out portraits, batch by batch, with what a perfect edit of them shows."""
    scenes, rotations = held_out(protocol)
    size = suite.generator.resolution
    for start in range(0, protocol.portraits, protocol.batch_size):
        count = min(protocol.batch_size, protocol.portraits - start)
        rows = np.arange(start, start + protocol.batch_size)
        rows = np.where(rows < start + count, rows, start)
        batch_scenes, wanted = jax.tree.map(lambda leaf, rows=rows: leaf[rows], (scenes, rotations))

        def make(batch_scenes=batch_scenes, wanted=wanted, start=start) -> dict[str, Any]:
            say(f"rendering portraits from {start}, and what their edits should show")
            face, nuisance = batch_scenes.face, batch_scenes.nuisance
            images = to_uint8(render(batch_scenes, size))
            own = pie.read_parameters(suite, from_uint8(images))
            found: dict[str, list[Any]] = {"targets": [], "network": [], "truth": []}
            for rotation in jnp.moveaxis(wanted, 1, 0):
                turned = dataclasses.replace(face, rotation=rotation)
                target = to_uint8(render(Scene(turned, nuisance), size))
                read = pie.read_parameters(suite, from_uint8(target))
                # The portrait itself, judged as if it were the edit, is the hardest case: it is as
                # far from the wanted pose as edits go.
                fit = judged_pose(face, turned, own, from_uint8(target), from_uint8(images))
                found["targets"].append(target)
                found["network"].append(truth.rotation_angle(read.rotation, rotation))
                found["truth"].append(truth.rotation_angle(fit.rotation, face.rotation))
            return {"images": images, **{k: np.stack(v, axis=1) for k, v in found.items()}}

        stored = parts.get(f"portraits-{start:05d}", make)
        yield Batch(
            start,
            count,
            batch_scenes,
            from_uint8(jnp.asarray(stored["images"])),
            wanted,
            stored["targets"],
            {name: stored[name] for name in ("network", "truth")},
        )


def judged_pose(
    face: FaceParameters,
    wanted: FaceParameters,
    read: FaceParameters,
    targets: jax.Array,
    images: jax.Array,
) -> truth.PoseFit:
    """The poses of edited portraits by the truth.

    The fit starts from the portrait's own pose, from the wanted one and from what the network read,
    and the best fit counts.

    Args:
      face: the portraits' true parameters, N faces.
      wanted: the same in the wanted pose.
      read: what the network read of `images`.
      targets: renders of `wanted`, [N, R, R, 3] in [-1, 1].
      images: [N, R, R, 3] in [-1, 1].
    """
    starts = jnp.stack([each.group("pose") for each in (face, wanted, read)])
    return truth.fit_pose(region_model(), wanted, targets, images, starts)


def rotation_target(rotation: jax.Array) -> pie.Target:
    """Absolute rotations [N, 3] as a target of the pose; the translation stays."""
    values = jnp.pad(rotation, ((0, 0), (0, 3)))
    given = jnp.arange(6) < 3
    return pie.Target(values, given, jnp.zeros(()))


def evaluate_column(
    suite: Suite,
    name: str,
    settings: pie.Settings,
    batch: Batch,
    protocol: Protocol,
    *,
    bank: pie.Bank | None,
) -> dict[str, Any]:
    """Embeds a batch, edits the embeddings, and measures: arrays of B portraits, and E edits."""
    ids = [f"portrait-{batch.start + i}" for i in range(protocol.batch_size)]
    inversion = pie.invert(
        suite,
        batch.images,
        keys=item_keys(jax.random.key(SEED), ids),
        settings=settings,
        bank=bank,
        mask=np.arange(protocol.batch_size) < batch.count,
        mesh=divisor_mesh(protocol.batch_size),
    )
    images = jnp.clip(jnp.asarray(inversion.images), -1.0, 1.0)
    w_plus = jnp.asarray(inversion.w_plus)
    found: dict[str, Any] = {
        "w_plus": inversion.w_plus,
        "images": to_uint8(inversion.images),
        "finite": inversion.status != Status.DIVERGED,
        "psnr": psnr(images, batch.images),
        "ssim": ssim(images, batch.images),
        "seconds": np.asarray(inversion.seconds / batch.count),
    }
    edits: dict[str, list[Any]] = {}
    for index in range(protocol.edits):
        measured = _measure_edit(suite, batch, w_plus, index, feedback=1)
        if name == "all":
            first = _measure_edit(suite, batch, w_plus, index, feedback=0)
            names = ("network_error", "true_error")
            measured |= {f"{each}_without_feedback": first[each] for each in names}
        if index > 0:
            measured.pop("edited")  # one a portrait is enough to look at
        for key, value in measured.items():
            edits.setdefault(key, []).append(value)
    return found | {key: np.stack(value, axis=1) for key, value in edits.items()}


def _measure_edit(
    suite: Suite, batch: Batch, w_plus: jax.Array, index: int, *, feedback: int
) -> dict[str, Any]:
    wanted, face = batch.rotations[:, index], batch.scenes.face
    edit = pie.edit(suite, w_plus, "pose", rotation_target(wanted), feedback=feedback)
    images = jnp.clip(edit.images, -1.0, 1.0)
    target = from_uint8(jnp.asarray(batch.targets[:, index]))
    turned = dataclasses.replace(face, rotation=wanted)
    fit = judged_pose(face, turned, edit.after, target, images)
    measured = {
        "size": truth.rotation_angle(wanted, face.rotation),
        "network_error": truth.rotation_angle(edit.after.rotation, wanted),
        "true_error": truth.rotation_angle(fit.rotation, wanted),
        "true_residual": fit.residual,
        "edited_psnr": psnr(images, target),
        "edited_ssim": ssim(images, target),
        "edited": to_uint8(images),
    }
    if identity_network(suite) is not None:
        measured |= {
            "network_recognition": recognition_error(suite, images, batch.images),
            "true_recognition": recognition_error(suite, images, target),
        }
    return measured


def recognition_error(suite: Suite, images: jax.Array, others: jax.Array) -> jax.Array:
    """One minus the cosine of embeddings by the suite's `jaxface.suite.identity_network`, [N]."""
    return _recognition_error(identity_network(suite), images, others)


@jax.jit
def _recognition_error(recognition: Any, images: jax.Array, others: jax.Array) -> jax.Array:
    found, wanted = (portrait_embeddings(recognition, each) for each in (images, others))
    return identity.distance(found, wanted)


def evaluate_pie(
    suite: Suite,
    protocol: Protocol,
    chosen: Mapping[str, pie.Settings],
    parts: Parts,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, np.ndarray]]:
    """Table 2's measures: arrays of N portraits, and E edits, by column.

    Args:
      suite: has the networks that the columns' terms need, a reconstruction network and the pose's
        RigNet.
      protocol: how much.
      chosen: settings by the column's name.
      parts: what is finished, and not done again.
      say: receives a line before each part.

    Returns:
      By column, and under "portraits" what does not depend on one.

    Raises:
      SuiteError: the suite lacks a network.
    """
    banks: dict[str, pie.Bank | None] = dict.fromkeys(chosen)
    collected: dict[str, list[dict[str, np.ndarray]]] = {"portraits": []}
    for batch in batches(suite, protocol, parts, say):
        collected["portraits"].append(
            {
                "images": np.asarray(to_uint8(batch.images))[: batch.count],
                "targets": batch.targets[: batch.count],
                "rotations": np.asarray(batch.rotations)[: batch.count],
                **{f"judge_{k}": v[: batch.count] for k, v in batch.judges.items()},
            }
        )
        for name, settings in chosen.items():

            def make(name=name, settings=settings, batch=batch) -> dict[str, Any]:
                say(f"{name}: portraits {batch.start} to {batch.start + batch.count - 1}")
                if settings.bank and settings.editing_terms and banks[name] is None:
                    banks[name] = pie.draw_bank(suite, settings, jax.random.key(SEED + 1))
                return evaluate_column(suite, name, settings, batch, protocol, bank=banks[name])

            found = parts.get(f"{name}-{batch.start:05d}", make)
            seconds = found.pop("seconds")
            rows = {key: value[: batch.count] for key, value in found.items()}
            rows["seconds"] = np.full(batch.count, seconds)
            collected.setdefault(name, []).append(rows)
    return {
        name: {key: np.concatenate([part[key] for part in rows]) for key in rows[0]}
        for name, rows in collected.items()
    }


def table2(found: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Means of what `evaluate_pie` measured: ``table2``, ``table2_true``, ``feedback``, ``judges``.

    Portraits whose embedding diverged are left out, and counted.
    """
    network, true = {}, {}
    for name, arrays in found.items():
        if name == "portraits":
            continue
        kept = arrays["finite"].astype(bool)
        mean = functools.partial(_mean, arrays, kept)
        shared = {"psnr": mean("psnr"), "ssim": mean("ssim")}
        counted = {"portraits": int(kept.sum()), "diverged": int((~kept).sum())}
        network[name] = shared | {
            "editing_error_rad": mean("network_error"),
            "recognition_error": mean("network_recognition"),
            **counted,
            "seconds_per_portrait": mean("seconds"),
        }
        true[name] = shared | {
            "editing_error_rad": mean("true_error"),
            "recognition_error": mean("true_recognition"),
            "residual": mean("true_residual"),
            "edited_psnr": mean("edited_psnr"),
            "edited_ssim": mean("edited_ssim"),
            **counted,
        }
    scores: dict[str, Any] = {"table2": network, "table2_true": true}
    scores["judges"] = {
        name: float(found["portraits"][f"judge_{name}"].mean()) for name in ("network", "truth")
    }
    if "all" in found:
        arrays = found["all"]
        kept = arrays["finite"].astype(bool)
        scores["feedback"] = {
            judge: {
                "without": _mean(arrays, kept, f"{judge}_error_without_feedback"),
                "with": _mean(arrays, kept, f"{judge}_error"),
            }
            for judge in ("network", "true")
        }
    return scores


def _mean(arrays: Mapping[str, np.ndarray], kept: np.ndarray, name: str) -> float | None:
    """None where it was not measured, or of nothing."""
    if name not in arrays or not kept.any():
        return None
    return float(arrays[name][kept].mean())


def check_networks(suite: Suite, chosen: Mapping[str, pie.Settings]) -> None:
    """Finds out before hours of work that a network is missing.

    Raises:
      SuiteError: the suite lacks what the columns' terms or the edits need.
    """
    for settings in chosen.values():
        for role, term in pie.required_roles(settings).items():
            try:
                suite.metadata(role)
            except SuiteError as error:
                raise pie.missing(term, error) from error
    for role in ("reconstruction", "rignet_pose"):
        suite.metadata(role)


def description(
    suite: Suite, protocol: Protocol, chosen: Mapping[str, pie.Settings], digests: Mapping[str, str]
) -> dict[str, Any]:
    """Everything that decides the numbers, JSON-like."""
    settings = {name: dataclasses.asdict(each) for name, each in chosen.items()}
    return json.loads(
        json.dumps(
            {
                "evaluation": "pie",
                "protocol": dataclasses.asdict(protocol),
                "columns": settings,
                "seed": SEED,
                "suite": {"name": suite.name, **digests},
            }
        )
    )
