"""Pivotal tuning as an inversion: a pivot by any method, then the generator's weights."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxface.methods import encoder, image2stylegan, pie
from jaxface.methods.inversion import Inverted, Inverter
from jaxface.methods.pie.energy import to_w_plus
from jaxface.methods.pti import tuning
from jaxface.methods.pti.settings import REPO, Settings
from jaxface.nets import LPIPS, GeneratorConfig
from jaxface.runtime.devices import Dtype
from jaxface.solving.procedure import Procedure
from jaxface.solving.solver import Stage
from jaxface.suite import Suite


class Networks(NamedTuple):
    """What the inversion needs of a suite.

    Attributes:
      pivot: what finds the pivot; its generator is G_0.
      lpips: the distance.
    """

    pivot: Any
    lpips: LPIPS

    @property
    def generator(self) -> Any:
        """G_0."""
        return self.pivot.generator

    @property
    def tuning(self) -> tuning.Networks:
        """What the tuning needs."""
        return tuning.Networks(self.generator, self.lpips)


class Variables(NamedTuple):
    """What the tuning changes of N portraits, and what it leaves.

    Attributes:
      pivot: [N, L, w_dim]; its gradient is zero, and Adam leaves it where it is.
      weights: parameters of the synthesis networks, leaves [N, ...].
    """

    pivot: jax.Array
    weights: Any


class Targets(NamedTuple):
    """What is known of N portraits: by the pivot's method, and as images and features."""

    pivot: Any
    images: jax.Array
    features: Any


@dataclasses.dataclass(frozen=True)
class PivotalTuning:
    """An `jaxface.methods.inversion.Inverter` whose results draw with weights of their own.

    Attributes:
      pivot: what finds the pivot.
      tuning: how the generator is tuned there.
    """

    pivot: Inverter
    tuning: Settings = REPO

    row_losses = ("lpips", "loss")
    tunes_generator = True

    @property
    def dtype(self) -> Dtype:
        """See `Inverter`."""
        return self.tuning.dtype

    def computing_in(self, dtype: Dtype) -> "PivotalTuning":
        """See `Inverter`."""
        return PivotalTuning(self.pivot.computing_in(dtype), self.tuning.computing_in(dtype))

    def roles(self) -> Mapping[str, str]:
        """See `Inverter`."""
        return {**self.pivot.roles(), self.tuning.distance: "The distance of the tuning needs it"}

    def networks(self, suite: Suite, key: jax.Array) -> Networks:
        """See `Inverter`."""
        pivot = self.pivot.networks(suite, key)
        return Networks(pivot, tuning.distance_network(suite, self.tuning))

    def procedure(self, config: GeneratorConfig) -> Procedure:
        """See `Inverter`: the pivot's stages, then the tuning's."""
        pivot = self.pivot.procedure(config)
        before = tuple(_of_the_pivot(stage) for stage in pivot.stages)
        return Procedure(
            start=lambda networks, images: pivot.start(networks.pivot, images),
            targets=functools.partial(_targets, self.tuning, pivot),
            stages=(*before, _tuning_stage(self.tuning, config.num_ws)),
            finish=functools.partial(_finish, self.tuning),
        )


def _targets(
    settings: Settings, pivot: Procedure, networks: Networks, images: jax.Array
) -> Targets:
    return Targets(
        pivot.targets(networks.pivot, images),
        images,
        tuning.features(settings, networks.tuning, images),
    )


def _of_the_pivot(stage: Stage) -> Stage:
    """A stage of the pivot's procedure, given the networks and targets of the whole."""

    def start(networks: Networks, variables: Any) -> Any:
        return stage.start(networks.pivot, variables)

    def energy(variables: Any, networks: Networks, targets: Targets, keys: Any, step: Any) -> Any:
        return stage.energy(variables, networks.pivot, targets.pivot, keys, step)

    return dataclasses.replace(stage, start=start, energy=energy)


def _tuning_stage(settings: Settings, num_ws: int) -> Stage:
    def start(networks: Networks, pivot: jax.Array) -> Variables:
        w_plus = to_w_plus(pivot, num_ws)
        return Variables(w_plus, tuning.start(networks.tuning, w_plus.shape[0], settings=settings))

    def energy(
        variables: Variables, networks: Networks, targets: Targets, keys: jax.Array, step: jax.Array
    ) -> Any:
        known = _at_pivot(targets, jax.lax.stop_gradient(variables.pivot))
        return tuning.energy(settings, variables.weights, networks.tuning, known, keys, step)

    return dataclasses.replace(tuning.stage(settings), start=start, energy=energy)


def _finish(
    settings: Settings, networks: Networks, targets: Targets, variables: Variables, keys: jax.Array
) -> Inverted:
    known = _at_pivot(targets, variables.pivot)
    loss, terms, images = tuning.evaluate(settings, variables.weights, networks.tuning, known, keys)
    before = tuning.start(networks.tuning, images.shape[0], settings=settings)
    difference = jax.tree.map(jnp.subtract, variables.weights, before)
    return Inverted(variables.pivot, images, {"loss": loss, **terms}, difference)


def _at_pivot(targets: Targets, w_plus: jax.Array) -> tuning.Targets:
    return tuning.Targets(targets.images, targets.features, w_plus)


_IN_W = dataclasses.replace(image2stylegan.PAPER, w_steps=450, w_plus_steps=0)

PTI_REPO = PivotalTuning(_IN_W)
"""The authors' ``configs/hyperparameters.py``: a pivot after 450 steps in W, and 350 of tuning.

The pivot minimises Image2StyleGAN's energy, at its constant step size, where theirs minimises that
of StyleGAN2's projector, which also optimises noise maps and throws them away."""

PTI_E4E = PivotalTuning(encoder.E4E)
"""The pivot is e4e's code."""

PTI_EMBEDDED = PivotalTuning(
    pie.EMBEDDED,
    Settings(
        distance="perceptual", steps=40, learning_rate=1e-3, stop_below=None, lpips_weight=0.05
    ),
)
"""For the embedded suites, which have no LPIPS network: its form on their perceptual features."""
