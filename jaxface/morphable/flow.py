"""Exact optical flow between two scenes of the same people, from their vertices' correspondence."""

import functools

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.morphable.parameters import Scene
from jaxface.morphable.portraits import (
    PortraitModel,
    portrait_capacity,
    portrait_model,
    shaded_vertices,
)
from jaxface.morphable.rasterise import interpolate, rasterise


@functools.partial(jax.jit, static_argnames="resolution")
def _flow(
    model: PortraitModel, before: Scene, after: Scene, resolution: int
) -> tuple[Array, Array]:
    points, _, cover = shaded_vertices(model, before, resolution)
    moved, _, _ = shaded_vertices(model, after, resolution)
    identity = rasterise(
        points,
        cover,
        model.triangles,
        model.two_sided,
        resolution,
        capacity=portrait_capacity(model.triangles.shape[0], resolution),
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
        before: N scenes of version 3.
        after: the same people a moment later.
        resolution: edge of the images in pixels.

    Returns:
        flow [N, R, R, 2] in pixels, x right and y down, from a pixel's centre in `before` to its
        place in `after`; matte [N, R, R], 1 where a person is seen in `before`, else 0.
    """
    return _flow(portrait_model(), before, after, resolution)
