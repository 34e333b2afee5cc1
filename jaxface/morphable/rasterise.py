"""A z-buffer rasteriser made of windows and one scatter.

Every triangle tests the pixel centres of a fixed square window at its bounding box; survivors go
into the buffer by one scatter-max of packed (nearness, triangle). Most triangles of a dense mesh
span two or three pixels and few span many, so triangles are sorted into classes by extent, each
with its own window and capacity; a small window for most is what makes this fast.

Which triangle covers a pixel is not differentiable; `interpolate` recomputes barycentric weights
from the projected vertices, so pictures are differentiable inside triangles.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# Depths, along the optical axis, between which nearness is resolved into 15 bits.
NEAR, FAR = 5.0, 11.0

# Window edge at 128 pixels and the number of triangles it is open to.
_CLASSES_AT_128 = ((3, 8192), (5, 3072), (8, 1024), (16, 96), (48, 16))
# Barycentric slack, so that a pixel centre on a shared edge belongs to at least one triangle.
_SLACK = -1e-4


def window_classes(resolution: int, triangles: int) -> tuple[tuple[int, int], ...]:
    """(window edge in pixels, capacity) of each class at a resolution."""
    return tuple(
        (max(2, math.ceil(edge * resolution / 128)), min(capacity, triangles))
        for edge, capacity in _CLASSES_AT_128
    )


def _cross(u: Array, v: Array) -> Array:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _select(mask: Bool[Array, " t"], capacity: int) -> tuple[Int[Array, " c"], Bool[Array, " t"]]:
    """Indices of the first `capacity` set entries (padded with t) and the entries left over."""
    position = jnp.cumsum(mask) - 1
    chosen = mask & (position < capacity)
    target = jnp.where(chosen, position, capacity)
    empty = jnp.full(capacity, mask.shape[0], jnp.int32)
    indices = empty.at[target].set(jnp.arange(mask.shape[0], dtype=jnp.int32), mode="drop")
    return indices, mask & ~chosen


def _window_keys(
    corners: Float[Array, "c 3 3"],
    cover: Float[Array, "c 3"],
    identity: Int[Array, " c"],
    valid: Bool[Array, " c"],
    edge: int,
    resolution: int,
) -> tuple[Int[Array, " k"], Int[Array, " k"]]:
    """Pixel index and packed key of every pixel centre in every triangle's window."""
    xy = corners[..., :2]
    a, b, c = xy[:, 0], xy[:, 1], xy[:, 2]
    origin = jnp.ceil(xy.min(axis=1) - 0.5)
    offsets = np.stack(np.meshgrid(np.arange(edge), np.arange(edge)), axis=-1).reshape(-1, 2)
    pixel = origin[:, None] + offsets
    centre = pixel + 0.5
    area = _cross(b - a, c - a)
    inverse = (1.0 / jnp.where(area == 0.0, 1.0, area))[:, None]
    w0 = _cross((c - b)[:, None], centre - b[:, None]) * inverse
    w1 = _cross((a - c)[:, None], centre - c[:, None]) * inverse
    w2 = 1.0 - w0 - w1

    def at_pixel(values: Float[Array, "c 3"]) -> Float[Array, "c w"]:
        return w0 * values[:, 0:1] + w1 * values[:, 1:2] + w2 * values[:, 2:3]

    inside = (jnp.minimum(jnp.minimum(w0, w1), w2) >= _SLACK) & valid[:, None]
    inside &= ((pixel >= 0) & (pixel < resolution)).all(axis=-1)
    inside &= at_pixel(cover) >= 0.0
    nearness = (FAR - at_pixel(corners[..., 2])) * (32767.0 / (FAR - NEAR))
    nearness = jnp.clip(nearness, 1.0, 32767.0).astype(jnp.int32)
    key = jnp.where(inside, (nearness << 16) | identity[:, None], 0)
    index = (pixel[..., 1] * resolution + pixel[..., 0]).astype(jnp.int32)
    index = jnp.where(inside, index, resolution * resolution)
    return index.ravel(), key.ravel()


def rasterise(
    points: Float[Array, "p 3"],
    cover: Float[Array, " p"],
    triangles: Int[Array, "t 3"],
    two_sided: Bool[Array, " t"],
    resolution: int,
) -> Int[Array, " rr"]:
    """Index of the nearest triangle at each pixel centre, -1 where there is none.

    Args:
        points: projected vertices (x pixels, y pixels, depth).
        cover: interpolated over a triangle; pixels where it is negative are cut out.
        triangles: vertex indices, anticlockwise in the image when seen from the front; at most
            65535 of them, the number that fits beside the depth.
        two_sided: triangles that are drawn from behind too.
        resolution: edge of the picture in pixels.
    """
    total = triangles.shape[0]
    corners = points[triangles]
    covers = cover[triangles]
    xy = corners[..., :2]
    area = _cross(xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0])
    low, high = xy.min(axis=1), xy.max(axis=1)
    extent = jnp.floor(high - 0.5) - jnp.ceil(low - 0.5) + 1.0
    waiting = jnp.where(two_sided, jnp.abs(area), -area) > 1e-7
    waiting &= (extent > 0.0).all(axis=1) & (covers.max(axis=1) >= 0.0)
    waiting &= (high > 0.0).all(axis=1) & (low < resolution).all(axis=1)
    size = extent.max(axis=1)

    buffer = jnp.zeros(resolution * resolution + 1, jnp.int32)
    for edge, capacity in window_classes(resolution, total):
        chosen, left_over = _select(waiting & (size <= edge), capacity)
        waiting = (waiting & (size > edge)) | left_over
        safe = jnp.minimum(chosen, total - 1)
        index, key = _window_keys(
            corners[safe], covers[safe], safe, chosen < total, edge, resolution
        )
        buffer = buffer.at[index].max(key)
    buffer = buffer[:-1]
    return jnp.where(buffer > 0, buffer & 0xFFFF, -1)


def interpolate(
    identity: Int[Array, " rr"],
    points: Float[Array, "p 3"],
    attributes: Float[Array, "p c"],
    triangles: Int[Array, "t 3"],
    resolution: int,
) -> Float[Array, "rr c"]:
    """Attributes at pixel centres; meaningless where `identity` is -1.

    Weights are barycentric in the image; over triangles this small the difference from
    perspective-correct ones is far below a grey level.
    """
    corner = triangles[jnp.maximum(identity, 0)]
    xy = points[corner][..., :2]
    a, b, c = xy[:, 0], xy[:, 1], xy[:, 2]
    grid = jnp.arange(resolution) + 0.5
    y, x = jnp.meshgrid(grid, grid, indexing="ij")
    centre = jnp.stack([x.ravel(), y.ravel()], axis=-1)
    area = _cross(b - a, c - a)
    area = jnp.where(jnp.abs(area) < 1e-7, 1.0, area)
    w0 = _cross(c - b, centre - b) / area
    w1 = _cross(a - c, centre - c) / area
    values = attributes[corner]
    return (
        w0[:, None] * values[:, 0]
        + w1[:, None] * values[:, 1]
        + (1 - w0 - w1)[:, None] * values[:, 2]
    )
