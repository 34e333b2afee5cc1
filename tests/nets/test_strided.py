"""Stride 2 and its transpose: every form on this platform, whichever one it would choose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jaxface.nets.ops import strided

FORMS = [strided.transposed_by_dilation, strided.transposed_by_phases]
GRADIENTS = [strided.kernel_gradient_by_convolution, strided.kernel_gradient_by_products]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def bordered(y, border):
    """Zeros before and after both axes of an image; negative values crop."""
    for axis in (1, 2):
        width = [(0, 0)] * y.ndim
        width[axis] = tuple(max(size, 0) for size in border)
        y = np.pad(y, width)
        y = np.take(y, range(max(-border[0], 0), y.shape[axis] - max(-border[1], 0)), axis)
    return y


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("border", [(0, 0), (1, 1), (2, -1), (-1, -2)])
def test_transposed_conv(rng, form, size, border):
    x = rng.normal(size=(2, 4, 3, 3)).astype(np.float32)
    kernel = rng.normal(size=(size, size, 3, 4)).astype(np.float32)
    expected = bordered(reference.transposed_conv(x, kernel), border)
    got = jax.jit(form, static_argnums=2)(x, kernel, border)
    # float32: sums of up to 27 products of order one.
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", GRADIENTS)
@pytest.mark.parametrize("spare", [0, 1])
def test_kernel_gradient(rng, form, spare):
    """The derivative of <large, transposed_conv(small, k)> by k, which is linear in k."""
    small = rng.normal(size=(2, 4, 3, 3))
    large = rng.normal(size=(2, 9 + spare, 7 + spare, 2))
    expected = np.zeros((3, 3, 2, 3))
    for tap in np.ndindex(3, 3, 3, 2):
        kernel = np.zeros((3, 3, 3, 2))
        kernel[tap] = 1
        y = reference.transposed_conv(small, kernel)
        expected[tap[0], tap[1], tap[3], tap[2]] = np.sum(y * large[:, :9, :7])
    got = jax.jit(form, static_argnums=2)(np.float32(large), np.float32(small), 3)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("odd", [0, 1])
def test_strided_conv_and_its_gradients(rng, odd):
    x = rng.normal(size=(2, 7 + odd, 9 + odd, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
    conv = jax.jit(strided.strided_conv)
    y, pull_back = jax.vjp(conv, jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(y, reference.correlate(x, kernel)[:, ::2, ::2], rtol=1e-5, atol=1e-5)
    cotangent = rng.normal(size=y.shape).astype(np.float32)
    by_x, by_kernel = pull_back(jnp.asarray(cotangent))
    # The form is bilinear: <cotangent, y> is <by_x, x> and <by_kernel, kernel>.
    expected = np.vdot(cotangent, y)
    np.testing.assert_allclose(np.vdot(by_x, x), expected, rtol=1e-4)
    np.testing.assert_allclose(np.vdot(by_kernel, kernel), expected, rtol=1e-4)
    step = rng.normal(size=x.shape).astype(np.float32)
    moved = np.vdot(cotangent, reference.correlate(step, kernel)[:, ::2, ::2])
    np.testing.assert_allclose(np.vdot(by_x, step), moved, rtol=1e-4)


def test_transposed_conv_and_its_gradients(rng):
    x = rng.normal(size=(2, 3, 4, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
    conv = jax.jit(lambda x, k: strided.transposed_conv(x, k, (1, -1)))
    y, pull_back = jax.vjp(conv, x, kernel)
    cotangent = rng.normal(size=y.shape).astype(np.float32)
    by_x, by_kernel = pull_back(jnp.asarray(cotangent))
    for found, point, other in (
        (by_x, x, lambda step: reference.transposed_conv(step, kernel)),
        (by_kernel, kernel, lambda step: reference.transposed_conv(x, step)),
    ):
        step = rng.normal(size=point.shape).astype(np.float32)
        moved = np.vdot(cotangent, bordered(other(step), (1, -1)))
        np.testing.assert_allclose(np.vdot(found, step), moved, rtol=1e-4)
