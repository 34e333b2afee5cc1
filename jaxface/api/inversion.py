"""`invert`: portraits embedded into a suite's latent space."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxface.api.shared import changed, opened, read_images
from jaxface.errors import UsageError
from jaxface.keys import item_keys, samples_key
from jaxface.methods import inversion
from jaxface.methods.inversion import Inverter
from jaxface.methods.presets import preset as named_preset
from jaxface.portraits import Portraits
from jaxface.runtime.devices import compute_dtype, divisor_mesh
from jaxface.suite import Suite


def invert(
    images: Any,
    *,
    suite: Suite | str = "embedded",
    preset: str = "pie_embedded",
    seed: int = 0,
    names: Sequence[str] | None = None,
    **settings: Any,
) -> Portraits:
    """Embeds aligned portraits into a suite's latent space.

    Args:
      images: [N, H, H, 3], uint8 or float in [-1, 1], of any size; or paths of N files, of which
        the central square is taken. `jaxface invert --align` cuts faces out of photographs.
      suite: or a shipped one's name, or a folder.
      preset: one of `jaxface.methods.presets.PRESETS`.
      seed: of the keys that each portrait's own is derived from, by its name.
      names: N different ones; default: the files' names, or numbers.
      settings: changes of the preset; dots of nested ones are two underscores,
        ``tuning__steps=100``.

    Raises:
      ImageError: a file is no usable image.
      UsageError: an unknown preset or setting; names that repeat.
      SuiteError: the suite lacks a network.
      ValueError: no batch of square images.

    Example:
      >>> found = jaxface.invert(jaxface.generate(2).images, w_steps=2, w_plus_steps=2)
      >>> found.w_plus.shape
      (2, 10, 512)
    """
    method = changed(named_preset(preset), settings)
    return embedded(method, opened(suite), images, names=names, seed=seed)


def embedded(
    method: Inverter, suite: Suite, images: Any, *, names: Sequence[str] | None, seed: int
) -> Portraits:
    """Images as `invert` takes them, embedded by a method; errors as there."""
    images, own = read_images(images, suite.generator.config.resolution)
    names = tuple(own if names is None else names)
    if len(names) != len(images) or len(set(names)) != len(names):
        raise UsageError(f"invert: expected {len(images)} different names, got {list(names)[:8]}")
    key = jax.random.key(seed)
    result = inversion.invert(
        method.computing_in(compute_dtype()),
        suite,
        images,
        keys=item_keys(key, names),
        networks_key=samples_key(key),
        mesh=divisor_mesh(len(images)),
    )
    return Portraits(
        suite,
        np.clip(result.images, -1, 1),
        result.w_plus,
        names,
        dict(result.losses),
        result.weights,
    )
