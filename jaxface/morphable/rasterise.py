"""A z-buffer rasteriser made of pixel blocks and one scatter.

The bounding box of every visible triangle is cut into square blocks of a few pixels. The blocks
of all triangles of an image form one work list of fixed length; every block tests its pixel
centres, and survivors go into the buffer by one scatter-max of packed (nearness, triangle). Most
triangles of a dense mesh fit one block, a large one takes as many as it needs, so every triangle
is covered whatever its size as long as the list has room (`block_capacity`).

Which triangle covers a pixel is not differentiable; `interpolate` recomputes barycentric weights
from the projected vertices, so images are differentiable inside triangles.
"""

import functools
import math

import jax
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
    """Length of the work list for portraits, which need up to 1.07 blocks per triangle."""
    return math.ceil(1.25 * triangles)


def _cross(u: tuple[Array, Array], v: tuple[Array, Array]) -> Array:
    return u[0] * v[1] - u[1] * v[0]


def _rows(table: Array, index: Array) -> Array:
    """Rows of table [N, P, C] at index [N, T] or [T]: [N, T, C].

    One gather of contiguous rows from the flattened batch is several times faster on CPU than a
    batched gather or one per column.
    """
    images, length, width = table.shape
    flat = index + length * jnp.arange(images)[:, None]
    return table.reshape(-1, width).at[flat].get(mode="promise_in_bounds")


def _triangle_planes(
    points: Array, cover: Array, triangles: Array, two_sided: Array, resolution: int
) -> tuple[Array, Array, Array]:
    """What a block has to know of its triangle, and the grid of blocks each triangle takes.

    Barycentric weights and all that is interpolated are planes over the image: a value at the
    first pixel centre of the bounding box and two slopes.

    Returns:
        planes: [N, T, 14], planes of two weights, of nearness and of cover, then the column and
            row of the first pixel.
        columns, rows: int32 [N, T] blocks, 0 where the triangle is invisible.
    """
    table = jnp.concatenate([points, cover[..., None]], axis=-1)
    # Barriers keep gathers and set-up from being fused into, and repeated by, what reads them.
    corners = [jax.lax.optimization_barrier(_rows(table, triangles[:, i])) for i in range(3)]
    (ax, ay), (bx, by), (cx, cy) = ((v[..., 0], v[..., 1]) for v in corners)
    area = _cross((bx - ax, by - ay), (cx - ax, cy - ay))
    covered = jnp.maximum(jnp.maximum(corners[0], corners[1]), corners[2])[..., 3]
    visible = (jnp.where(two_sided, jnp.abs(area), -area) > 1e-7) & (covered >= 0.0)
    edge = block_edge(resolution)

    def span(a: Array, b: Array, c: Array) -> tuple[Array, Array]:
        first = jnp.maximum(jnp.ceil(jnp.minimum(jnp.minimum(a, b), c) - 0.5), 0.0)
        last = jnp.minimum(jnp.floor(jnp.maximum(jnp.maximum(a, b), c) - 0.5), resolution - 1.0)
        blocks = jnp.maximum(jnp.floor((last - first) / edge) + 1.0, 0.0)
        return first, jnp.where(visible, blocks, 0.0).astype(jnp.int32)

    (left, columns), (top, rows) = span(ax, bx, cx), span(ay, by, cy)
    px, py = left + 0.5, top + 0.5
    inverse = 1.0 / jnp.where(area == 0.0, 1.0, area)

    def weight(ax: Array, ay: Array, bx: Array, by: Array) -> list[Array]:
        ex, ey = bx - ax, by - ay
        return [_cross((ex, ey), (px - ax, py - ay)) * inverse, -ey * inverse, ex * inverse]

    w0, w1 = weight(bx, by, cx, cy), weight(cx, cy, ax, ay)
    w2 = [1.0 - w0[0] - w1[0], -w0[1] - w1[1], -w0[2] - w1[2]]

    def interpolated(a: Array, b: Array, c: Array) -> list[Array]:
        return [w0[k] * a + w1[k] * b + w2[k] * c for k in range(3)]

    near = interpolated(*((FAR - v[..., 2]) * (32767.0 / (FAR - NEAR)) for v in corners))
    covers = interpolated(*(v[..., 3] for v in corners))
    planes = jnp.stack([*w0, *w1, *near, *covers, left, top], axis=-1)
    return jax.lax.optimization_barrier((planes, columns, rows))


@functools.partial(jax.jit, static_argnames="resolution")
def blocks_needed(
    points: Array, cover: Array, triangles: Array, two_sided: Array, resolution: int
) -> Array:
    """Number of blocks that each image takes, int32 [N]; arguments as for `rasterise`."""
    _, columns, rows = _triangle_planes(points, cover, triangles, two_sided, resolution)
    return (columns * rows).sum(axis=1)


def _work_list(count: Array, capacity: int) -> tuple[Array, Array]:
    """Triangle of every work item [N, C] and the number of its triangle's items before it.

    Items beyond the last have a number beyond their triangle's count.
    """
    images, total = count.shape
    start = jnp.cumsum(count, axis=1) - count
    # An item's triangle is the last one that starts at or before it.
    starts = jnp.zeros((images, capacity), jnp.int32)
    starts = starts.at[jnp.arange(images)[:, None], start].add(1, mode="drop")
    triangle = jnp.clip(jnp.cumsum(starts, axis=1) - 1, 0, total - 1)
    return triangle, jnp.arange(capacity) - _rows(start[..., None], triangle)[..., 0]


@functools.partial(jax.jit, static_argnames=("resolution", "capacity"))
def rasterise(
    points: Array,
    cover: Array,
    triangles: Array,
    two_sided: Array,
    resolution: int,
    *,
    capacity: int,
) -> Array:
    """Index of the nearest triangle at each pixel centre, -1 where there is none.

    Args:
        points: [N, P, 3] projected vertices (x pixels, y pixels, depth), depth within 5 to 11.
        cover: [N, P], interpolated over a triangle; pixels where it is negative are cut out.
        triangles: int32 [T, 3] vertex indices, anticlockwise in the image when seen from the front.
        two_sided: bool [T], triangles that are drawn from behind too.
        resolution: edge of the image in pixels.
        capacity: length of an image's work list; blocks beyond it (`blocks_needed`) are left out.

    Returns:
        int32 [N, resolution * resolution], row by row.

    Raises:
        ValueError: if there are more than 65536 triangles, the number that fits beside the depth.
    """
    total = triangles.shape[0]
    if total > MAX_TRIANGLES:
        raise ValueError(
            f"rasterise: expected at most {MAX_TRIANGLES} triangles, got {total}; split the mesh"
        )
    edge, images, pixels = block_edge(resolution), points.shape[0], resolution * resolution
    planes, columns, rows = _triangle_planes(points, cover, triangles, two_sided, resolution)
    triangle, item = _work_list(columns * rows, capacity)
    table = jnp.concatenate(
        [planes, columns[..., None].astype(planes.dtype), rows[..., None].astype(planes.dtype)], -1
    )
    own = jnp.moveaxis(_rows(table, triangle), -1, 0)
    own, triangle, item = jax.lax.optimization_barrier((own, triangle, item))
    across = jnp.maximum(own[14].astype(jnp.int32), 1)
    valid = item < across * own[15].astype(jnp.int32)
    step_x, step_y = edge * (item % across), edge * (item // across)
    left, top = own[12].astype(jnp.int32) + step_x, own[13].astype(jnp.int32) + step_y
    base = pixels * jnp.arange(images)[:, None] + top * resolution + left
    at_block = [own[k] + own[k + 1] * step_x + own[k + 2] * step_y for k in (0, 3, 6, 9)]
    slopes = own[:12]
    at_block, slopes, left, top, base, valid, triangle = jax.lax.optimization_barrier(
        (at_block, slopes, left, top, base, valid, triangle)
    )

    # Axes from here on: pixel of the block, image, work item.
    y, x = np.divmod(np.arange(edge * edge, dtype=np.int32)[:, None, None], edge)
    w0, w1, near, covers = (
        value + slopes[3 * k + 1] * x + slopes[3 * k + 2] * y for k, value in enumerate(at_block)
    )
    inside = (jnp.minimum(jnp.minimum(w0, w1), 1.0 - w0 - w1) >= _SLACK) & (covers >= 0.0)
    inside &= valid & (left + x < resolution) & (top + y < resolution)
    nearness = jnp.clip(near, 1.0, 32767.0).astype(jnp.int32)
    key = jnp.where(inside, (nearness << 16) | triangle, 0)
    index = jnp.where(inside, base + y * resolution + x, images * pixels)
    buffer = jnp.zeros(images * pixels + 1, jnp.int32)
    buffer = buffer.at[index.ravel()].max(key.ravel(), mode="promise_in_bounds")
    buffer = buffer[:-1].reshape(images, pixels)
    return jnp.where(buffer > 0, buffer & 0xFFFF, -1)


@functools.partial(jax.jit, static_argnames="resolution")
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
        resolution: edge of the image in pixels.

    Returns:
        [N, resolution * resolution, C].
    """
    corner = triangles[jnp.maximum(identity, 0)]
    joined = jnp.concatenate([points[..., :2], attributes], axis=-1)
    values = [jax.lax.optimization_barrier(_rows(joined, corner[..., i])) for i in range(3)]
    (ax, ay), (bx, by), (cx, cy) = ((v[..., 0], v[..., 1]) for v in values)
    row, column = np.divmod(np.arange(resolution * resolution), resolution)
    px, py = column + np.float32(0.5), row + np.float32(0.5)
    area = _cross((bx - ax, by - ay), (cx - ax, cy - ay))
    area = jnp.where(jnp.abs(area) < 1e-7, 1.0, area)
    w0 = (_cross((cx - bx, cy - by), (px - bx, py - by)) / area)[..., None]
    w1 = (_cross((ax - cx, ay - cy), (px - cx, py - cy)) / area)[..., None]
    a, b, c = (v[..., 2:] for v in values)
    return w0 * a + w1 * b + (1.0 - w0 - w1) * c
