"""The loss: an image through encoder and generator, beside what it should have become."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxface.latents import broadcast_w
from jaxface.losses import adversarial, identity, latents, photometric
from jaxface.losses.perceptual import downsample
from jaxface.methods.adversarial_training import feature_difference
from jaxface.methods.encoder_training.settings import PROGRESSIVE, EncoderSettings
from jaxface.nets import IRSE, LPIPS, Generator
from jaxface.nets.encoders.restyle import RestyleEncoder
from jaxface.nets.encoders.styles import read_generated, read_portraits


class Judges(struct.PyTreeNode):
    """The frozen networks that the loss reads; None where its term has no weight."""

    generator: Generator
    lpips: LPIPS | None
    recognition: IRSE | None
    perceptual: Any = None
    lpips_resolution: int | None = struct.field(pytree_node=False, default=None)
    features_size: int | None = struct.field(pytree_node=False, default=None)

    def features(self, images: jax.Array) -> Any:
        """LPIPS's of images [N, S, S, 3]; None without it."""
        if self.lpips is None:
            return None
        return self.lpips.features(downsample(images, self.lpips_resolution or images.shape[1]))


def progressive_stage(settings: EncoderSettings, step: jax.Array | int) -> jax.Array:
    """The last style that has a deviation of its own at this step; 0 where all styles are one.

    As ``--progressive_start`` and ``--progressive_step_every`` of encoder4editing: none before the
    first, the second style from there on, and one more each so many steps.
    """
    last = settings.network.num_ws - 1
    if not settings.progressive_every:
        return jnp.where(jnp.asarray(step) < settings.progressive_start, 0, last)
    begun = (jnp.asarray(step) - settings.progressive_start) // settings.progressive_every + 1
    return jnp.clip(begun, 0, last)


def staged(w_plus: jax.Array, stage: jax.Array | int) -> jax.Array:
    """Codes [N, L, D] whose styles after `stage` are the first one, whatever they were.

    What ``E4EEncoder.offsets(images, stage)`` gives, with a stage that may be traced: one program
    serves the whole training.
    """
    own = (jnp.arange(w_plus.shape[1]) <= stage)[:, None]
    return jnp.where(own, w_plus, w_plus[:, :1])


def draw(generator: Generator, w_plus: jax.Array, resolution: int) -> jax.Array:
    """The generator's images of codes [N, L, D], averaged to a side: [N, S, S, 3]."""
    return read_generated("encoder", generator.synthesis(w_plus, "const"), resolution)


def passes(
    settings: EncoderSettings,
    network: Any,
    generator: Generator,
    images: jax.Array,
    stage: jax.Array | int,
) -> list[tuple[jax.Array, jax.Array]]:
    """(codes [N, L, D], what the generator makes of them) of each pass over N images.

    One pass, or ReStyle's `iterations`, between which no gradient flows.

    Args:
      images: [N, S, S, 3]; what is made of the codes has their side.
      stage: see `progressive_stage`; of no effect on encoders without deviations.
    """
    side, config = images.shape[1], network.config
    only_first = settings.encoder in PROGRESSIVE
    if not isinstance(network, RestyleEncoder):
        w_plus = network(images)
        if only_first:
            w_plus = staged(w_plus, stage)
        return [(w_plus, draw(generator, w_plus, side))]
    start = network.w_start[...][None]
    shape = (len(images), config.num_ws, config.w_dim)
    w_plus = jnp.broadcast_to(start, shape)
    generated = jnp.broadcast_to(draw(generator, start, side), images.shape)
    made = []
    # No loop of the compiler's: on CPU a convolution's gradient is slow inside one.
    for _ in range(settings.iterations):
        step = network.offsets(images, jax.lax.stop_gradient(generated))
        if only_first:
            step = staged(step, stage)
        w_plus = jax.lax.stop_gradient(w_plus) + step
        generated = draw(generator, w_plus, side)
        made.append((w_plus, generated))
    return made


class Items(NamedTuple):
    """A batch: N images, [N, S, S, 3] at `EncoderSettings.side`, and what is known of them."""

    images: jax.Array
    w_plus: jax.Array
    """[N, L, D], read where they are known."""
    known: jax.Array
    """[N], 1 where the codes are known, else 0."""


class Targets(struct.PyTreeNode):
    """What N images and their codes should be."""

    images: jax.Array
    """[N, S, S, 3]."""
    features: Any
    """LPIPS's of them, or None."""
    embeddings: Any
    """The recognition network's of them [N, D], or None."""
    w_plus: jax.Array
    """[N, L, D], read where they are known."""
    known: jax.Array
    """[N], 1 where the codes are known, else 0."""


def terms(
    judges: Judges,
    w_plus: jax.Array,
    generated: jax.Array,
    targets: Targets,
    *,
    mean: jax.Array,
    stage: jax.Array | int,
    discriminator: Any = None,
) -> dict[str, jax.Array]:
    """The loss's terms without their weights, [N] each; those of networks that are None are absent.

    Args:
      w_plus: codes [N, L, D].
      generated: [N, S, S, 3], what the generator makes of them.
      targets: what they should be.
      mean: of W+, [L, D] or [D].
      stage: see `progressive_stage`.
      discriminator: of the adversarial term, or None.

    Returns:
      ``pixel``, ``lpips``, ``features``, ``identity``, ``w_norm``, ``delta``, ``latent`` and
      ``adversarial``; ``latent`` is zero for images whose codes are not known, and scaled so that
      its mean over all items is the mean over those whose codes are.
    """
    found = {"pixel": photometric.l2(generated, targets.images)}
    if judges.lpips is not None:
        found["lpips"] = judges.lpips.distance(judges.features(generated), targets.features)
    if judges.perceptual is not None:
        found["features"] = feature_difference(
            judges.perceptual, generated, targets.images, size=judges.features_size
        )
    if discriminator is not None:
        found["adversarial"] = adversarial.nonsaturating_real(discriminator(generated))
    if judges.recognition is not None:
        found["identity"] = identity.distance(judges.recognition(generated), targets.embeddings)
    known = targets.known / jnp.maximum(jnp.mean(targets.known), 1e-8)
    return found | {
        "w_norm": latents.w_norm(w_plus, mean),
        "delta": latents.delta_norm(w_plus, stage),
        "latent": known * latents.w_plus_l2(w_plus, targets.w_plus),
    }


def targets_of(judges: Judges, items: Items) -> Targets:
    """What the losses compare with; see `Targets`."""
    images, w_plus, known = items
    return Targets(
        images=images,
        features=judges.features(images),
        embeddings=None if judges.recognition is None else judges.recognition(images),
        w_plus=w_plus,
        known=known,
    )


def sampled(generator: Generator, key: jax.Array, *, count: int, resolution: int) -> Items:
    """Samples of the generator, whose codes are known; they are of W."""
    z = jax.random.normal(key, (count, generator.config.z_dim))
    w_plus = broadcast_w(generator.mapping.to_w(z), generator.num_ws)
    return Items(draw(generator, w_plus, resolution), w_plus, jnp.ones(count))


def with_samples(
    settings: EncoderSettings, generator: Generator, images: jax.Array, key: jax.Array
) -> Items:
    """The data's images, whose codes are not known, then as many samples as the settings say.

    Args:
      images: [B, R, R, 3] in [-1, 1].
      key: of the samples.
    """
    side = settings.side
    mean = jnp.broadcast_to(generator.w_mean, (len(images), generator.config.w_dim))
    items = Items(
        read_portraits("encoder", images, side),
        broadcast_w(mean, generator.num_ws),
        jnp.zeros(len(images)),
    )
    if not settings.samples:
        return items
    more = sampled(generator, key, count=settings.samples, resolution=side)
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), items, more)
