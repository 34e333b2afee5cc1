"""The rasteriser against a z-buffer by brute force, and interpolation inside triangles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.morphable.rasterise import FAR, NEAR, blocks_needed, interpolate, rasterise

RESOLUTION = 24
CAPACITY = 4096
# One step of the buffer's 15-bit depth.
QUANTUM = (FAR - NEAR) / 32767


def random_mesh(seed, count=40):
    """Triangles from specks to the size of the image, some reaching out of it."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-2, RESOLUTION + 2, (count, 1, 2))
    size = rng.choice([0.7, 2.0, 6.0, 20.0], (count, 1, 1))
    xy = centre + size * rng.uniform(-1, 1, (count, 3, 2))
    depth = rng.uniform(6, 10, (count, 3, 1))
    points = np.concatenate([xy, depth], -1).reshape(1, -1, 3).astype(np.float32)
    cover = rng.uniform(-0.5, 1.5, (1, 3 * count)).astype(np.float32)
    triangles = np.arange(3 * count, dtype=np.int32).reshape(count, 3)
    return points, cover, triangles, rng.uniform(size=count) < 0.5


def brute_force(points, cover, triangles, two_sided):
    """Per pixel and triangle, float64: smallest weight, depth, cover, and whether it is drawn."""
    corner = points[0].astype(np.float64)[triangles]
    a, b, c = (corner[:, i, None, :2] for i in range(3))
    y, x = np.divmod(np.arange(RESOLUTION**2), RESOLUTION)
    p = np.stack([x, y], -1)[None] + 0.5

    def cross(u, v):
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    area = cross(b - a, c - a)
    w0, w1 = cross(c - b, p - b) / area, cross(a - c, p - c) / area
    weights = np.stack([w0, w1, 1 - w0 - w1], -1)
    depth = (weights * corner[:, None, :, 2]).sum(-1)
    covers = (weights * cover[0][triangles][:, None]).sum(-1)
    drawn = np.where(two_sided[:, None], True, area < 0)
    return weights.min(-1), depth, covers, drawn


@pytest.mark.parametrize("seed", range(6))
def test_against_brute_force(seed):
    points, cover, triangles, two_sided = random_mesh(seed)
    got = np.asarray(rasterise(points, cover, triangles, two_sided, RESOLUTION, capacity=CAPACITY))[
        0
    ]
    smallest, depth, covers, drawn = brute_force(points, cover, triangles, two_sided)
    # Edges belong to either side: pixels within 1e-3 of one (in weight or cover) may be decided
    # either way, and depths closer than two steps of the buffer are equal.
    surely = drawn & (smallest > 1e-3) & (covers > 1e-3)
    maybe = drawn & (smallest > -1e-3) & (covers > -1e-3)
    nearest = np.where(surely, depth, np.inf).min(axis=0)
    hit = got >= 0
    assert hit.any()
    assert not hit.all()
    assert hit[np.isfinite(nearest)].all()
    pixel = np.flatnonzero(hit)
    assert maybe[got[hit], pixel].all()
    assert (depth[got[hit], pixel] <= nearest[hit] + 2 * QUANTUM).all()


def test_pictures_of_a_batch_do_not_meet():
    meshes = [random_mesh(seed) for seed in range(3)]
    triangles, two_sided = meshes[0][2], meshes[0][3]
    points, cover = (np.concatenate([mesh[i] for mesh in meshes]) for i in range(2))
    together = rasterise(points, cover, triangles, two_sided, RESOLUTION, capacity=CAPACITY)
    for i in range(3):
        alone = rasterise(
            points[i : i + 1], cover[i : i + 1], triangles, two_sided, RESOLUTION, capacity=CAPACITY
        )
        np.testing.assert_array_equal(alone[0], together[i])


def test_blocks_needed_bounds_the_work_list():
    points, cover, triangles, two_sided = random_mesh(0)
    needed = int(blocks_needed(points, cover, triangles, two_sided, RESOLUTION)[0])
    full = rasterise(points, cover, triangles, two_sided, RESOLUTION, capacity=CAPACITY)
    exact = rasterise(points, cover, triangles, two_sided, RESOLUTION, capacity=needed)
    np.testing.assert_array_equal(exact, full)
    short = rasterise(points, cover, triangles, two_sided, RESOLUTION, capacity=needed // 2)
    assert (np.asarray(short) != np.asarray(full)).any()


def test_a_closed_mesh_has_no_gaps():
    """A dense sheet that covers the image leaves no pixel out, at several densities."""
    for cells in (5, 24, 60):
        line = np.linspace(-1, RESOLUTION + 1, cells + 1)
        y, x = np.meshgrid(line, line, indexing="ij")
        wobble = 0.3 * np.sin(3 * x) * np.cos(2 * y) * (RESOLUTION / cells) / 3
        points = np.stack([x + wobble, y - wobble, 8 + 0 * x], -1).reshape(1, -1, 3)
        i, j = np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij")
        a = (i * (cells + 1) + j).ravel()
        b = a + cells + 1
        triangles = np.concatenate([np.stack([a, b, a + 1], 1), np.stack([a + 1, b, b + 1], 1)])
        cover, one_sided = np.ones(points.shape[:2], np.float32), np.zeros(len(triangles), bool)
        got = rasterise(
            points.astype(np.float32),
            cover,
            triangles.astype(np.int32),
            one_sided,
            RESOLUTION,
            capacity=4 * len(triangles) + 1000,
        )
        assert (np.asarray(got) >= 0).all()


def test_interpolation_is_linear_and_differentiable():
    points = jnp.array([[[2.0, 2.0, 8.0], [2.0, 22.0, 8.0], [22.0, 2.0, 8.0]]])
    triangles = jnp.array([[0, 1, 2]])
    identity = rasterise(
        points, jnp.ones((1, 3)), triangles, jnp.array([False]), RESOLUTION, capacity=CAPACITY
    )
    position = points[..., :2]
    got = interpolate(identity, points, position, triangles, RESOLUTION)[0]
    y, x = np.divmod(np.arange(RESOLUTION**2), RESOLUTION)
    inside = np.asarray(identity[0]) >= 0
    # Interpolating the corners' own positions gives the pixel's position.
    np.testing.assert_allclose(got[inside], np.stack([x, y], -1)[inside] + 0.5, atol=1e-5)

    def total(points):
        values = interpolate(identity, points, position, triangles, RESOLUTION)[0, :, 0]
        return jnp.where(inside, values, 0.0).mean()

    step = jax.random.normal(jax.random.key(0), points.shape).at[..., 2].set(0.0)
    slope = jnp.vdot(jax.grad(total)(points), step)
    size = 1e-2
    difference = (total(points + size * step) - total(points - size * step)) / (2 * size)
    # 1%: float32 differences of a mean of hundreds of pixels.
    np.testing.assert_allclose(slope, difference, rtol=1e-2)


def test_too_many_triangles_are_refused():
    with pytest.raises(ValueError, match=r"at most 65536 triangles, got 65537"):
        rasterise(
            jnp.zeros((1, 3, 3)),
            jnp.zeros((1, 3)),
            jnp.zeros((65537, 3), jnp.int32),
            jnp.zeros(65537, bool),
            8,
            capacity=8,
        )
