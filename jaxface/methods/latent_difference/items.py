"""A batch's portraits as the losses want them: embedded, with their own landmarks and a wish."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxface.media.images import as_float
from jaxface.methods import encoder
from jaxface.methods.latent_difference.landmarks import normalised, other_of
from jaxface.methods.latent_difference.losses import Frozen, Items
from jaxface.methods.latent_difference.settings import LatentDifferenceSettings
from jaxface.morphable import FaceParameters
from jaxface.nets.encoders.styles import read_portraits


def items_of(
    settings: LatentDifferenceSettings, frozen: Frozen, batch: Mapping[str, jax.Array]
) -> Items:
    """Portraits of a batch with codes, landmarks and wishes; nothing of it has a gradient.

    Args:
      settings: where landmarks come from, and what is wished.
      frozen: reads and inverts.
      batch: ``image``, uint8 or in [-1, 1], and the other fields of `settings`.
    """
    images = portraits_of(batch)
    side, size = settings.network.resolution, images.shape[1]
    w_plus = None if settings.naive else codes(settings, frozen, images)
    points = points_of(settings, frozen, batch, images)
    wished = other_of(points)
    if settings.wish == "normalised":
        flat = batch["face"] if settings.points == "data" else frozen.reconstruction(images)
        face = FaceParameters.from_flat(flat)
        other = other_of(face)
        gain = jnp.linspace(1.0, settings.expression_gain, len(images))[:, None]
        other = dataclasses.replace(other, expression=gain * other.expression)
        wished = normalised(frozen.landmark_model, points, face, other, size)
    small = read_portraits("latent_difference", images, side)
    embeddings = None if frozen.recognition is None else frozen.recognition(images)
    items = Items(small, w_plus, points * (side / size), wished * (side / size), embeddings)
    return jax.lax.stop_gradient(items)


def portraits_of(batch: Mapping[str, jax.Array]) -> jax.Array:
    """A batch's portraits, [N, R, R, 3] in [-1, 1]."""
    return as_float(batch["image"])


def points_of(
    settings: LatentDifferenceSettings, frozen: Frozen, batch: Mapping[str, Any], images: jax.Array
) -> jax.Array:
    """The portraits' own landmarks, [N, 68, 2] in their pixels."""
    if settings.points == "data":
        return batch["landmarks"].astype(jnp.float32)
    return frozen.landmarks(images)


def codes(settings: LatentDifferenceSettings, frozen: Frozen, images: jax.Array) -> jax.Array:
    """w0, by the stored statistics of the inversion's norms or by those of the batch."""
    network = frozen.inversion
    if settings.inversion_statistics == "batch":
        graphdef, state = nnx.split(network)
        network = nnx.merge(graphdef, state, copy=True)
        network.train()
    return encoder.encode(settings.inversion, encoder.Networks(frozen.generator, network), images)
