"""Layers of the published convolutional networks, with the semantics of PyTorch's.

Their weights are published in PyTorch's or Caffe's form, so padding, rounding and epsilon follow
``torch.nn``. Parameters are stored as the checkpoints have them, in our layout: kernels HWIO, dense
weights [in, out]. Networks are mostly used for inference and as frozen judges: batch normalisation
is the affine map of its running statistics, unless the network was told to ``train()``.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxface.nets.ops.strided import DIMENSION_NUMBERS
from jaxface.nets.variables import Buffer

Pair = int | tuple[int, int]


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def check_images(network: str, images: jax.Array) -> None:
    """Refuse what is not a batch of images.

    Args:
        network: the name that the error begins with.

    Raises:
        ValueError: unless `images` is [N, H, W, 3] of floating numbers, with pixels.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape[1:3]:
        raise ValueError(f"{network}: expected images [N, H, W, 3], got {list(images.shape)}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"{network}: expected floats in [-1, 1], got {images.dtype}")


class Conv2d(nnx.Module):
    """Convolution with zero padding, ``torch.nn.Conv2d``.

    Args:
        padding: zeros before and after each axis.
        groups: each output channel sees in_channels / groups of the input's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        rngs: nnx.Rngs,
    ):
        self.stride, self.padding, self.groups = _pair(stride), _pair(padding), groups
        shape = (*_pair(kernel_size), in_channels // groups, out_channels)
        std = np.sqrt(2 / np.prod(shape[:3])).item()  # He initialisation for ReLU
        self.weight = nnx.Param(std * jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros((out_channels,))) if bias else None

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in] to [N, (H + 2 padding - kernel) // stride + 1, ..., out]."""
        y = lax.conv_general_dilated(
            x,
            self.weight[...].astype(x.dtype),
            self.stride,
            [(p, p) for p in self.padding],
            dimension_numbers=DIMENSION_NUMBERS,
            feature_group_count=self.groups,
        )
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class BatchNorm(nnx.Module):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis.

    ``torch.nn.BatchNorm1d`` and ``2d``. By its running statistics, which are stored, until the
    network's ``train()``; then by those of the batch, and the call moves the stored ones a tenth of
    the way to them (the variance's unbiased estimate). ``eval()`` ends it. A compiled step does
    both inside its loss function and hands the buffers out; over a sharded batch the means are the
    whole batch's.

    Args:
        affine: False has neither weight nor bias.
        gain: False has no weight, as TensorFlow's layer by default.
        unbiased: whether the stored variance follows the batch's unbiased estimate, as here and in
            TensorFlow's fused form, or its mean square, as in TensorFlow's other form.
    """

    MOMENTUM = 0.1  # share of the batch in the new running statistics, PyTorch's default

    def __init__(
        self,
        channels: int,
        *,
        epsilon: float = 1e-5,
        affine: bool = True,
        gain: bool = True,
        unbiased: bool = True,
        rngs: nnx.Rngs,
    ):
        del rngs  # nothing is drawn
        self.use_running_average = True  # what nnx.Module.train() and eval() set
        self.epsilon, self.unbiased = epsilon, unbiased
        self.weight = nnx.Param(jnp.ones((channels,))) if affine and gain else None
        self.bias = nnx.Param(jnp.zeros((channels,))) if affine else None
        self.mean = Buffer(jnp.zeros((channels,)))
        self.variance = Buffer(jnp.ones((channels,)))

    def __call__(self, x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
        """[..., channels], in the dtype of ``x``; the factors are float32."""
        if self.use_running_average:
            mean, variance = self.mean[...], self.variance[...]
        else:
            mean, variance = self._batch_statistics(x)
        scale = lax.rsqrt(variance + self.epsilon)
        if self.weight is not None:
            scale = scale * self.weight[...]
        shift = -mean * scale
        if self.bias is not None:
            shift = shift + self.bias[...]
        return x * scale.astype(x.dtype) + shift.astype(x.dtype)

    def _batch_statistics(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and variance over all axes but the last; the running ones follow."""
        axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
        x = x.astype(jnp.float32)
        mean, variance = jnp.mean(x, axis=axes), jnp.var(x, axis=axes)
        followed = variance * (count / max(count - 1, 1)) if self.unbiased else variance
        for stored, new in ((self.mean, mean), (self.variance, followed)):
            stored[...] += self.MOMENTUM * (lax.stop_gradient(new) - stored[...])
        return mean, variance


class Linear(nnx.Module):
    """x @ weight + bias, ``torch.nn.Linear``."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, rngs: nnx.Rngs):
        std = in_features**-0.5
        shape = (in_features, out_features)
        self.weight = nnx.Param(std * jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros((out_features,))) if bias else None

    def __call__(self, x: Float[Array, "*n i"]) -> Float[Array, "*n o"]:
        """[..., in_features] to [..., out_features]."""
        y = x @ self.weight[...].astype(x.dtype)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class PReLU(nnx.Module):
    """x where positive, slope * x elsewhere, a slope a channel: ``torch.nn.PReLU(channels)``."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        del rngs  # nothing is drawn
        self.slope = nnx.Param(jnp.full((channels,), 0.25, jnp.float32))

    def __call__(self, x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
        """[..., channels]."""
        return jnp.where(x >= 0, x, x * self.slope[...].astype(x.dtype))


def max_pool(
    x: Float[Array, "n h w c"], size: int, *, stride: int, padding: int = 0, ceil: bool = False
) -> Float[Array, "n h2 w2 c"]:
    """Largest value of each window, ``torch.nn.MaxPool2d``; what pads never wins.

    Args:
        x: [N, H, W, C].
        ceil: also a last window that reaches over the edge, as ``ceil_mode``.
    """
    pads = [_window_padding(n, size, stride, padding, ceil) for n in x.shape[1:3]]
    # A NumPy constant: JAX recognises the maximum, and its gradient, by its value.
    lowest = np.asarray(-np.inf, x.dtype)
    return lax.reduce_window(
        x, lowest, lax.max, (1, size, size, 1), (1, stride, stride, 1), [(0, 0), *pads, (0, 0)]
    )


def average_pool(
    x: Float[Array, "n h w c"],
    size: int,
    *,
    stride: int,
    padding: int = 0,
    count_padding: bool = True,
) -> Float[Array, "n h2 w2 c"]:
    """Mean of each window, ``torch.nn.AvgPool2d``.

    Args:
        x: [N, H, W, C].
        count_padding: whether padded zeros count in the mean, as ``count_include_pad``.
    """
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    pads = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    total = lax.reduce_window(x, np.asarray(0, x.dtype), lax.add, window, strides, pads)
    if count_padding or padding == 0:
        return total / (size * size)
    ones = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    return total / lax.reduce_window(ones, np.asarray(0, x.dtype), lax.add, window, strides, pads)


def adaptive_average_pool(x: Float[Array, "n h w c"], size: Pair) -> Float[Array, "n h2 w2 c"]:
    """Means over `size` windows that tile each axis, ``torch.nn.AdaptiveAvgPool2d``.

    Window i of n over a length L is [floor(i L / n), ceil((i + 1) L / n)). As two products with
    matrices, so that any length goes to any other.

    Args:
        x: [N, H, W, C].

    Returns:
        [N, *size, C].
    """
    rows, columns = (
        _averaging(length, n) for length, n in zip(x.shape[1:3], _pair(size), strict=True)
    )
    precision = lax.Precision.HIGHEST
    x = jnp.einsum("nhwc,ih->niwc", x, jnp.asarray(rows, x.dtype), precision=precision)
    return jnp.einsum("niwc,jw->nijc", x, jnp.asarray(columns, x.dtype), precision=precision)


def _averaging(length: int, count: int) -> np.ndarray:
    matrix = np.zeros((count, length))
    for i in range(count):
        start, stop = i * length // count, -(-(i + 1) * length // count)
        matrix[i, start:stop] = 1.0 / (stop - start)
    return matrix


def _window_padding(
    length: int, size: int, stride: int, padding: int, ceil: bool
) -> tuple[int, int]:
    if not ceil:
        return padding, padding
    windows = -(-(length + 2 * padding - size) // stride) + 1
    if (windows - 1) * stride >= length + padding:  # the last one must begin inside
        windows -= 1
    return padding, max(padding, (windows - 1) * stride + size - length - padding)


def resize_bilinear(
    x: Float[Array, "n h w c"], size: Sequence[int], *, align_corners: bool, antialias: bool = False
) -> Float[Array, "n h2 w2 c"]:
    """``torch.nn.functional.interpolate(mode="bilinear")`` of [N, H, W, C] to [N, *size, C].

    Args:
        align_corners: True puts the corner pixels' centres on each other; False the images' edges.
        antialias: widen the kernel where the image shrinks; only with ``align_corners=False``.
    """
    if align_corners and antialias:
        raise ValueError("resize_bilinear: align_corners has no antialiased form")
    rows, columns = (
        _interpolation(length, int(n), align_corners, antialias)
        for length, n in zip(x.shape[1:3], size, strict=True)
    )
    precision = lax.Precision.HIGHEST
    x = jnp.einsum("nhwc,ih->niwc", x, jnp.asarray(rows, x.dtype), precision=precision)
    return jnp.einsum("niwc,jw->nijc", x, jnp.asarray(columns, x.dtype), precision=precision)


def _interpolation(length: int, count: int, align_corners: bool, antialias: bool) -> np.ndarray:
    """[count, length]: the weights of the input's samples in each output sample."""
    if align_corners:
        scale = (length - 1) / (count - 1) if count > 1 else 0.0
        centre = np.arange(count) * scale
    else:
        scale = length / count
        centre = (np.arange(count) + 0.5) * scale - 0.5
    if antialias and scale > 1:
        distance = np.abs(np.arange(length) - centre[:, None]) / scale
        weights = np.maximum(0.0, 1.0 - distance)
        return weights / weights.sum(axis=1, keepdims=True)
    centre = np.clip(centre, 0, length - 1)
    return np.maximum(0.0, 1.0 - np.abs(np.arange(length) - centre[:, None]))
