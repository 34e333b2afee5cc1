"""A z-buffer rasteriser made of pixel blocks and one scatter.

The bounding box of every visible triangle is cut into square blocks of a few pixels. The blocks
of all triangles of a picture form one work list of fixed length; every block tests its pixel
centres, and survivors go into the buffer by one scatter-max of packed (nearness, triangle). Most
triangles of a dense mesh fit one block, a large one takes as many as it needs, so every triangle
is covered whatever its size as long as the list has room (`block_capacity`).

Which triangle covers a pixel is not differentiable; `interpolate` recomputes barycentric weights
from the projected vertices, so pictures are differentiable inside triangles.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

# Depths, along the optical axis, between which nearness is resolved into 15 bits.
NEAR, FAR = 5.0, 11.0
MAX_TRIANGLES = 1 << 16

# Barycentric slack, so that a pixel centre on a shared edge belongs to at least one triangle.
_SLACK = -1e-4


def block_edge(resolution: int) -> int:
    """Edge in pixels of a block; grows with the resolution, so the work list does not."""
    return max(2, math.ceil(3 * resolution / 128))


def block_capacity(triangles: int) -> int:
    """Length of the work list: portraits need at most 1.3 blocks per triangle of the scene."""
    return math.ceil(1.6 * triangles) + 64


def _cross(u: tuple[Array, Array], v: tuple[Array, Array]) -> Array:
    return u[0] * v[1] - u[1] * v[0]


def _gather(values: Array, index: Array) -> Array:
    """values [N, P] at index [T] -> [N, T]."""
    return jnp.take(values, index, axis=1, mode="clip")


def blocks_needed(points: Array, cover: Array, triangles: Array, two_sided: Array, resolution: int):
    """Grid of blocks that each triangle takes: columns and rows, int32 [N, T], 0 if invisible.

    Arguments as for `rasterise`.
    """
    (ax, ay), (bx, by), (cx, cy) = (
        (_gather(points[..., 0], triangles[:, i]), _gather(points[..., 1], triangles[:, i]))
        for i in range(3)
    )
    area = _cross((bx - ax, by - ay), (cx - ax, cy - ay))
    covered = jnp.maximum(
        jnp.maximum(_gather(cover, triangles[:, 0]), _gather(cover, triangles[:, 1])),
        _gather(cover, triangles[:, 2]),
    )
    visible = (jnp.where(two_sided, jnp.abs(area), -area) > 1e-7) & (covered >= 0.0)
    edge = block_edge(resolution)

    def blocks(a: Array, b: Array, c: Array) -> Array:
        first = jnp.maximum(jnp.ceil(jnp.minimum(jnp.minimum(a, b), c) - 0.5), 0.0)
        last = jnp.minimum(jnp.floor(jnp.maximum(jnp.maximum(a, b), c) - 0.5), resolution - 1.0)
        return jnp.maximum(jnp.floor((last - first) / edge) + 1.0, 0.0).astype(jnp.int32)

    columns, rows = blocks(ax, bx, cx), blocks(ay, by, cy)
    return jnp.where(visible, columns, 0), jnp.where(visible, rows, 0)


def _work_list(count: Array, capacity: int) -> tuple[Array, Array]:
    """Triangle of every work item [N, C] and the item's rank among its triangle's blocks.

    Surplus items at the end have a rank beyond their triangle's count.
    """
    pictures, total = count.shape
    end = jnp.cumsum(count, axis=1)
    start = end - count
    batch = jnp.arange(pictures)[:, None]
    # An item's triangle is the last one that starts at or before it.
    starts = jnp.zeros((pictures, capacity), jnp.int32).at[batch, start].add(1, mode="drop")
    triangle = jnp.cumsum(starts, axis=1) - 1
    rank = jnp.arange(capacity) - jnp.take_along_axis(start, triangle, axis=1, mode="clip")
    return jnp.clip(triangle, 0, total - 1), rank


def rasterise(
    points: Array, cover: Array, triangles: Array, two_sided: Array, resolution: int
) -> Array:
    """Index of the nearest triangle at each pixel centre, -1 where there is none.

    Args:
        points: [N, P, 3] projected vertices (x pixels, y pixels, depth), depth within 5 to 11.
        cover: [N, P], interpolated over a triangle; pixels where it is negative are cut out.
        triangles: int32 [T, 3] vertex indices, anticlockwise in the image when seen from the front.
        two_sided: bool [T], triangles that are drawn from behind too.
        resolution: edge of the picture in pixels.

    Returns:
        int32 [N, resolution * resolution], row by row.

    Raises:
        ValueError: if there are more than 65536 triangles, the number that fits beside the depth.
    """
    total = triangles.shape[0]
    if total > MAX_TRIANGLES:
        raise ValueError(
            f"rasterise: at most {MAX_TRIANGLES} triangles, got {total}; split the mesh"
        )
    edge, pictures = block_edge(resolution), points.shape[0]
    columns, rows = blocks_needed(points, cover, triangles, two_sided, resolution)
    count = columns * rows
    triangle, rank = _work_list(count, block_capacity(total))
    valid = rank < jnp.take_along_axis(count, triangle, axis=1)
    across = jnp.maximum(jnp.take_along_axis(columns, triangle, axis=1), 1)

    def corner(values: Array, i: int) -> Array:
        return jnp.take_along_axis(values, triangles[:, i][triangle], axis=1)

    x, y, depth, covers = (
        [corner(values, i) for i in range(3)]
        for values in (points[..., 0], points[..., 1], points[..., 2], cover)
    )

    def first(values: list[Array], block: Array) -> Array:
        low = jnp.minimum(jnp.minimum(values[0], values[1]), values[2])
        return jnp.maximum(jnp.ceil(low - 0.5), 0.0).astype(jnp.int32) + edge * block

    left, top = first(x, rank % across), first(y, rank // across)
    # Barycentric weights and everything interpolated are planes over the block: a value at its
    # first pixel centre and two slopes.
    px, py = left + 0.5, top + 0.5
    area = _cross((x[1] - x[0], y[1] - y[0]), (x[2] - x[0], y[2] - y[0]))
    inverse = 1.0 / jnp.where(area == 0.0, 1.0, area)

    def weight(i: int, j: int) -> tuple[Array, Array, Array]:
        ex, ey = x[j] - x[i], y[j] - y[i]
        return _cross((ex, ey), (px - x[i], py - y[i])) * inverse, -ey * inverse, ex * inverse

    w0, w1 = weight(1, 2), weight(2, 0)
    w2 = (1.0 - w0[0] - w1[0], -w0[1] - w1[1], -w0[2] - w1[2])
    offset_y, offset_x = np.divmod(np.arange(edge * edge, dtype=np.int32)[:, None, None], edge)

    def at_pixels(plane: tuple[Array, Array, Array]) -> Array:
        return plane[0] + plane[1] * offset_x + plane[2] * offset_y

    def interpolated(values: list[Array]) -> Array:
        a, b, c = (w0[k] * values[0] + w1[k] * values[1] + w2[k] * values[2] for k in range(3))
        return at_pixels((a, b, c))

    inside = jnp.minimum(jnp.minimum(at_pixels(w0), at_pixels(w1)), at_pixels(w2)) >= _SLACK
    inside &= valid & (left + offset_x < resolution) & (top + offset_y < resolution)
    inside &= interpolated(covers) >= 0.0
    nearness = (FAR - interpolated(depth)) * (32767.0 / (FAR - NEAR))
    nearness = jnp.clip(nearness, 1.0, 32767.0).astype(jnp.int32)
    key = jnp.where(inside, (nearness << 16) | triangle, 0)
    pixels = resolution * resolution
    index = (top + offset_y) * resolution + left + offset_x + pixels * jnp.arange(pictures)[:, None]
    index = jnp.where(inside, index, pictures * pixels)
    buffer = jnp.zeros(pictures * pixels + 1, jnp.int32)
    buffer = buffer.at[index.ravel()].max(key.ravel(), mode="promise_in_bounds")
    buffer = buffer[:-1].reshape(pictures, pixels)
    return jnp.where(buffer > 0, buffer & 0xFFFF, -1)


def interpolate(
    identity: Array, points: Array, attributes: Array, triangles: Array, resolution: int
) -> Array:
    """Attributes at pixel centres; meaningless where `identity` is -1.

    Weights are barycentric in the image; over triangles this small the difference from
    perspective-correct ones is far below a grey level.

    Args:
        identity: int32 [N, resolution * resolution], from `rasterise`.
        points: [N, P, 3] projected vertices.
        attributes: [N, P, C].
        triangles: int32 [T, 3].
        resolution: edge of the picture in pixels.

    Returns:
        [N, resolution * resolution, C].
    """
    corner = triangles[jnp.maximum(identity, 0)]
    joined = jnp.concatenate([points[..., :2], attributes], axis=-1)
    values = [jnp.take_along_axis(joined, corner[..., i, None], axis=1) for i in range(3)]
    (ax, ay), (bx, by), (cx, cy) = ((v[..., 0], v[..., 1]) for v in values)
    row, column = np.divmod(np.arange(resolution * resolution), resolution)
    px, py = column + np.float32(0.5), row + np.float32(0.5)
    area = _cross((bx - ax, by - ay), (cx - ax, cy - ay))
    area = jnp.where(jnp.abs(area) < 1e-7, 1.0, area)
    w0 = (_cross((cx - bx, cy - by), (px - bx, py - by)) / area)[..., None]
    w1 = (_cross((ax - cx, ay - cy), (px - cx, py - cy)) / area)[..., None]
    a, b, c = (v[..., 2:] for v in values)
    return w0 * a + w1 * b + (1.0 - w0 - w1) * c
