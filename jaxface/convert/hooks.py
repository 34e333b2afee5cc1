"""Tensor hooks: how an array of the source becomes an array of ours.  Names live elsewhere.

Ours are NHWC constants, HWIO kernels and [in, out] dense weights, all raw: the equalised learning
rate is applied at run time, here as in the sources.
"""

from collections.abc import Callable

import numpy as np

Hook = Callable[[np.ndarray], np.ndarray]


def same(x: np.ndarray) -> np.ndarray:
    """Biases, noise maps, means: as they are."""
    return x


def dense(x: np.ndarray) -> np.ndarray:
    """[out, in] to [in, out]."""
    return x.transpose(1, 0)


def kernel(x: np.ndarray) -> np.ndarray:
    """OIHW to HWIO."""
    return x.transpose(2, 3, 1, 0)


def batched_kernel(x: np.ndarray) -> np.ndarray:
    """[1, O, I, H, W] to HWIO."""
    return kernel(unbatched(x))


def flipped_kernel(x: np.ndarray) -> np.ndarray:
    """HWIO turned by 180 degrees: TensorFlow's up-convolutions store what theirs correlate."""
    if x.ndim != 4:
        raise ValueError("expected 4 dimensions")
    return x[::-1, ::-1]


def unbatched(x: np.ndarray) -> np.ndarray:
    """[1, ...] to [...]."""
    if x.ndim == 0 or x.shape[0] != 1:
        raise ValueError("expected a first dimension of 1")
    return x[0]


def noise_map(x: np.ndarray) -> np.ndarray:
    """[1, 1, H, W] to [H, W]."""
    return unbatched(unbatched(x))


def constant(x: np.ndarray) -> np.ndarray:
    """CHW to HWC."""
    return x.transpose(1, 2, 0)


def batched_constant(x: np.ndarray) -> np.ndarray:
    """[1, C, H, W] to HWC."""
    return constant(unbatched(x))


def one_plus(x: np.ndarray) -> np.ndarray:
    """A style's bias: TensorFlow adds the 1 at run time, ours stores it."""
    return x + 1


def image_bias(x: np.ndarray) -> np.ndarray:
    """[1, C, 1, 1] to [C]."""
    if x.ndim != 4 or x.shape[0] != 1 or x.shape[2:] != (1, 1):
        raise ValueError("expected [1, C, 1, 1]")
    return x[0, :, 0, 0]


def pointwise(x: np.ndarray) -> np.ndarray:
    """A 1 x 1 kernel [out, in, 1, 1] to a dense weight [in, out]."""
    if x.ndim != 4 or x.shape[2:] != (1, 1):
        raise ValueError("expected [out, in, 1, 1]")
    return dense(x[:, :, 0, 0])


def flattened(side: int) -> Hook:
    """[out, C * side * side], over a flattened CHW, to [side * side * C, out], over an HWC."""

    def hook(x: np.ndarray) -> np.ndarray:
        if x.ndim != 2 or x.shape[1] % side**2:
            raise ValueError(f"expected [out, {side**2} C]")
        x = x.reshape(x.shape[0], -1, side, side)
        return x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0])

    return hook


flattened_dense = flattened(4)


def tf_flattened_dense(x: np.ndarray) -> np.ndarray:
    """[C * 4 * 4, out] to [4 * 4 * C, out]."""
    return flattened_dense(dense(x))


def modes_first(x: np.ndarray) -> np.ndarray:
    """A linear model's [V, 3, modes] to [modes, V, 3]."""
    return x.transpose(2, 0, 1)
