"""StyleGAN2's operators against float64 NumPy.

Tolerance: float32 sums of up to a few hundred terms of order one differ from float64 by a few
1e-6; 2e-5 of the output's largest magnitude leaves one order of magnitude.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jaxface.losses import perceptual
from jaxface.nets import ops
from jaxface.nets.ops.formulation import one_formulation

TAPS = ops.fir_taps((1, 3, 3, 1))
MATRIX = np.array([[0.1, -0.3, 0.2], [0.5, 0.25, 0.0], [-0.2, 0.1, 0.35]])


def close(got, expected):
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(np.asarray(got), expected, rtol=0, atol=2e-5 * scale)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("taps", [TAPS, np.array([0.2, 0.5, 0.3]), MATRIX], ids=["4", "3", "3x3"])
def test_upfirdn(rng, taps):
    x = rng.normal(size=(2, 8, 6, 3)).astype(np.float32)
    cases = [
        {"up": up, "down": down, "padding": padding, "gain": 1.5, "flip": flip}
        for up, down in ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (4, 1))
        for padding in ((2, 1, 3, 0), (-1, 2, 0, -2))
        for flip in (False, True)
    ]
    # One program for all cases: they are small, compiling each would dominate.
    got = jax.jit(lambda x: [ops.upfirdn(x, taps, **case) for case in cases])(x)
    for case, y in zip(cases, got, strict=True):
        expected = reference.upfirdn(x, taps, **case)
        assert y.shape == expected.shape, case
        close(y, expected)


@pytest.mark.parametrize("taps", [TAPS, np.array([0.2, 0.5, 0.3]), MATRIX], ids=["4", "3", "3x3"])
def test_upfirdn_transpose(rng, taps):
    """<y, A x> = <A' y, x> defines the gradient A' of a linear map A."""
    x = rng.normal(size=(1, 5, 6, 2)).astype(np.float32)
    cases = [
        {"up": up, "down": down, "padding": (2, -1, 0, 3), "gain": 1.5}
        for up, down in ((1, 1), (2, 1), (1, 2), (2, 3))
    ]

    @jax.jit
    def both(x):
        pairs = [jax.vjp(lambda x, case=case: ops.upfirdn(x, taps, **case), x) for case in cases]
        return [(y, pull_back(jnp.cos(y))[0]) for y, pull_back in pairs]

    for y, gradient in both(x):
        assert gradient.shape == x.shape
        # Sums of about a hundred float32 products of order one.
        np.testing.assert_allclose(
            np.vdot(gradient, x), np.vdot(np.cos(y), y), rtol=1e-4, atol=1e-4
        )


def test_filter_up_and_downsample_keep_a_constant_and_the_size():
    x = jnp.full((1, 8, 8, 2), 3.0)
    up, down, y = jax.jit(
        lambda x: (ops.upsample(x, TAPS), ops.downsample(x, TAPS), ops.filter2d(x, TAPS, gain=2.0))
    )(x)
    for resampled, side in ((up, 16), (down, 4)):
        assert resampled.shape == (1, side, side, 2)
        inner = np.asarray(resampled)[:, 1:-1, 1:-1]
        close(inner, np.full((1, side - 2, side - 2, 2), 3.0))
    assert y.shape == x.shape
    close(np.asarray(y)[:, 2:-2, 2:-2], np.full((1, 4, 4, 2), 6.0))


@pytest.mark.parametrize(
    ("up", "down", "padding"), [(2, 1, (3, 1, 2, 2)), (1, 2, (-1, 3, 2, -2)), (1, 1, (2, 1, 2, 1))]
)
def test_images_of_few_channels_are_filtered_by_matrices_on_tpus(rng, up, down, padding):
    x = rng.normal(size=(2, 8, 10, 3)).astype(np.float32)
    options = {"up": up, "down": down, "padding": padding, "gain": 4.0}

    def filtered(x):
        return ops.upfirdn(x, TAPS, **options)

    def gradient(x):
        return jax.grad(lambda x: jnp.sum(jnp.sin(filtered(x))))(x)

    with one_formulation("tpu"):
        text = jax.jit(filtered).lower(x).as_text()
        got, slope = jax.jit(filtered)(x), jax.jit(gradient)(x)
    assert "dot_general" in text
    close(got, reference.upfirdn(x, TAPS, **options))
    with one_formulation("cpu"):
        np.testing.assert_allclose(slope, jax.jit(lambda x: gradient(x))(x), atol=1e-5)
    means = perceptual.downsample(x[:, :8, :8], 4)
    with one_formulation("tpu"):
        np.testing.assert_allclose(perceptual.downsample(x[:, :8, :8], 4), means, atol=1e-6)


@pytest.mark.parametrize(("up", "down"), [(2, 1), (1, 2)])
def test_long_filters_run_by_matrices_on_cpus_and_by_shifted_sums_on_gpus(rng, up, down):
    x = rng.normal(size=(1, 14, 13, 3)).astype(np.float32)
    taps = rng.normal(size=12)
    options = {"up": up, "down": down, "padding": (-1, 2, 0, -1), "gain": 1.5, "flip": True}
    for platform in ("cpu", "gpu"):
        with one_formulation(platform):
            filtered = jax.jit(lambda x: ops.upfirdn(x, taps, **options)).trace(x)
        assert ("dot_general" in str(filtered.jaxpr)) == (platform == "cpu")
        close(filtered.lower().compile()(x), reference.upfirdn(x, taps, **options))


def test_a_filter_of_both_axes_is_one_pass_on_gpus(rng):
    x = rng.normal(size=(2, 7, 9, 5)).astype(np.float32)
    options = {"padding": (2, 1, 1, 0), "gain": 4.0}

    def filtered(x):
        y = ops.upfirdn(x, TAPS, **options)
        return jnp.sum(jnp.sin(y)), y

    found = {}
    for platform in ("cpu", "gpu"):
        with one_formulation(platform):
            both = jax.jit(jax.value_and_grad(filtered, has_aux=True)).trace(x)
            alone = jax.jit(lambda x: ops.upfirdn(x, TAPS, **options)).trace(x)
        found[platform] = both.lower().compile()(x)
        # A product for each tap: of one axis and then the other, or of both.
        assert str(alone.jaxpr).count(" mul ") == (16 if platform == "gpu" else 8)
    (_, y), gradient = found["gpu"]
    close(y, reference.upfirdn(x, TAPS, **options))
    np.testing.assert_allclose(gradient, found["cpu"][1], atol=1e-5)


def test_upfirdn_refuses_an_image_smaller_than_the_filter():
    with pytest.raises(ValueError, match="at least the filter's 4"):
        ops.upfirdn(jnp.zeros((1, 2, 8, 1)), TAPS)


@pytest.mark.parametrize("taps", [np.zeros(3), np.zeros((2, 2, 2)), np.array([])])
def test_fir_taps_refuses(taps):
    with pytest.raises(ValueError, match="FIR taps"):
        ops.fir_taps(taps)


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2)])
def test_conv_resample(rng, size, up, down, platform):
    x = rng.normal(size=(2, 8, 8, 5)).astype(np.float32)
    kernel = rng.normal(size=(size, size, 5, 4)).astype(np.float32)
    resample = jax.jit(functools.partial(ops.conv_resample, taps=TAPS, up=up, down=down))
    with one_formulation(platform):
        got = resample(x, kernel)
    assert got.shape == (2, 8 * up // down, 8 * up // down, 4)
    close(got, reference.conv_resample(x, kernel, TAPS, up=up, down=down))


@pytest.mark.parametrize(("size", "up", "down"), [(2, 1, 1), (3, 2, 2), (3, 3, 1)])
def test_conv_resample_refuses(size, up, down):
    with pytest.raises(ValueError, match="conv_resample"):
        ops.conv_resample(
            jnp.zeros((1, 8, 8, 2)), jnp.zeros((size, size, 2, 2)), taps=TAPS, up=up, down=down
        )


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_conv(rng, up, demodulate):
    x = rng.normal(size=(3, 6, 6, 5)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 5, 4)).astype(np.float32)
    styles = (1 + rng.normal(size=(3, 5))).astype(np.float32)
    options = {"taps": TAPS, "up": up, "demodulate": demodulate}
    got = jax.jit(functools.partial(ops.modulated_conv, **options))(x, kernel, styles)
    close(got, reference.modulated_conv(x, kernel, styles, TAPS, up=up, demodulate=demodulate))


def test_modulated_conv_survives_float16_where_plain_scaling_would_overflow(rng):
    x = rng.normal(size=(1, 4, 4, 64)).astype(np.float16)
    kernel = (300 * rng.normal(size=(3, 3, 64, 8))).astype(np.float32)
    styles = (300 * rng.normal(size=(1, 64))).astype(np.float32)
    got = ops.modulated_conv(x, jnp.asarray(kernel), jnp.asarray(styles), taps=TAPS)
    expected = reference.modulated_conv(x, kernel, styles, TAPS)
    # float16 carries 11 bits: sums of 576 products stay within about 1%.
    np.testing.assert_allclose(np.asarray(got, np.float64), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("activation", ["linear", "lrelu"])
@pytest.mark.parametrize("clamp", [None, 0.7])
def test_bias_act(rng, activation, clamp):
    x, bias = rng.normal(size=(2, 3, 3, 4)).astype(np.float32), rng.normal(size=4)
    kwargs = {"activation": activation, "gain": 0.5, "clamp": clamp}
    got = ops.bias_act(jnp.asarray(x), jnp.asarray(bias, jnp.float32), **kwargs)
    close(got, reference.bias_act(x, bias.astype(np.float32), **kwargs))


def test_gradients_match_finite_differences(rng):
    """Reverse mode through the whole modulated up-convolution, against central differences in
    float64 NumPy."""
    x = rng.normal(size=(1, 3, 3, 2))
    kernel, styles = rng.normal(size=(3, 3, 2, 2)), 1 + rng.normal(size=(1, 2))
    cotangent = rng.normal(size=(1, 6, 6, 2))

    def objective(styles):
        y = reference.modulated_conv(x, kernel, styles, TAPS, up=2)
        return np.sum(y * cotangent)

    def jax_objective(styles):
        y = ops.modulated_conv(jnp.asarray(x), jnp.asarray(kernel), styles, taps=TAPS, up=2)
        return jnp.sum(y * cotangent)

    got = jax.jit(jax.grad(jax_objective))(jnp.asarray(styles))
    step = 1e-5
    expected = [
        (objective(styles + step * unit) - objective(styles - step * unit)) / (2 * step)
        for unit in np.eye(2)[:, None, :]
    ]
    np.testing.assert_allclose(np.asarray(got)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("demodulate", [True, False])
def test_colours_of_a_modulated_conv_are_sums_on_gpus(rng, demodulate):
    x = rng.normal(size=(2, 4, 4, 6)).astype(np.float32)
    kernel = rng.normal(size=(1, 1, 6, 3)).astype(np.float32)
    styles = (1 + rng.normal(size=(2, 6))).astype(np.float32)

    def convolved(*arguments):
        y = ops.modulated_conv(*arguments, taps=TAPS, demodulate=demodulate)
        return jnp.sum(jnp.sin(y)), y

    found = {}
    for platform in ("cpu", "gpu"):
        with one_formulation(platform):
            both = jax.jit(jax.value_and_grad(convolved, (0, 1, 2), has_aux=True))
            found[platform] = both.trace(x, kernel, styles).lower().compile()(x, kernel, styles)
    close(
        found["gpu"][0][1], reference.modulated_conv(x, kernel, styles, TAPS, demodulate=demodulate)
    )
    for ours, wanted in zip(found["gpu"][1], found["cpu"][1], strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)
