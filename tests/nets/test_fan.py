"""FAN: sizes, decoding, inputs. Its heatmaps are tested from a file's keys on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from seeded import seeded_network

from jaxface.nets import FANConfig
from jaxface.nets.landmarks.fan import MIRRORED, centres, peaks
from jaxface.weights import abstract_network

TINY = FANConfig(stacks=2, depth=2, channels=(4, 8, 8), num_landmarks=68, input_size=32)


@pytest.fixture(scope="module")
def network():
    return seeded_network("FAN", TINY)


def gaussians(points, size=64, deviation=3.25, height=1.0):
    """Heatmaps [1, size, size, K] of points [K, 2], with pixel centres at halves."""
    grid = np.arange(size) + 0.5
    x, y = points[:, 0], points[:, 1]
    squared = (grid[:, None, None] - y) ** 2 + (grid[None, :, None] - x) ** 2
    return (height * np.exp(-squared / (2 * deviation**2))).astype(np.float32)[None]


def test_the_published_sizes():
    network = abstract_network("FAN", FANConfig())
    images = jax.ShapeDtypeStruct((2, 100, 100, 3), jnp.float32)
    heatmaps = jax.eval_shape(lambda n, x: n.heatmaps(x), network, images)
    assert [heat.shape for heat in heatmaps] == [(2, 64, 64, 68)] * 4
    # As many as the package's own 2DFAN-4.
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))) == 23_820_176


def test_peaks_are_the_largest_pixel_and_a_quarter_of_the_way_on():
    random = np.random.default_rng(0)
    heat = random.normal(size=(2, 12, 9, 6)).astype(np.float32)
    heat[0, 0, 4, 0] = heat[0, 7, 8, 1] = 9.0  # on the edge: not moved
    heat[0, 5, 5, 2], heat[0, 5, 4, 2], heat[0, 5, 6, 2] = 9.0, 1.0, 1.0  # level in x
    expected = np.zeros((2, 6, 2))
    for n in range(2):
        for k in range(6):
            one = heat[n, :, :, k]
            y, x = np.unravel_index(one.argmax(), one.shape)
            expected[n, k] = x + 0.5, y + 0.5
            if 0 < x < 8 and 0 < y < 11:
                step = (one[y, x + 1] - one[y, x - 1], one[y + 1, x] - one[y - 1, x])
                expected[n, k] += 0.25 * np.sign(step)
    np.testing.assert_array_equal(peaks(jnp.asarray(heat)), expected)
    assert expected[0, 2, 0] == 5.5


@pytest.mark.slow  # the package compiles its reading
def test_peaks_as_face_alignment_reads_them():
    utils = pytest.importorskip("face_alignment.utils")
    heat = np.random.default_rng(1).normal(size=(2, 64, 64, 68)).astype(np.float32)
    expected, _, _ = utils.get_preds_fromhm(np.ascontiguousarray(heat.transpose(0, 3, 1, 2)))
    np.testing.assert_array_equal(peaks(jnp.asarray(heat)), expected)


@pytest.mark.parametrize("height", [1.0, 0.2])
def test_points_of_gaussian_heatmaps(height):
    points = np.random.default_rng(2).uniform(6, 58, (40, 2))
    heat = jnp.asarray(gaussians(points, height=height))
    # The pixel's half, less the quarter.
    assert np.abs(peaks(heat)[0] - points).max() <= 0.25 + 1e-4
    # The background of 64 x 64 pixels weighs some 1e-5, times half the map: 3e-4 px and rounding.
    assert np.abs(centres(heat)[0] - points).max() < 2e-3


def test_the_soft_points_gradient_is_that_of_differences():
    points = np.array([[20.3, 31.8], [40.0, 12.5]])
    heat, random = gaussians(points), np.random.default_rng(3)
    direction = gaussians(points + 1.5).astype(np.float64)
    weights = random.normal(size=(2, 2))

    def energy(t):
        x = np.asarray(heat, np.float64) + t * direction
        scaled = 20 * x / x.max(axis=(1, 2), keepdims=True)
        p = np.exp(scaled)
        p /= p.sum(axis=(1, 2), keepdims=True)
        grid = np.arange(64) + 0.5
        found = np.stack([(p * grid[:, None]).sum(axis=(1, 2)), 0 * p.sum(axis=(1, 2))], -1)
        found[..., 1] = (p * grid[:, None, None]).sum(axis=(1, 2))
        return (weights * found[0]).sum()

    step = 1e-5
    expected = (energy(step) - energy(-step)) / (2 * step)
    gradient = jax.grad(lambda x: (weights * centres(x)[0]).sum())(jnp.asarray(heat))
    # Float32 against a central difference in float64.
    assert (gradient * direction).sum() == pytest.approx(expected, rel=1e-3)


def test_a_map_without_a_peak_gives_the_middle():
    np.testing.assert_allclose(centres(jnp.zeros((1, 8, 6, 2))), [[[3, 4], [3, 4]]], atol=1e-5)
    negative = -jnp.ones((1, 8, 8, 1))
    assert np.isfinite(jax.grad(lambda x: centres(x).sum())(negative)).all()


@pytest.mark.slow
def test_points_scale_with_the_image_and_an_image_is_its_row(network):
    images = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
    call = jax.jit(lambda n, x: (n.heatmaps(x)[-1], n(x, mirrored=False), n.soft_landmarks(x)))
    heat, points, soft = call(network, images)
    assert heat.shape == (3, 8, 8, 68)
    # Roundings of points up to 64 px, in programs compiled apart.
    np.testing.assert_allclose(points, 8 * peaks(heat), atol=1e-4)
    np.testing.assert_allclose(soft, 8 * centres(heat), atol=1e-3)
    for row in range(3):
        one, _, alone = call(network, images[row : row + 1])
        # Sums of float32 in another order: up to 3 * 3 * 8 terms in some 30 convolutions one after
        # another, whose roundings add up as a random walk: sqrt(30 * 72) 2^-24 = 3e-6 of the
        # largest value. Heatmaps of random weights reach 400, where 2.4e-4 was seen.
        np.testing.assert_allclose(one[0], heat[row], atol=3e-6 * np.abs(heat[row]).max())
        np.testing.assert_allclose(alone[0], soft[row], atol=1e-2)


@pytest.mark.slow
def test_the_mirror_image_gives_the_mirrored_points(network):
    assert sorted(MIRRORED) == list(range(68))
    assert [MIRRORED[MIRRORED[i]] for i in range(68)] == list(range(68))
    images = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    call = jax.jit(lambda n, x: (n.mirrored_heatmaps(x), n.heatmaps(x)[-1], n(x)))
    found, plain, points = call(network, images)
    mirrored, _, _ = call(network, images[:, :, ::-1])
    np.testing.assert_allclose(
        mirrored[:, :, ::-1, np.array(MIRRORED)], found, atol=1e-4 * np.abs(found).max()
    )
    assert np.abs(found - plain).max() > 1e-2 * np.abs(plain).max()
    np.testing.assert_array_equal(points, 4 * peaks(found))


def test_the_mirror_order_is_the_embedded_head_s():
    from jaxface.morphable.annotation import _MIRRORED

    assert all(MIRRORED[a] == b and MIRRORED[b] == a for a, b in _MIRRORED.items())


def test_what_cannot_be_used_is_refused(network):
    with pytest.raises(ValueError, match=r"FAN: expected square images.*32 x 40"):
        network.heatmaps(jnp.zeros((1, 32, 40, 3)))
    with pytest.raises(ValueError, match=r"FAN: expected images \[N, H, W, 3\]"):
        network(jnp.zeros((32, 32, 3)), mirrored=False)
    five = abstract_network("FAN", FANConfig(stacks=1, depth=1, num_landmarks=5))
    with pytest.raises(ValueError, match="known for 68 landmarks, not for 5"):
        five.mirrored_heatmaps(jnp.zeros((1, 8, 8, 3)))
    for options, reason in (
        ({"stacks": 0}, "expected at least 1"),
        ({"channels": (4, 6, 8)}, "multiples of 4"),
        ({"input_size": 96}, "input_size: expected a multiple of 64"),
    ):
        with pytest.raises(ValueError, match=reason):
            FANConfig(**options)
