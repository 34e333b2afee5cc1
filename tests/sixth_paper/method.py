"""A paper that the library does not know: an inverter, a reenactor and a training."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxface.latents import broadcast_w
from jaxface.losses import photometric
from jaxface.methods.inversion import Inverted
from jaxface.methods.reenactment import Subject
from jaxface.morphable.motion import motion_of_pie
from jaxface.morphable.parameters import FaceParameters
from jaxface.nets import YawNet, YawNetConfig
from jaxface.solving.procedure import Procedure
from jaxface.solving.solver import Stage
from jaxface.training import averaged
from jaxface.training.loop import Phase
from jaxface.training.recipe import single_stage_recipe


class Known(NamedTuple):
    """Networks, or targets, of the inversion."""

    generator: Any = None
    images: Any = None


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Inversion by the pixels alone, in W+."""

    steps: int = 3
    step_size: float = 0.05
    dtype: str = "float32"
    row_losses = ("loss", "l2")
    tunes_generator = False

    def computing_in(self, dtype):
        return dataclasses.replace(self, dtype=dtype)

    def roles(self):
        return {"generator": "Inversion by pixels needs it"}

    def networks(self, suite, key):
        return Known(generator=suite.generator)

    def procedure(self, config):
        def draw(w_plus, networks, targets):
            images = networks.generator.synthesis(w_plus)
            return images, photometric.l2(images, targets.images)

        def start(networks, images):
            w_mean = networks.generator.w_mean
            return broadcast_w(jnp.tile(w_mean, (len(images), 1)), config.num_ws)

        def finish(networks, targets, w_plus, keys):
            images, loss = draw(w_plus, networks, targets)
            return Inverted(w_plus, images, {"loss": loss, "l2": loss})

        stage = Stage(
            "pixels",
            lambda w, networks, targets, keys, step: (draw(w, networks, targets)[1], {}),
            optax.adam(self.step_size),
            self.steps,
        )
        return Procedure(start, lambda _, images: Known(images=images), (stage,), finish)


@dataclasses.dataclass(frozen=True)
class Turn:
    """Reenactment along one row of W+: the driver's yaw, as a shift."""

    requires = ("motion",)

    def roles(self):
        return {"generator": "The subject's frames need it"}

    def adapt(self, suite, frames, *, keys):
        w_plus = jnp.zeros((1, suite.generator.num_ws, suite.generator.config.w_dim))
        still = motion_of_pie(FaceParameters.from_flat(np.zeros((1, 257), np.float32)))
        return Subject(suite, w_plus, still, suite.generator)

    def drive(self, subject, driving):
        shift = driving.motion.rotation[:, 1, None, None]
        return subject.generator.synthesis(subject.w_plus + shift)


@dataclasses.dataclass(frozen=True)
class YawSettings:
    """The network is to give the first coordinate."""

    steps: int = 3
    batch_size: int = 4
    microbatches: int = 1

    @property
    def trains(self):
        return "yaw_net"

    def recipe(self, *, key, networks, held_out):
        optimizer = optax.sgd(0.1)
        network = YawNet(YawNetConfig(), rngs=nnx.Rngs(key))

        def loss(network, w):
            return jnp.mean(jnp.square(network(w) - w[:, 0])), None

        def step(state, constants, batch, key):
            state, value, _ = averaged.train_step(
                state, loss, batch["w"], optimizer=optimizer, half_life=8.0
            )
            return state, {"loss": value}

        return single_stage_recipe(
            self,
            Phase("yaw", step),
            averaged.init_state(network, optimizer),
            fields=("w",),
            parameters=network,
            finished=lambda state: state.average,
            score=lambda state: {"loss": float(loss(state.average, held_out["w"])[0])},
        )
