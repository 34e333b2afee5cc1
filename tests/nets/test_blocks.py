"""The shared layers against PyTorch where it is installed, and against NumPy everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.nets import torch_layers as blocks
from jaxface.runtime.devices import data_mesh
from jaxface.training.loop import shard_batch

RNG = np.random.default_rng(0)


def nchw(x):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(np.ascontiguousarray(np.asarray(x).transpose(0, 3, 1, 2)))


def nhwc(x):
    return x.detach().numpy().transpose(0, 2, 3, 1)


@pytest.fixture
def x():
    return RNG.normal(size=(2, 9, 7, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"padding": (0, 2), "groups": 2}, {"bias": False}],
    ids=str,
)
def test_convolution(x, options):
    torch = pytest.importorskip("torch")
    ours = blocks.Conv2d(4, 6, (3, 2), rngs=nnx.Rngs(0), **options)
    theirs = torch.nn.Conv2d(4, 6, (3, 2), **options)
    theirs.weight.data = torch.from_numpy(np.asarray(ours.weight[...]).transpose(3, 2, 0, 1).copy())
    if ours.bias is not None:
        ours.bias[...] = jnp.arange(6.0)
        theirs.bias.data = torch.arange(6.0)
    # 1e-5: float32 sums of 24 products.
    np.testing.assert_allclose(ours(jnp.asarray(x)), nhwc(theirs(nchw(x))), atol=1e-5)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_against_its_formula(x, affine):
    layer = blocks.BatchNorm(4, epsilon=1e-3, affine=affine, rngs=nnx.Rngs(0))
    mean, variance, weight, bias = RNG.uniform(0.5, 2, size=(4, 4))
    layer.mean[...], layer.variance[...] = jnp.asarray(mean), jnp.asarray(variance)
    expected = (x - mean) / np.sqrt(variance + 1e-3)
    if layer.weight is not None and layer.bias is not None:
        layer.weight[...], layer.bias[...] = jnp.asarray(weight), jnp.asarray(bias)
        expected = expected * weight + bias
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, atol=1e-5)


def test_batch_norm_learns_by_the_whole_batch(x):
    layer = blocks.BatchNorm(4, epsilon=1e-3, rngs=nnx.Rngs(0))
    before = jax.tree.map(jnp.copy, layer)
    axes, flat = tuple(range(x.ndim - 1)), x.astype(np.float64).reshape(-1, 4)
    mean, variance = flat.mean(axis=0), flat.var(axis=0)

    @jax.jit
    def train(layer, x):
        layer.train()
        y = layer(x)
        layer.eval()
        return y, layer

    # Two devices: the statistics are over both halves.
    halves = np.concatenate([x, x + 1.0])
    mesh = data_mesh(jax.devices()[:2])
    for given, shift in ((jnp.asarray(x), 0.0), (shard_batch(halves, mesh), 0.5)):
        y, after = train(before, given)
        spread = variance + shift**2
        expected = (np.asarray(given) - (mean + shift)) / np.sqrt(spread + 1e-3)
        # Float32 means of a few dozen numbers.
        np.testing.assert_allclose(y, expected, atol=1e-4)
        count = given.size // 4
        np.testing.assert_allclose(after.mean[...], 0.1 * (mean + shift), atol=1e-5)
        unbiased = 0.9 + 0.1 * spread * count / (count - 1)
        np.testing.assert_allclose(after.variance[...], unbiased, atol=1e-5)
        assert after.use_running_average
    np.testing.assert_array_equal(before.mean[...], np.zeros(4))
    assert np.asarray(y).mean(axis=axes) == pytest.approx(np.zeros(4), abs=1e-5)


def test_linear_and_prelu_against_their_formulas():
    x = RNG.normal(size=(5, 4)).astype(np.float32)
    linear, prelu = blocks.Linear(4, 3, rngs=nnx.Rngs(0)), blocks.PReLU(4, rngs=nnx.Rngs(0))
    assert linear.bias is not None
    linear.bias[...], prelu.slope[...] = jnp.arange(3.0), jnp.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(
        linear(jnp.asarray(x)), x @ np.asarray(linear.weight[...]) + np.arange(3), atol=1e-5
    )
    expected = np.where(x >= 0, x, x * np.array([0.1, 0.2, 0.3, 0.4]))
    np.testing.assert_allclose(prelu(jnp.asarray(x)), expected, atol=1e-6)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 2, 0), (1, 2, 0)]
)
def test_max_pool(x, size, stride, padding, ceil):
    torch = pytest.importorskip("torch")
    expected = torch.nn.MaxPool2d(size, stride, padding, ceil_mode=ceil)(nchw(x))
    found = blocks.max_pool(jnp.asarray(x), size, stride=stride, padding=padding, ceil=ceil)
    np.testing.assert_array_equal(found, nhwc(expected))


@pytest.mark.parametrize("count_padding", [True, False])
def test_average_pool(x, count_padding):
    torch = pytest.importorskip("torch")
    expected = torch.nn.AvgPool2d(3, 1, 1, count_include_pad=count_padding)(nchw(x))
    found = blocks.average_pool(jnp.asarray(x), 3, stride=1, padding=1, count_padding=count_padding)
    np.testing.assert_allclose(found, nhwc(expected), atol=1e-6)


@pytest.mark.parametrize("size", [1, (3, 2), (5, 10), (9, 7)])
def test_adaptive_average_pool(x, size):
    torch = pytest.importorskip("torch")
    expected = torch.nn.AdaptiveAvgPool2d(size)(nchw(x))
    found = blocks.adaptive_average_pool(jnp.asarray(x), size)
    np.testing.assert_allclose(found, nhwc(expected), atol=1e-6)


@pytest.mark.parametrize("size", [(4, 5), (18, 14), (9, 7), (1, 3)])
@pytest.mark.parametrize(
    "options",
    [
        {"align_corners": True},
        {"align_corners": False},
        {"align_corners": False, "antialias": True},
    ],
    ids=str,
)
def test_resize(x, size, options):
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.interpolate(nchw(x), size, mode="bilinear", **options)
    found = blocks.resize_bilinear(jnp.asarray(x), size, **options)
    np.testing.assert_allclose(found, nhwc(expected), atol=1e-5)


def test_means_keep_a_constant():
    """Everywhere, without PyTorch: weights of pooling and resizing sum to one."""
    ones = jnp.ones((1, 13, 6, 2))
    for y in (
        blocks.adaptive_average_pool(ones, (5, 4)),
        blocks.resize_bilinear(ones, (20, 3), align_corners=True),
        blocks.resize_bilinear(ones, (4, 9), align_corners=False, antialias=True),
        blocks.average_pool(ones, 3, stride=2, padding=1, count_padding=False),
        blocks.max_pool(ones, 3, stride=2, padding=1, ceil=True),
    ):
        np.testing.assert_allclose(y, 1.0, atol=1e-6)
    with pytest.raises(ValueError, match="antialiased"):
        blocks.resize_bilinear(ones, (4, 4), align_corners=True, antialias=True)
    gradient = jax.grad(lambda x: blocks.adaptive_average_pool(x, 2).sum())(ones)
    assert float(gradient.sum()) == pytest.approx(8.0, rel=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_pooling_has_a_gradient_inside_jit(x, dtype):
    """Each window's gradient goes to its largest value, or to all values in equal parts."""

    @jax.jit
    @jax.grad
    def largest(x):
        return blocks.max_pool(x, 3, stride=3).astype(jnp.float32).sum()

    @jax.jit
    @jax.grad
    def mean(x):
        pooled = blocks.average_pool(x, 3, stride=3, padding=1, count_padding=False)
        return pooled.astype(jnp.float32).sum()

    x = jnp.asarray(x[:, :9, :6], dtype)
    windows = np.asarray(x, np.float64).reshape(2, 3, 3, 2, 3, 4)
    found = np.asarray(largest(x), np.float64).reshape(windows.shape)
    # One of them, should two be equal in bfloat16.
    np.testing.assert_array_equal(found.sum(axis=(2, 4)), 1)
    np.testing.assert_array_equal((found * windows).sum(axis=(2, 4)), windows.max(axis=(2, 4)))
    # bfloat16 has eight bits.
    assert float(mean(x).astype(jnp.float32).sum()) == pytest.approx(2 * 4 * 3 * 2, rel=2e-2)


def test_what_is_not_a_batch_of_images_is_refused():
    blocks.check_images("Net", jnp.zeros((0, 4, 5, 3)))
    for shape in ((4, 5, 3), (1, 3, 4, 5), (1, 0, 5, 3)):
        with pytest.raises(ValueError, match=r"Net: expected images \[N, H, W, 3\]"):
            blocks.check_images("Net", jnp.zeros(shape))
    with pytest.raises(ValueError, match="Net: expected floats"):
        blocks.check_images("Net", jnp.zeros((1, 4, 5, 3), jnp.uint8))
