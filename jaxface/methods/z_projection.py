"""Inversion in Z: the generator's own prior keeps a portrait's code where its codes lie.

    E(z) = l2(G(f(z)), x) + lambda_p phi(G(f(z)), x) + lambda_z mean(z^2)

f is the mapping network and the last term the negative logarithm of z's density, but for constants.
(Optimisation in Z: Creswell and Bharath, "Inverting the generator of a generative adversarial
network", 2018.) Codes found in W or W+ draw a portrait more closely, and lie where no sample does:
what was trained to move samples, such as a direction matrix or a RigNet, moves those codes
otherwise than it says. Codes found here are samples'.

The start is the suite's encoder's code: first z is fitted to the mean of its rows, in W and without
drawing anything, then to the portrait.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxface.latents import broadcast_w
from jaxface.losses import perceptual, photometric
from jaxface.methods import encoder, pie
from jaxface.methods.inversion import ComputesIn, Inverted, generator_in
from jaxface.nets import Generator, GeneratorConfig
from jaxface.runtime.devices import Dtype
from jaxface.settings import check_words
from jaxface.solving.procedure import Procedure
from jaxface.solving.solver import Stage
from jaxface.suite import Suite


class Networks(NamedTuple):
    """What the inversion needs of a suite.

    Attributes:
      generator: mapping and synthesis.
      encoder: images to codes.
      perceptual: phi, a `VGG16`.
      spread: the variance of W, the mean over its coordinates, a scalar.
    """

    generator: Generator
    encoder: Any
    perceptual: Any
    spread: jax.Array


class Targets(NamedTuple):
    """What is known of N portraits.

    Attributes:
      images: x, [N, R, R, 3] in [-1, 1].
      features: phi(x), {layer: [N, h, w, channels]}.
      code: in W, [N, w_dim]: the mean of the rows of the encoder's.
    """

    images: jax.Array
    features: perceptual.Features
    code: jax.Array


@dataclasses.dataclass(frozen=True)
class Settings(ComputesIn):
    """How portraits are inverted; an `jaxface.methods.inversion.Inverter`. Hashable.

    Attributes:
      l2_weight: of the mean squared difference of images in [-1, 1].
      perceptual_weight: lambda_p.
      layers: (layer, weight) pairs of phi's distance, each layer's squared difference averaged.
      prior_weight: lambda_z, of the mean square of z, in the second stage.
      code_steps: of Adam in the first stage, which fits z to the encoder's code.
      code_step_size: at the first of them.
      code_prior_weight: of the mean square of z there, beside the squared difference from the code
        in units of W's variance.
      steps: of Adam in the second stage.
      step_size: at the first of them.
      decay_rate: both stages' step sizes fall exponentially by this factor over the stage.
      dtype: what generator, encoder and phi compute in.
    """

    l2_weight: float = 1.0
    perceptual_weight: float = 0.01
    layers: tuple[tuple[str, float], ...] = ()
    prior_weight: float = 1e-3
    code_steps: int = 300
    code_step_size: float = 0.1
    code_prior_weight: float = 0.01
    steps: int = 150
    step_size: float = 0.05
    decay_rate: float = 0.1
    dtype: Dtype = "float32"

    row_losses = ("perceptual", "loss")
    tunes_generator = False

    def __post_init__(self):
        check_words(self)
        if min(self.code_steps, self.steps) < 1:
            raise ValueError(
                f"Settings: code_steps and steps must be >= 1, got {self.code_steps} and "
                f"{self.steps}."
            )
        if not self.layers:
            raise ValueError("Settings: layers must name one layer or more.")

    def roles(self) -> Mapping[str, str]:
        """See `Inverter`."""
        return {
            "generator": "Inversion in Z needs it",
            "encoder": "The start of the inversion in Z needs it",
            "perceptual": "The distance of images needs it",
        }

    def networks(self, suite: Suite, key: jax.Array) -> Networks:
        """See `Inverter`; W's variance is measured on samples of the key."""
        generator = suite.generator
        z = jax.random.normal(key, (_SAMPLES, generator.config.z_dim))
        spread = jnp.mean(jnp.var(_in_w(generator, z), axis=0))
        start = encoder.encoder_of(suite, "any")
        return Networks(generator_in(suite, self.dtype), start, suite.perceptual, spread)

    def procedure(self, config: GeneratorConfig) -> Procedure:
        """See `Inverter`: z begins at zero, W's code comes first, then the portrait."""

        def start(networks: Networks, images: jax.Array) -> jax.Array:
            del networks
            return jnp.zeros((images.shape[0], config.z_dim), jnp.float32)

        return Procedure(
            start=start,
            targets=functools.partial(_targets, self),
            stages=(
                _stage("code", _code_energy, self, self.code_step_size, self.code_steps),
                _stage("z", _energy, self, self.step_size, self.steps),
            ),
            finish=functools.partial(_finish, self),
        )


_SAMPLES = 512  # that W's variance is measured on


@jax.jit
def _in_w(generator: Generator, z: jax.Array) -> jax.Array:
    return generator.mapping.to_w(z)


def _stage(name: str, energy: Any, settings: Settings, step_size: float, steps: int) -> Stage:
    schedule = optax.exponential_decay(step_size, steps, settings.decay_rate)
    return Stage(
        name=name,
        energy=functools.partial(energy, settings),
        optimizer=optax.adam(schedule),
        steps=steps,
    )


def _targets(settings: Settings, networks: Networks, images: jax.Array) -> Targets:
    codes = encoder.encode(encoder.Settings(dtype=settings.dtype), networks, images)
    return Targets(images, _phi(settings, networks, images), codes.mean(axis=1))


def _phi(settings: Settings, networks: Networks, images: jax.Array) -> perceptual.Features:
    names = [name for name, _ in settings.layers]
    found = perceptual.features(
        networks.perceptual, images.astype(settings.dtype), names, resolution=images.shape[1]
    )
    return jax.tree.map(lambda x: x.astype(jnp.float32), found)


def _code_energy(
    settings: Settings,
    z: jax.Array,
    networks: Networks,
    targets: Targets,
    keys: jax.Array,
    step: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """How far the mapping of z [N, z_dim] lies from the encoder's codes, in W's variance: [N]."""
    del keys, step
    away = jnp.square(networks.generator.mapping.to_w(z) - targets.code)
    distance = jnp.mean(away, axis=1) / networks.spread
    prior = jnp.mean(jnp.square(z), axis=1)
    return distance + settings.code_prior_weight * prior, {"code": distance, "prior": prior}


def _energy(
    settings: Settings,
    z: jax.Array,
    networks: Networks,
    targets: Targets,
    keys: jax.Array,
    step: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """E of z [N, z_dim], and its terms without their weights: [N]."""
    del keys, step
    loss, terms, _ = _evaluate(settings, z, networks, targets)
    return loss, terms


def _evaluate(
    settings: Settings, z: jax.Array, networks: Networks, targets: Targets
) -> tuple[jax.Array, dict[str, jax.Array], jax.Array]:
    """`_energy`, and the images [N, R, R, 3] as the third."""
    images = networks.generator.synthesis(_w_plus(networks, z), noise="const")
    terms = {
        "l2": photometric.l2(images, targets.images),
        "perceptual": perceptual.distance(
            _phi(settings, networks, images), targets.features, dict(settings.layers)
        ),
        "prior": jnp.mean(jnp.square(z), axis=1),
    }
    loss = sum(getattr(settings, f"{name}_weight") * term for name, term in terms.items())
    return jnp.asarray(loss), terms, images


def _w_plus(networks: Networks, z: jax.Array) -> jax.Array:
    generator = networks.generator
    return broadcast_w(generator.mapping.to_w(z), generator.num_ws)


def _finish(
    settings: Settings, networks: Networks, targets: Targets, z: jax.Array, keys: jax.Array
) -> Inverted:
    del keys
    loss, terms, images = _evaluate(settings, z, networks, targets)
    return Inverted(_w_plus(networks, z), images, {"loss": loss, **terms})


EMBEDDED = Settings(layers=tuple((name, 1.0) for name in pie.VGG_LAYERS))
"""For the embedded suites, whose generator learned scenes of Gaussian factors."""
