"""Transfer's losses: equations 1 to 6 of Jahoda and Cech 2023 on pairs of frames of two persons.

Of persons A and B there are a driving frame s and the code of a target frame t each. Two results
are drawn with gradients, g_AA = G(M(E_i(t_A), E_m(s_A))), which is to be s_A, and
g_AB = G(M(E_i(t_B), E_m(s_A))), which is to be like t_B. Results are averaged to the side at which
E_m reads, and compared there.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxface.losses import identity, photometric
from jaxface.losses.motion_contrast import motion_contrast
from jaxface.media.images import as_float
from jaxface.methods.transfer.settings import TransferSettings
from jaxface.nets import IRSE, LPIPS, Generator, TransferNetwork
from jaxface.nets.encoders.styles import read_generated, read_portraits
from jaxface.nets.torch_layers import adaptive_average_pool

Batch = Mapping[str, jax.Array]
"""``source`` s_A, ``other_source`` s_B and ``other_target`` t_B: images [N, S, S, 3], uint8 or in
[-1, 1]; ``identity`` E_i(t_A), ``other_identity`` E_i(t_B) and ``source_identity`` E_i(s_A): codes
[N, L, w_dim]."""


IMAGE_TERMS = ("pixel", "perceptual", "pixel_crop", "perceptual_crop")
"""Terms that compare g_AA with s_A."""


class Frozen(NamedTuple):
    """What judges results; None where no term needs it."""

    lpips: LPIPS | None = None
    recognition: IRSE | None = None


class Drawn(NamedTuple):
    """Results at the side of comparison, [N, r, r, 3], each only where a term needs it."""

    own: jax.Array | None
    other: jax.Array | None


def transfer_losses(
    settings: TransferSettings,
    network: TransferNetwork,
    generator: Generator,
    frozen: Frozen,
    batch: Batch,
    key: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array], Drawn]:
    """Equation 6.

    Args:
      settings: which terms, and how they are read.
      network: E_m and M. In ``train()`` its norms move: E_m reads s_A, and for the contrast g_AA,
        g_AB and s_B after it, each a batch of its own.
      generator: G.
      frozen: judges.
      batch: what `settings.fields` names.
      key: of the noise, where it is random.

    Returns:
      The weighted sum [N], its terms without weights [N] by name, and the results. The term
      ``latent`` is not equation 6's.
    """
    side, weights = settings.network.resolution, settings.weights
    source = _portraits(batch["source"], side)
    motion = network.motion(source)

    def draw(w_plus: jax.Array, number: int) -> jax.Array:
        noise = "const" if settings.noise == "const" else jax.random.fold_in(key, number)
        return read_generated("transfer", generator.synthesis(w_plus, noise), side)

    latent = network.mix(batch["identity"], motion)
    own = other = None
    if any(weights[name] for name in (*IMAGE_TERMS, "contrast")):
        own = draw(latent, 0)
    if weights["identity"] or weights["contrast"]:
        other = draw(network.mix(batch["other_identity"], motion), 1)
    terms = {} if own is None else _image_terms(settings, frozen.lpips, own, source)
    if settings.latent_weight:
        error = latent - batch["source_identity"]
        terms["latent"] = jnp.mean(jnp.square(error), axis=(1, 2))
    if weights["identity"] and other is not None:
        if settings.identity_target == "target":
            target = _portraits(batch["other_target"], side)
        else:
            target = draw(batch["other_identity"], 2)
        assert frozen.recognition is not None
        wanted = _embedded(settings, frozen.recognition, jax.lax.stop_gradient(target))
        found = _embedded(settings, frozen.recognition, other)
        terms["identity"] = identity.distance(found, jax.lax.stop_gradient(wanted))
    if weights["contrast"] and own is not None and other is not None:
        drawn = [network.motion(each) for each in (own, other)]
        terms["contrast"] = motion_contrast(
            drawn,
            motion,
            network.motion(_portraits(batch["other_source"], side)),
            scale=settings.contrast_scale,
            margin=settings.contrast_margin,
        )
    loss = sum(
        (getattr(settings, f"{name}_weight") * term for name, term in terms.items()), jnp.zeros(())
    )
    return loss, terms, Drawn(own, other)


def perceptual_distance(
    settings: TransferSettings, lpips: LPIPS, images: jax.Array, targets: jax.Array
) -> jax.Array:
    """Equation 2 as `settings.perceptual` reads it, [N].

    Args:
      settings: its reading, and the offset of the features' lengths.
      lpips: whose features.
      images, targets: [N, r, r, 3] in [-1, 1].
    """
    ours, theirs = (
        lpips.features(each, norm_offset=settings.lpips_norm_offset) for each in (images, targets)
    )
    if settings.perceptual == "lpips":
        return lpips.distance(ours, theirs)
    cosines = [
        jnp.mean(jnp.sum(ours[layer] * theirs[layer], axis=-1), axis=(1, 2)) for layer in ours
    ]
    return 1 - jnp.mean(jnp.stack(cosines), axis=0)


def pixel_distance(settings: TransferSettings, images: jax.Array, targets: jax.Array) -> jax.Array:
    """Equation 1 as `settings.pixel` reads it, [N], of images [N, h, w, 3] in [-1, 1]."""
    mean = photometric.l2(images, targets)
    if settings.pixel == "mean_square":
        return mean
    # The root has no slope at zero.
    return jnp.sqrt(jnp.maximum(mean * images[0].size, 1e-12))


def _image_terms(
    settings: TransferSettings, lpips: LPIPS | None, own: jax.Array, source: jax.Array
) -> dict[str, jax.Array]:
    """The four terms that compare g_AA with s_A."""
    rows, columns = settings.crop_at(own.shape[1])
    parts = {"": (own, source), "_crop": tuple(x[:, rows, columns] for x in (own, source))}
    terms = {}
    for suffix, pair in parts.items():
        if settings.weights[f"pixel{suffix}"]:
            terms[f"pixel{suffix}"] = pixel_distance(settings, *pair)
        if settings.weights[f"perceptual{suffix}"]:
            assert lpips is not None
            terms[f"perceptual{suffix}"] = perceptual_distance(settings, lpips, *pair)
    return terms


def _embedded(settings: TransferSettings, recognition: IRSE, images: jax.Array) -> jax.Array:
    if settings.identity_crop == "face":
        return recognition(images)
    return recognition.embed(adaptive_average_pool(images, recognition.config.resolution))


def _portraits(images: Any, side: int) -> jax.Array:
    images = as_float(images)
    return read_portraits("transfer", images, side)
