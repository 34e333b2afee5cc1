"""Rows of the Latent Difference Encoder's table: portraits drawn by a row's networks, and judged.

Held-out renders are reconstructed with their own landmarks and redrawn with those of another; see
`jaxface.evaluation.latent_difference`, whose rows these are.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data.scene_items import item_keys, scene_items
from jaxface.evaluation.encoders import CHUNK, eight_bits, inverted
from jaxface.evaluation.ground_truth import rotation_angle
from jaxface.evaluation.latent_difference_report import OPEN
from jaxface.evaluation.reenactment_judges import frechet_features, perceptual_distance
from jaxface.losses import identity
from jaxface.media.images import from_uint8, to_uint8
from jaxface.media.landmark_images import group_of_colour, landmark_images
from jaxface.methods import encoder
from jaxface.methods.latent_difference.redrawing import (
    Proportions,
    Redrawing,
    Seen,
    redraw,
    redrawing_of,
    see,
    wished,
)
from jaxface.metrics import frechet_distance, nme, psnr
from jaxface.metrics.hausdorff import hausdorff_by_group
from jaxface.morphable import FaceParameters, Scene
from jaxface.morphable.annotation import project_landmarks
from jaxface.morphable.worlds import World
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.runtime.chunks import by_chunks
from jaxface.suite import Suite, identity_network

SEED = 50_000_017
"""Of the renders; no training and no other evaluation uses it."""

HAUSDORFF_SIDE = 128
"""Pixels per side at which landmarks are drawn to be compared, the paper's: in smaller images the
lines of a closed eye have no pixel that they cover whole."""

WISHES: tuple[Proportions, ...] = ("taken", "own")
"""Whose proportions the wished landmarks have."""


def portraits_known(count: int, size: int, of: World) -> dict[str, Any]:
    """Held-out renders of a world, and their perfect edits: item i is to look like item i - 1.

    Returns:
      ``image`` and ``perfect``, uint8 [N, R, R, 3]; ``face`` and ``wanted``, [N, 257]; ``true``,
      the landmarks of the perfect edits, and ``other``, those of the other's render, [N, 68, 2].
    """

    def rendered(numbers: jax.Array) -> dict[str, jax.Array]:
        return scene_items(item_keys(SEED, "test", numbers), size, version=of.version)

    def edited(scenes: Scene) -> jax.Array:
        return to_uint8(jnp.clip(of.render(scenes, size), -1, 1))

    whole = by_chunks(rendered, jnp.arange(count), size=CHUNK)
    face = FaceParameters.from_flat(jnp.asarray(whole["face"]))
    other = FaceParameters.from_flat(jnp.roll(face.flat, 1, axis=0))
    wanted = dataclasses.replace(face, rotation=other.rotation, expression=other.expression)
    nuisance = of.scenes(jnp.asarray(whole["factors"])).nuisance
    marks = of.landmarks()
    return {
        "image": whole["image"],
        "perfect": by_chunks(edited, Scene(wanted, nuisance), size=CHUNK),
        "face": np.asarray(face.flat),
        "wanted": np.asarray(wanted.flat),
        "true": np.asarray(project_landmarks(marks, wanted, size)),
        "other": np.roll(np.asarray(project_landmarks(marks, face, size)), 1, axis=0),
    }


def measured_row(
    row: str, suite: Suite, judging: Suite, known: Mapping[str, Any], inversion: encoder.Settings
) -> dict[str, np.ndarray]:
    """A row's portraits, drawn and judged.

    Args:
      row: out of `ROWS`.
      suite: of the row.
      judging: whose networks judge.
      known: of `portraits_known`.
      inversion: how they are embedded.

    Returns:
      Arrays by name: ``features_*`` for the Fréchet distances, ``hausdorff`` [N] (NaN where a group
      has no pixel), ``csim`` [N], ``<measure>_<wish>`` [N] by the truth, and uint8 images.
    """
    networks = inversion.networks(suite, jax.random.key(0))
    redrawing = None if row in OPEN else redrawing_of(suite)

    def judged(part: Mapping[str, Any], other: np.ndarray) -> dict[str, Any]:
        return _judged(judging, part, _drawn(row, networks, redrawing, part, other, inversion))

    others = np.roll(known["image"], 1, axis=0)
    return by_chunks(judged, dict(known), others, size=CHUNK)


def _drawn(
    row: str,
    networks: encoder.Networks,
    redrawing: Redrawing | None,
    part: Mapping[str, Any],
    other: np.ndarray,
    inversion: encoder.Settings,
) -> dict[str, np.ndarray]:
    """Images in [-1, 1] by name: ``own`` (landmarks of its own), ``taken`` and ``normal``."""
    images, others = (from_uint8(jnp.asarray(each)) for each in (part["image"], other))
    w_plus, inversions = inverted(inversion, networks, images)
    if row == "perfect":
        perfect = from_uint8(part["perfect"])
        return {"inverted": inversions, "own": images, "taken": perfect, "normal": perfect}
    if redrawing is None:
        return dict.fromkeys(("inverted", "own", "taken", "normal"), inversions)
    found = _redrawn(redrawing, networks.generator, w_plus, images, others)
    return {"inverted": inversions, **found}


@jax.jit
def _redrawn(
    redrawing: Redrawing, generator: Any, w_plus: jax.Array, images: jax.Array, others: jax.Array
) -> dict[str, jax.Array]:
    own: Seen = see(redrawing, images)
    other: Seen = see(redrawing, others)
    size = generator.resolution
    points = {
        "own": own.points,
        "taken": wished(redrawing, own, other, size, proportions="taken"),
        "normal": wished(redrawing, own, other, size, proportions="own"),
    }
    return {
        name: eight_bits(
            redraw(redrawing, generator, w_plus, each, noise="const", portraits=images)[1]
        )
        for name, each in points.items()
    }


def _judged(judging: Suite, part: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Of a chunk; see `measured_row`."""
    images = from_uint8(jnp.asarray(part["image"]))
    perfect = from_uint8(jnp.asarray(part["perfect"]))
    person = identity_network(judging)
    size = images.shape[1]
    wanted = FaceParameters.from_flat(jnp.asarray(part["wanted"]))
    source = _embeddings(person, images)
    inverted = identity.similarity(_embeddings(person, drawn["inverted"]), source)
    found: dict[str, Any] = {
        "features_real": frechet_features(judging, images),
        "features_reconstruction": frechet_features(judging, drawn["own"]),
        "features_manipulation": frechet_features(judging, drawn["taken"]),
        "csim": identity.similarity(_embeddings(person, drawn["taken"]), source),
        "csim_inversion": inverted,
        "source": part["image"],
        "perfect": part["perfect"],
    }
    read = {name: points_read(judging.landmarks, drawn[name]) for name in ("taken", "normal")}
    found["hausdorff"] = _hausdorff(part["other"], np.asarray(read["taken"]), size)
    goals = {"taken": part["other"], "own": part["true"]}
    for wish in WISHES:
        name = "normal" if wish == "own" else "taken"
        result = drawn[name]
        seen = _face(judging.reconstruction, result)
        embeddings = _embeddings(person, result)
        goal = jnp.asarray(goals[wish])
        found |= {
            f"landmarks_{wish}": 100 * nme(read[name], goal, normaliser="box"),
            f"rotation_{wish}": rotation_angle(seen.rotation, wanted.rotation),
            f"csim_{wish}": identity.similarity(embeddings, _embeddings(person, perfect)),
            f"kept_{wish}": identity.similarity(embeddings, source),
            f"perceptual_{wish}": perceptual_distance(judging, result, perfect),
            f"psnr_{wish}": jnp.minimum(psnr(result, perfect), 66.0),
            f"drawn_{wish}": to_uint8(result),
        }
    return found


def _hausdorff(wanted: np.ndarray, read: np.ndarray, size: int) -> np.ndarray:
    """Summed over groups, [N]; NaN where a group has no pixel of exactly its colour."""
    scale = HAUSDORFF_SIDE / size
    pairs = [np.asarray(_lines(jnp.asarray(each * scale))) for each in (wanted, read)]
    found = []
    for ours, theirs in zip(*pairs, strict=True):
        groups = hausdorff_by_group(group_of_colour(ours), group_of_colour(theirs))
        found.append(np.nan if groups is None else sum(groups.values()))
    return np.array(found)


@jax.jit
def _lines(points: jax.Array) -> jax.Array:
    return landmark_images(points, HAUSDORFF_SIDE)


@jax.jit
def _embeddings(network: Any, images: jax.Array) -> jax.Array:
    return portrait_embeddings(network, images)


@jax.jit
def points_read(network: Any, images: jax.Array) -> jax.Array:
    """By a network of landmarks, [N, 68, 2] in pixels."""
    return network(images)


@jax.jit
def _face(network: Any, images: jax.Array) -> FaceParameters:
    return FaceParameters.from_flat(network(images))


def table_row(measured: Mapping[str, np.ndarray]) -> dict[str, float]:
    """A row of ``table``: the paper's metrics."""
    real = measured["features_real"]
    return {
        "fid_reconstruction": frechet_distance(measured["features_reconstruction"], real),
        "fid_manipulation": frechet_distance(measured["features_manipulation"], real),
        "hausdorff": float(np.nanmean(measured["hausdorff"])),
        "hausdorff_failed": float(np.isnan(measured["hausdorff"]).sum()),
        "csim": float(measured["csim"].mean()),
    }


def true_row(measured: Mapping[str, np.ndarray]) -> dict[str, float]:
    """A row of ``table_true``: means, for both kinds of wishes."""
    found = {}
    for wish in WISHES:
        for name in ("landmarks", "rotation", "csim", "perceptual", "psnr"):
            found[f"{name}_{wish}"] = float(measured[f"{name}_{wish}"].mean())
        kept = measured[f"kept_{wish}"].mean() / measured["csim_inversion"].mean()
        found[f"identity_{wish}"] = float(kept)
    return found
