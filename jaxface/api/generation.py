"""`generate`: samples of a suite's generator."""

import jax
import numpy as np

from jaxface.api.shared import drawn, opened
from jaxface.keys import item_keys
from jaxface.portraits import Portraits
from jaxface.suite import Suite


def generate(
    count: int = 8, *, suite: Suite | str = "embedded", seed: int = 0, truncation: float = 0.7
) -> Portraits:
    """Samples of a suite's generator.

    Args:
      count: how many, N.
      suite: or a shipped one's name, or a folder.
      seed: a sample depends on it and its number alone, but for rounding.
      truncation: 1 for the generator's whole distribution, towards 0 for its average face.

    Example:
      >>> portraits = jaxface.generate(4, seed=1)
      >>> portraits.images.shape
      (4, 64, 64, 3)
    """
    suite = opened(suite)
    names = tuple(f"sample_{number}" for number in range(count))
    keys = item_keys(jax.random.key(seed), names)
    z = jax.vmap(lambda key: jax.random.normal(key, (suite.generator.config.z_dim,)))(keys)
    w_plus = suite.generator.mapping(z, truncation=truncation)
    return Portraits(suite, drawn(suite, w_plus), np.asarray(w_plus), names)
