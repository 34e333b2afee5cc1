"""Judges of reenacted clips: the suite's networks, as papers have them, and the world's truth.

Both give arrays by the names of `jaxface.evaluation.reenactment_protocol`: [T] of a clip's frames,
or one number of a clip (Fréchet distances are of all clips, see `Seen.features`).
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation.ground_truth import rotation_angle
from jaxface.evaluation.judges import judged_pose
from jaxface.evaluation.suite_world import suite_world
from jaxface.losses import identity, perceptual
from jaxface.methods import pie
from jaxface.methods.face_errors import relative_landmark_distance
from jaxface.metrics import nme, psnr, warping_error
from jaxface.metrics import reenactment as metrics
from jaxface.morphable import FaceParameters, Scene
from jaxface.morphable.annotation import feature_boxes, project_landmarks
from jaxface.morphable.flow import optical_flow
from jaxface.morphable.models import FaceModels
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.suite import Suite, identity_network

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
"""Of the perceptual network: their mean squared differences, with equal weights, are the perceptual
distance where the suite has no LPIPS; their spatial means the features of Fréchet distances where
it has no Inception-v3."""

PEAK_FLOOR = 1e-6  # of a mean squared error in [-1, 1]: PSNR ends at 66 dB


class Judged(NamedTuple):
    """A clip that is judged.

    Attributes:
      result: [T, R, R, 3] in [-1, 1].
      driving: the driver's frames, likewise.
      perfect: what a perfect method shows, likewise.
      source: the subject's frame, [1, R, R, 3].
      still: what was embedded of it, drawn where it does not move, [1, R, R, 3].
      scenes: of `perfect`.
      ranges: of expression coefficients, [64, 2].
    """

    result: Any
    driving: Any
    perfect: Any
    source: Any
    still: Any
    scenes: Scene
    ranges: np.ndarray


def judge_names(suite: Suite) -> dict[str, str]:
    """Which network judges what, for the report."""
    return {
        "identity": "recognition" if "recognition" in suite else "descriptor",
        "landmarks": "landmarks",
        "pose and expression": "reconstruction",
        "perceptual": "LPIPS" if "lpips" in suite else f"VGG-16, {' '.join(LAYERS)}",
        "fid": "Inception-v3" if "inception" in suite else f"VGG-16, {' '.join(LAYERS)}",
    }


REQUIRED = {
    "reconstruction": "It judges pose and expression",
    "landmarks": "It judges landmarks",
    "perceptual": "It judges perceptual distances",
}


class Seen(NamedTuple):
    """What networks see in frames: N rows each.

    Attributes:
      face: that is read.
      landmarks: [N, 68, 2], pixels of `jaxface.metrics.reenactment.SIDE`.
      identity: embeddings, [N, D].
      features: what Fréchet distances compare, [N, F].
    """

    face: FaceParameters
    landmarks: Any
    identity: Any
    features: Any


def look(suite: Suite, clip: Judged) -> dict[str, Seen]:
    """What networks see in a clip's images, all of them in one batch, by `Judged`'s names."""
    names = ("result", "driving", "perfect", "source", "still")
    parts = [getattr(clip, name) for name in names]
    images = jnp.concatenate([jnp.asarray(part) for part in parts])
    seen = Seen(
        pie.read_parameters(suite, images),
        _landmarks(suite.landmarks, images) * (metrics.SIDE / images.shape[1]),
        _embedded(identity_network(suite), images),
        frechet_features(suite, images),
    )
    found, first = {}, 0
    for name, part in zip(names, parts, strict=True):
        rows = slice(first, first + len(part))
        found[name] = jax.tree.map(lambda leaf, rows=rows: leaf[rows], seen)
        first = rows.stop
    return found


def by_networks(
    suite: Suite, clip: Judged, seen: Mapping[str, Seen], *, cross: bool
) -> dict[str, np.ndarray]:
    """The measures of `NETWORK_MEASURES` but for the Fréchet distance: [T], or [steps].

    Args:
      suite: has the networks of `REQUIRED` and one of identity.
      clip: what is judged.
      seen: of `look`.
      cross: whether subject and driver are different people.
    """
    found = dict(_network_terms(clip, seen, cross=cross))
    if not cross:
        found["perceptual"] = perceptual_distance(suite, clip.result, clip.driving)
        found["warping_error"] = 1000 * warping_error(
            jnp.asarray(clip.result), jnp.asarray(clip.driving)
        )
    return {name: np.asarray(value) for name, value in found.items()}


def by_truth(suite: Suite, clip: Judged, seen: Mapping[str, Seen]) -> dict[str, np.ndarray]:
    """The measures of `TRUE_MEASURES` but for the Fréchet distance: [T], or [steps]."""
    distance = perceptual_distance(suite, clip.result, clip.perfect)
    terms = _true_terms(clip, seen, suite_world(suite).parts())
    found = {**terms, "perceptual": distance}
    return {name: np.asarray(value) for name, value in found.items()}


@functools.partial(jax.jit, static_argnames="cross")
def _network_terms(clip: Judged, seen: Mapping[str, Seen], *, cross: bool) -> dict[str, jax.Array]:
    result, driver, source = (seen[name] for name in ("result", "driving", "source"))
    still = identity.similarity(seen["still"].identity, source.identity)
    known = jnp.broadcast_to(source.identity, result.identity.shape)
    person = source.identity if cross else driver.identity
    person = jnp.broadcast_to(person, result.identity.shape)
    return {
        "csim": identity.similarity(result.identity, person),
        "identity_still": jnp.broadcast_to(still, len(clip.result)),
        "identity_perfect": identity.similarity(seen["perfect"].identity, known),
        "identity_kept": identity.similarity(result.identity, known) / still,
        "nme": 1000 * nme(result.landmarks, driver.landmarks, normaliser="box"),
        "pose": metrics.angle_distance(result.face.rotation, driver.face.rotation),
        "expression": metrics.coefficient_distance(
            result.face.expression, driver.face.expression, jnp.asarray(clip.ranges)
        ),
        "expression_raw": metrics.mean_difference(result.face.expression, driver.face.expression),
        "akd_fomm": metrics.akd_fomm(result.landmarks, driver.landmarks),
        "akd_l2": metrics.akd_l2(result.landmarks, driver.landmarks),
        "aed_fomm": metrics.embedding_distance(result.identity, person),
        "aed_pirenderer": metrics.mean_difference(result.face.expression, driver.face.expression),
        "apd_pirenderer": metrics.mean_difference(
            result.face.group("pose"), driver.face.group("pose")
        ),
        "apd_radians": metrics.mean_difference(result.face.rotation, driver.face.rotation),
        "acceleration": metrics.acceleration(result.landmarks),
    }


@jax.jit
def _true_terms(clip: Judged, seen: Mapping[str, Seen], models: FaceModels) -> dict[str, jax.Array]:
    size, face = clip.result.shape[1], clip.scenes.face
    scale = metrics.SIDE / size
    result, perfect = seen["result"], seen["perfect"]
    true = project_landmarks(models.landmarks, face, size)
    first = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), face)
    started = dataclasses.replace(face, rotation=first.rotation)
    fit = judged_pose(models.region, started, face, result.face, clip.perfect, clip.result)
    read = dataclasses.replace(
        face, rotation=result.face.rotation, expression=result.face.expression
    )
    boxes = feature_boxes(true)
    now, after = (
        jax.tree.map(lambda leaf, rows=rows: leaf[rows], clip.scenes)
        for rows in (slice(0, -1), slice(1, None))
    )
    flow, matte = optical_flow(now, after, size)
    back, _ = optical_flow(after, now, size)
    return {
        "csim": identity.similarity(result.identity, perfect.identity),
        "still_psnr": jnp.broadcast_to(
            psnr(jnp.asarray(clip.still), jnp.asarray(clip.source)), len(clip.result)
        ),
        "psnr": psnr(jnp.asarray(clip.result), jnp.asarray(clip.perfect)),
        "eyes_psnr": boxes_psnr(clip.result, clip.perfect, boxes[:, :2]),
        "mouth_psnr": boxes_psnr(clip.result, clip.perfect, boxes[:, 2:]),
        "rotation": rotation_angle(fit.rotation, face.rotation),
        "pose": metrics.angle_distance(fit.rotation, face.rotation),
        "turn": rotation_angle(result.face.rotation, face.rotation),
        "landmarks": 100 * relative_landmark_distance(read, face, landmarks=models.landmarks),
        "nme": 1000 * nme(result.landmarks, true * scale, normaliser="box"),
        "akd_l2": metrics.akd_l2(result.landmarks, true * scale),
        "expression": metrics.coefficient_distance(
            result.face.expression, face.expression, jnp.asarray(clip.ranges)
        ),
        "expression_raw": metrics.mean_difference(result.face.expression, face.expression),
        "acceleration": metrics.acceleration(result.landmarks) - metrics.acceleration(true * scale),
        "warping_error": 1000
        * metrics.warping_error_of_flow(jnp.asarray(clip.result), flow, back, matte),
    }


def perceptual_distance(suite: Suite, images: Any, others: Any) -> jax.Array:
    """By LPIPS where the suite has it, else by its perceptual network: [T]."""
    if "lpips" in suite:
        return _lpips(suite.lpips, images, others)
    return _perceptual(suite.perceptual, images, others)


def frechet_features(suite: Suite, images: Any) -> jax.Array:
    """What Fréchet distances compare of images [N, R, R, 3]: Inception's features where the suite
    has it, else means of the perceptual network's, [N, F]."""
    if "inception" in suite:
        return _inception(suite.inception, images)
    return _pooled(suite.perceptual, images)


@jax.jit
def boxes_psnr(images: Any, others: Any, boxes: Any) -> jax.Array:
    """PSNR over the pixels whose centres lie in any of some boxes, [T].

    Args:
      images, others: [T, R, R, 3] in [-1, 1].
      boxes: [T, B, 4], left, top, right and bottom in pixels.
    """
    middles = jnp.arange(images.shape[1]) + 0.5
    left, top, right, bottom = jnp.moveaxis(boxes[..., None], -2, 0)
    across = (middles >= left) & (middles <= right)
    down = (middles >= top) & (middles <= bottom)
    inside = (down[..., :, None] & across[..., None, :]).any(axis=1)
    error = jnp.square(images - others).mean(-1)
    mean = jnp.sum(error * inside, axis=(1, 2)) / jnp.maximum(inside.sum(axis=(1, 2)), 1)
    return 10 * jnp.log10(4 / jnp.maximum(mean, PEAK_FLOOR))


@jax.jit
def _landmarks(network: Any, images: jax.Array) -> jax.Array:
    return network(images)


@jax.jit
def _embedded(network: Any, images: jax.Array) -> jax.Array:
    return portrait_embeddings(network, images)


@jax.jit
def _lpips(network: Any, images: jax.Array, others: jax.Array) -> jax.Array:
    return network(images, others)


@jax.jit
def _perceptual(network: Any, images: jax.Array, others: jax.Array) -> jax.Array:
    see = functools.partial(perceptual.features, network, layers=LAYERS, resolution=images.shape[1])
    weights: dict[str, float] = dict.fromkeys(LAYERS, 1 / len(LAYERS))
    return perceptual.distance(see(images), see(others), weights)


@jax.jit
def _pooled(network: Any, images: jax.Array) -> jax.Array:
    layers = perceptual.features(network, images, LAYERS, resolution=images.shape[1])
    return jnp.concatenate([layers[name].mean(axis=(1, 2)) for name in LAYERS], axis=1)


@jax.jit
def _inception(network: Any, images: jax.Array) -> jax.Array:
    return network(images)
