"""What an avatar is worth on frames that it was not learned from (section 5.2).

Images are clipped to [-1, 1] before they are compared, which the paper leaves open; PSNR and SSIM
are `jaxface.metrics`', LPIPS the suite's, or its form on the perceptual network.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.losses import photometric
from jaxface.media.images import from_uint8
from jaxface.methods import encoder
from jaxface.metrics import psnr, ssim
from jaxface.nets import LPIPS
from jaxface.runtime.chunks import by_chunks
from jaxface.suite import Suite

SCORES = ("psnr", "ssim", "lpips")


def comparer(suite: Suite) -> LPIPS | None:
    """The suite's LPIPS, or its form on the suite's perceptual features; None where it has none."""
    if "lpips" in suite:
        return suite.lpips
    return LPIPS.of_trunk(suite.perceptual) if "perceptual" in suite else None


def image_scores(
    suite: Suite, drawn: Any, targets: Any, *, matte: Any = None, chunk: int = 16
) -> dict[str, np.ndarray]:
    """`SCORES` of images, [T] each; without LPIPS where the suite has no network for it.

    Args:
      suite: has what compares.
      drawn: [T, R, R, 3], as a generator gives them.
      targets: uint8 [T, R, R, 3].
      matte: [T, R, R] in [0, 1]: all else is black in both; None: whole images.
      chunk: images that are compared together.
    """
    mask = None if matte is None else np.asarray(matte)[..., None]
    return by_chunks(functools.partial(_scores, comparer(suite)), drawn, targets, mask, size=chunk)


@jax.jit
def _scores(lpips: Any, drawn: jax.Array, targets: jax.Array, mask: Any) -> dict[str, jax.Array]:
    drawn, wanted = jnp.clip(drawn, -1.0, 1.0), from_uint8(targets)
    if mask is not None:  # black is -1
        drawn, wanted = ((image + 1.0) * mask - 1.0 for image in (drawn, wanted))
    found = {"psnr": psnr(drawn, wanted), "ssim": ssim(drawn, wanted)}
    # Equal images have no bound.
    found["psnr"] = jnp.where(photometric.l2(drawn, wanted) > 0, found["psnr"], MOST)
    if lpips is not None:
        found["lpips"] = lpips(drawn, wanted)
    return found


MOST = 66.0
"""dB of images without any error."""


def per_frame(suite: Suite, generator: Any, images: Any, *, chunk: int = 16) -> np.ndarray:
    """Frame-by-frame inversion by the suite's encoder, as a generator draws it: [T, R, R, 3].

    Args:
      suite: has the encoder.
      generator: draws: the suite's, or one that was tuned.
      images: uint8 [T, R, R, 3].
      chunk: images that are encoded together.
    """
    settings = encoder.Settings()
    networks = settings.networks(suite, jax.random.key(0))
    inverted = functools.partial(_inverted, settings, networks, generator)
    return by_chunks(inverted, images, size=chunk)


@functools.partial(jax.jit, static_argnums=0)
def _inverted(settings: Any, networks: Any, generator: Any, images: jax.Array) -> jax.Array:
    return generator.synthesis(encoder.encode(settings, networks, from_uint8(images)))
