"""The phase of networks that learn numbers from renders made softer and noisier at random."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import optax

from jaxface.media.images import as_float
from jaxface.training import averaged
from jaxface.training.augmentation import blur_and_noise
from jaxface.training.averaged import AveragedState
from jaxface.training.loop import Phase

Batch = Mapping[str, jax.Array]


class Augmented(Protocol):
    """The settings that such a phase reads; see `blur_and_noise` and `averaged.train_step`."""

    @property
    def noise(self) -> float: ...

    @property
    def blur(self) -> float: ...

    @property
    def ema_half_life(self) -> float: ...

    @property
    def microbatches(self) -> int: ...


def regression_phase(
    name: str,
    settings: Augmented,
    loss_fn: Callable[[Any, Any], tuple[jax.Array, Any]],
    truth: Callable[[Batch], Any],
    *,
    optimizer: optax.GradientTransformation,
) -> Phase:
    """The one phase of a step, for `jaxface.training.loop.fit`; it reads no constants.

    Metrics: ``loss``.

    Args:
      name: of the phase.
      settings: of the method.
      loss_fn: (network, (images, what is true)) -> (mean loss, means), see `averaged.train_step`.
      truth: of a batch, what the network is to say of its ``image``, arrays [N, ...].
      optimizer: as given to `averaged.init_state`.
    """

    def step(state: AveragedState, constants, batch: Batch, key: jax.Array):
        del constants
        images = as_float(batch["image"])
        images = blur_and_noise(images, key, noise=settings.noise, blur=settings.blur)
        state, loss, _ = averaged.train_step(
            state,
            loss_fn,
            (images, truth(batch)),
            optimizer=optimizer,
            half_life=settings.ema_half_life,
            microbatches=settings.microbatches,
        )
        return state, {"loss": loss}

    return Phase(name, step)
