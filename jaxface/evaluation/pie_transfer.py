"""Transfer of pose (the paper's Table 3) and of light from reference portraits.

Portrait i takes the pose of a driver. In self transfer the driver is a render of the same scene in
the pose of portrait j, so that it is what a perfect transfer shows; in cross-identity transfer it
is portrait j itself. j is the next portrait. Two judges as in `jaxface.evaluation.pie`:

* landmarks: the distance between the 66 landmarks of result and driver after 2D Procrustes
  alignment, over the face's size. The network reads both; the truth fits the true face's pose to
  the result and knows the driver's landmarks. Between two identities a perfect transfer has a
  distance too, the floor: of the true face i in the pose of j.
* recognition error: of the result against the portrait, and, for the truth, against the render of
  the same scene in the driver's pose.

Light is taken from portrait j. The scale-invariant error compares the light that the network reads
of result and reference (`truth.light_error`), or, for the truth, the face of the result and of a
render of the same scene in the true light of j (`truth.shading_error`).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation import ground_truth as truth
from jaxface.evaluation.held_out import Protocol
from jaxface.evaluation.judges import judged_pose, recognition_error
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.suite_world import suite_world
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import pie
from jaxface.morphable import LANDMARKS_66, FaceParameters, Scene
from jaxface.morphable.annotation import LandmarkModel, project_landmarks
from jaxface.morphable.worlds import World
from jaxface.nets import Generator
from jaxface.runtime.progress import Pace
from jaxface.suite import Suite, identity_network


def transfer_batch(
    suite: Suite, scenes: Scene, drivers: Scene, w_plus: jax.Array, images: jax.Array
) -> dict[str, Any]:
    """Measures B transfers of pose, self and cross, and of light where the suite edits it.

    Args:
      suite: has a generator, a reconstruction network and the pose's RigNet.
      scenes: B portraits' true scenes.
      drivers: those that pose and light are taken from.
      w_plus: latents of the inverted portraits, [B, L, w_dim].
      images: the portraits, [B, R, R, 3] in [-1, 1].

    Returns:
      Arrays of [B], and images as uint8 [B, R, R, 3].
    """
    of, size = suite_world(suite), suite.generator.resolution
    parts, face, other = of.parts(), scenes.face, drivers.face
    posed = face.with_group("pose", other)
    marks = functools.partial(_landmarks, parts.landmarks)
    own = _render(of, Scene(posed, scenes.nuisance), size)
    cross = _render(of, drivers, size)
    measured: dict[str, Any] = {"driver": to_uint8(cross), "self_driver": to_uint8(own)}
    measured["cross_floor"] = truth.procrustes_distance(marks(posed), marks(other))
    for name, driver, true_driver in (("self", own, posed), ("cross", cross, other)):
        edit = pie.edit(suite, w_plus, "pose", driver)
        result = jnp.clip(edit.images, -1.0, 1.0)
        fit = judged_pose(parts.region, face, posed, edit.after, own, result)
        fitted = dataclasses.replace(face, rotation=fit.rotation, translation=fit.translation)
        read = pie.read_parameters(suite, driver)
        measured |= {
            f"{name}_image": to_uint8(result),
            f"{name}_landmarks": truth.procrustes_distance(marks(edit.after), marks(read)),
            f"{name}_true_landmarks": truth.procrustes_distance(marks(fitted), marks(true_driver)),
            f"{name}_unedited": truth.procrustes_distance(marks(face), marks(true_driver)),
        }
        if identity_network(suite) is not None:
            measured |= {
                f"{name}_recognition": recognition_error(suite, result, images),
                f"{name}_true_recognition": recognition_error(suite, result, own),
            }
    if "illumination" in suite.rignets:
        measured |= _light(suite, scenes, other, w_plus, images, cross)
    return measured


def _light(
    suite: Suite,
    scenes: Scene,
    other: FaceParameters,
    w_plus: jax.Array,
    images: jax.Array,
    reference: jax.Array,
) -> dict[str, Any]:
    of, face = suite_world(suite), scenes.face
    model = of.parts().region
    edit = pie.edit(suite, w_plus, "illumination", reference)
    result = jnp.clip(edit.images, -1.0, 1.0)
    perfect = _render(
        of, Scene(face.with_group("illumination", other), scenes.nuisance), reference.shape[1]
    )
    unedited = jnp.clip(_draw(suite.generator, w_plus), -1.0, 1.0)
    return {
        "light_image": to_uint8(result),
        "light_perfect": to_uint8(perfect),
        "light": truth.light_error(
            model, edit.after.illumination, pie.read_parameters(suite, reference).illumination
        ),
        "light_true": truth.shading_error(model, face, result, perfect),
        # What is left of the reconstruction without an edit, in its own light; of doing nothing.
        "light_floor": truth.shading_error(model, face, unedited, images),
        "light_unedited": truth.shading_error(model, face, images, perfect),
    }


def evaluate_transfers(
    suite: Suite,
    protocol: Protocol,
    scenes: Scene,
    images: np.ndarray,
    w_plus: np.ndarray,
    *,
    parts: Parts,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, np.ndarray]:
    """`transfer_batch` of all portraits: arrays of [N].

    Args:
      suite: see `transfer_batch`.
      protocol: its batch size.
      scenes: the portraits' true scenes, N.
      images: the portraits, uint8 [N, R, R, 3].
      w_plus: latents of the inverted portraits, [N, L, w_dim].
      parts: what is finished, and not done again: ``transfers-<start>``.
      say: receives a line before each batch that is made.
    """
    total, size = len(w_plus), protocol.batch_size
    collected = []
    names = {start: f"transfers-{start:05d}" for start in range(0, total, size)}
    pace = Pace(parts.missing(names.values()))
    for start, name in names.items():
        rows = np.arange(start, start + size) % total

        def make(rows=rows, start=start) -> dict[str, Any]:
            say(f"transfers: portraits from {start} of {total}, {pace.next()}")
            here, there = (
                jax.tree.map(lambda leaf, rows=each: leaf[rows], scenes)
                for each in (rows, (rows + 1) % total)
            )
            return transfer_batch(
                suite, here, there, jnp.asarray(w_plus[rows]), from_uint8(jnp.asarray(images[rows]))
            )

        part = parts.get(name, make)
        collected.append({key: value[: total - start] for key, value in part.items()})
    return {key: np.concatenate([part[key] for part in collected]) for key in collected[0]}


def table3(measured: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Means of `evaluate_transfers`: ``table3``, ``table3_true`` and ``illumination``."""

    def mean(name: str) -> float | None:
        return float(measured[name].mean()) if name in measured else None

    network, true = {}, {}
    for name in ("self", "cross"):
        network[name] = {
            "landmarks": mean(f"{name}_landmarks"),
            "recognition_error": mean(f"{name}_recognition"),
        }
        true[name] = {
            "landmarks": mean(f"{name}_true_landmarks"),
            "unedited": mean(f"{name}_unedited"),
            "floor": 0.0 if name == "self" else mean("cross_floor"),
            "recognition_error": mean(f"{name}_true_recognition"),
        }
    light = None
    if "light" in measured:
        names = ("light", "light_true", "light_floor", "light_unedited")
        short = ("network", "true", "floor", "unedited")
        light = {key: mean(name) for key, name in zip(short, names, strict=True)}
    return {"table3": network, "table3_true": true, "illumination": light}


@jax.jit
def _draw(generator: Generator, w_plus: jax.Array) -> jax.Array:
    return generator.synthesis(w_plus)


def _landmarks(model: LandmarkModel, face: FaceParameters) -> jax.Array:
    return project_landmarks(model, face, 1)[:, jnp.asarray(LANDMARKS_66)]


def _render(of: World, scenes: Scene, size: int) -> jax.Array:
    return from_uint8(to_uint8(of.render(scenes, size)))
