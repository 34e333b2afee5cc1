"""The losses: an encoder that draws wished landmarks, and a discriminator of pairs.

Of portraits x with landmarks L and wishes L', codes w0 = Inv(x), encoder E, generator G and
discriminator D:

    wm = E(w0, L'), im = G(wm)        manipulated
    wr = E(wm, L),  ir = G(wr)        back: the cycle feeds the code, as in the authors' code; the
                                      paper's text has the image, embedded again
    wd = E(w0, L),  id = G(wd)        direct, of variants

The naive encoder reads images where the others read codes, on the way back im.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxface.losses import adversarial, face_shape, identity, photometric
from jaxface.media.landmark_images import landmark_images
from jaxface.methods.adversarial_training import feature_difference, judged
from jaxface.methods.landmark_regression import landmark_distance
from jaxface.methods.latent_difference.landmarks import conditioned
from jaxface.methods.latent_difference.settings import LatentDifferenceSettings
from jaxface.nets.encoders.styles import read_generated


class Frozen(NamedTuple):
    """Networks that do not train; None where no term needs them."""

    generator: Any
    inversion: Any = None
    perceptual: Any = None
    landmarks: Any = None
    recognition: Any = None
    reconstruction: Any = None
    landmark_model: Any = None


class Items(NamedTuple):
    """N portraits and what is wished of them; at the encoder's resolution.

    Attributes:
      images: x, [N, r, r, 3] in [-1, 1].
      w_plus: w0, [N, L, w_dim]; of the naive encoder not read.
      own: L, [N, 68, 2] in pixels.
      wished: L', likewise.
      embeddings: of the portraits' identity, [N, D], or None.
    """

    images: jax.Array
    w_plus: Any
    own: jax.Array
    wished: jax.Array
    embeddings: Any = None


OPENINGS = (*face_shape.INNER_LIP_PAIRS, *face_shape.LID_PAIRS, *face_shape.BROW_PAIRS)
"""Pairs of landmarks whose distances are an expression, wherever the head is."""


def logits(
    settings: LatentDifferenceSettings, discriminator: Any, images: jax.Array, points: jax.Array
) -> jax.Array:
    """The discriminator's logits [N, 1] of images beside the landmarks that they should show."""
    side = settings.network.resolution
    return discriminator(beside(images, drawn(settings, points, side)))


def beside(images: jax.Array, landmarks: jax.Array) -> jax.Array:
    """Portrait and landmark image as six channels, [N, r, r, 6]."""
    return jnp.concatenate([images, landmarks], axis=3)


def drawn(settings: LatentDifferenceSettings, points: jax.Array, side: int) -> jax.Array:
    """Landmark images [N, side, side, 3]."""
    return landmark_images(points, side, outside=settings.outside)


def manipulated(
    settings: LatentDifferenceSettings, network: Any, source: jax.Array, points: jax.Array
) -> jax.Array:
    """Codes [N, L, w_dim] of codes, or of portraits where the network is naive."""
    side = settings.network.resolution
    return network(source, conditioned(network, points, side, outside=settings.outside))


def image_of(settings: LatentDifferenceSettings, generator: Any, w_plus: jax.Array) -> jax.Array:
    """What the generator draws of codes, at the encoder's resolution."""
    images = generator.synthesis(w_plus, "const")
    return read_generated("latent_difference", images, settings.network.resolution)


def encoder_losses(
    settings: LatentDifferenceSettings,
    network: Any,
    discriminator: Any,
    frozen: Frozen,
    items: Items,
    step: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The encoder's loss.

    Args:
      settings: which terms, and their weights.
      network: E; in ``train()`` its norms take the statistics of each pass.
      discriminator: D.
      frozen: G and what judges.
      items: portraits and wishes.
      step: the training's, for the naive encoder's turns.

    Returns:
      The weighted sum [N], and its terms without weights [N] by name.
    """
    if settings.alternating:
        return _alternating(settings, network, discriminator, frozen, items, step)
    source = items.images if settings.naive else items.w_plus
    terms: dict[str, jax.Array] = {}
    wm = manipulated(settings, network, source, items.wished)
    im = image_of(settings, frozen.generator, wm)
    if settings.adversarial_weight:
        terms["adversarial"] = _fooled(settings, discriminator, im, items.wished)
    terms |= _landmark_terms(settings, frozen, im, items.wished)
    if settings.identity_weight:
        terms["identity"] = identity.distance(frozen.recognition(im), items.embeddings)
    if settings.cycles:
        wr = manipulated(settings, network, im if settings.naive else wm, items.own)
        ir = image_of(settings, frozen.generator, wr)  # left out by the compiler if no term has it
        if settings.cycle_adversarial_weight:
            terms["cycle_adversarial"] = _fooled(settings, discriminator, ir, items.own)
        if settings.cycle_weight and settings.cycle_space == "latent":
            terms["cycle"] = jnp.mean(jnp.square(wr - items.w_plus), axis=(1, 2))
        elif settings.cycle_weight:
            terms["cycle"] = image_difference(settings, frozen.perceptual, ir, items.images)
    if settings.direct:
        wd = manipulated(settings, network, source, items.own)
        direct = image_of(settings, frozen.generator, wd)
        if settings.direct_adversarial_weight:
            terms["direct_adversarial"] = _fooled(settings, discriminator, direct, items.own)
        if settings.direct_weight:
            terms["direct"] = image_difference(settings, frozen.perceptual, direct, items.images)
    return _weighted(settings, terms), terms


def _alternating(
    settings: LatentDifferenceSettings,
    network: Any,
    discriminator: Any,
    frozen: Frozen,
    items: Items,
    step: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The naive encoder's turns: the portrait's own appearance, or another's with its landmarks."""
    appearance = (step % 2 == 0).astype(items.images.dtype)
    portraits = jnp.where(step % 2 == 0, items.images, jnp.roll(items.images, 1, axis=0))
    image = image_of(
        settings, frozen.generator, manipulated(settings, network, portraits, items.own)
    )
    terms = {}
    if settings.adversarial_weight:
        terms["adversarial"] = _fooled(settings, discriminator, image, items.own)
    terms |= _landmark_terms(settings, frozen, image, items.own)
    if settings.identity_weight:
        embeddings = items.embeddings
        embeddings = jnp.where(step % 2 == 0, embeddings, jnp.roll(embeddings, 1, axis=0))
        terms["identity"] = identity.distance(frozen.recognition(image), embeddings)
    if settings.direct_weight:
        difference = image_difference(settings, frozen.perceptual, image, items.images)
        terms["direct"] = appearance * difference
    return _weighted(settings, terms), terms


def _landmark_terms(
    settings: LatentDifferenceSettings, frozen: Frozen, images: jax.Array, points: jax.Array
) -> dict[str, jax.Array]:
    """Of what the suite's network reads of images and the wished landmarks, both [N], in shares of
    the side: how far they are from each other, and how much lips, lids, and brows and eyes are
    otherwise apart."""
    if not settings.reads_landmarks:
        return {}
    found, size, terms = frozen.landmarks(images), images.shape[1], {}
    if settings.landmark_weight:
        terms["landmark"] = landmark_distance(found, points, size)
    if settings.opening_weight:
        differences = face_shape.inner_distances(found, points, OPENINGS, reading="paper")
        terms["opening"] = differences / (len(OPENINGS) * size)
    return terms


def image_difference(
    settings: LatentDifferenceSettings, perceptual: Any, images: jax.Array, targets: jax.Array
) -> jax.Array:
    """Mean square of pixels, and of features by their weight, [N]."""
    pixel = photometric.l2(images, targets)
    if not settings.perceptual_weight:
        return pixel
    size = settings.perceptual_size
    return pixel + settings.perceptual_weight * feature_difference(
        perceptual, images, targets, size=size
    )


def discriminator_losses(
    settings: LatentDifferenceSettings,
    discriminator: Any,
    fake: jax.Array,
    fake_points: jax.Array,
    items: Items,
    *,
    penalty: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The discriminator's loss.

    Args:
      settings: how landmarks are drawn.
      discriminator: D.
      fake: drawn images, [N, r, r, 3].
      fake_points: the landmarks that they were to show.
      items: real portraits with their own landmarks.
      penalty: R1's factor, gamma / 2 times the interval; 0 for none. By the portrait alone.

    Returns:
      The sum [N] and its terms [N] by name.
    """
    landmarks = drawn(settings, items.own, items.images.shape[1])
    return judged(
        logits(settings, discriminator, fake, fake_points),
        lambda images: discriminator(beside(images, landmarks)),
        items.images,
        penalty=penalty,
    )


def _fooled(
    settings: LatentDifferenceSettings, discriminator: Any, images: Any, points: jax.Array
) -> jax.Array:
    return adversarial.nonsaturating_real(logits(settings, discriminator, images, points))


def _weighted(settings: LatentDifferenceSettings, terms: dict[str, jax.Array]) -> jax.Array:
    weighted = [getattr(settings, f"{name}_weight") * term for name, term in terms.items()]
    return jnp.sum(jnp.stack(weighted), axis=0)
