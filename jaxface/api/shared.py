"""What these jobs share: suites by name, changed presets, images of any kind, drawn portraits."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.media.images import (
    as_float,
    read_image,
    resize,
    to_square,
)
from jaxface.settings import apply_overrides
from jaxface.suite import Suite, load_suite


def opened(suite: Suite | str | os.PathLike[str]) -> Suite:
    """A suite as it is, or by name or folder."""
    return suite if isinstance(suite, Suite) else load_suite(suite)


def changed(method: Any, settings: Mapping[str, Any]) -> Any:
    """A preset with some of its settings changed; dots of nested ones are two underscores."""
    changes = [f"{name.replace('__', '.')}={value}" for name, value in settings.items()]
    return apply_overrides(method, changes)


def read_images(images: Any, size: int) -> tuple[np.ndarray, list[str]]:
    """Images as the jobs take them, at a generator's size.

    Args:
      images: [N, H, H, 3], uint8 or float in [-1, 1]; or paths of N files, or one, of which the
        central square is taken.
      size: pixels per side of what is returned.

    Returns:
      [N, size, size, 3] in [-1, 1]; and N names, the files' or numbers.

    Raises:
      ImageError: a file is no usable image.
      ValueError: no batch of square images.
    """
    if is_path(images):
        images = [images]
    if not hasattr(images, "shape") and images and all(is_path(each) for each in images):
        pixels = [to_square(read_image(path), size).pixels for path in images]
        return np.stack(pixels), [Path(path).stem for path in images]
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[1] != array.shape[2] or array.shape[3] != 3:
        raise ValueError(f"expected images [N, H, H, 3], got {list(array.shape)}.")
    array = as_float(array).astype(np.float32)
    array = array if array.shape[1] == size else np.asarray(resize(array, size))
    return array, [f"image_{number}" for number in range(len(array))]


def is_path(value: Any) -> bool:
    """Whether it is the name of a file."""
    return isinstance(value, str | os.PathLike)


def drawn(suite: Suite, w_plus: Any) -> np.ndarray:
    """What a suite's generator draws of codes [N, L, D]: [N, R, R, 3], cut off at [-1, 1]."""
    return np.clip(np.asarray(_synthesize(suite.generator, jnp.asarray(w_plus))), -1, 1)


@jax.jit
def _synthesize(generator: Any, w_plus: jax.Array) -> jax.Array:
    return generator.synthesis(w_plus)
