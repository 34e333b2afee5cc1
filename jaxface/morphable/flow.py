"""Exact optical flow between two scenes of the same people, from their vertices' correspondence."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.morphable import portraits, rendering
from jaxface.morphable.parameters import PortraitNuisance, Scene
from jaxface.morphable.rasterise import block_capacity, interpolate, rasterise


@functools.partial(jax.jit, static_argnames=("shaded", "resolution", "capacity"))
def _flow(
    model: Any,
    before: Scene,
    after: Scene,
    *,
    shaded: Callable[[Any, Scene, int], tuple[Array, Array, Array]],
    resolution: int,
    capacity: int,
) -> tuple[Array, Array]:
    points, _, cover = shaded(model, before, resolution)
    moved, _, _ = shaded(model, after, resolution)
    identity = rasterise(
        points,
        cover,
        model.triangles,
        model.two_sided,
        resolution,
        capacity=capacity,
    )
    shift = (moved - points)[..., :2]
    flow = interpolate(identity, points, shift, model.triangles, resolution)
    hit = (identity >= 0).reshape(-1, resolution, resolution)
    flow = flow.reshape(*hit.shape, 2)
    return jnp.where(hit[..., None], flow, 0.0), hit.astype(flow.dtype)


def optical_flow(before: Scene, after: Scene, resolution: int) -> tuple[Array, Array]:
    """Where each pixel's surface point goes, and what is not backdrop.

    The backdrop does not move. A point that something hides afterwards has its flow all the same;
    catchlights, which slide over the eye, have their own.

    Args:
        before: N scenes of version 2 or 3.
        after: the same people a moment later.
        resolution: edge of the images in pixels.

    Returns:
        flow [N, R, R, 2] in pixels, x right and y down, from a pixel's centre in `before` to its
        place in `after`; matte [N, R, R], 1 where a person is seen in `before`, else 0.
    """
    if isinstance(before.nuisance, PortraitNuisance):
        model = portraits.portrait_model()
        shaded = portraits.shaded_vertices
        capacity = portraits.portrait_capacity(model.triangles.shape[0], resolution)
    else:
        model, shaded = rendering.portrait_model(), rendering.shaded_vertices
        capacity = block_capacity(model.triangles.shape[0])
    return _flow(model, before, after, shaded=shaded, resolution=resolution, capacity=capacity)
