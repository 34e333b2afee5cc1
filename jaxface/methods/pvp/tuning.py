"""One generator for all key frames of a person: equation 5.

    theta_p = argmin (1/K) sum_i [ LPIPS(I_i, G(w_i)) + lambda_L2 L2 ] + lambda_R L_R

The energy is `jaxface.methods.pti`'s, with one set of weights where that has one for each portrait.
As in PTI's coach for many images every key frame takes part in as many updates, of batches in an
order that is drawn anew in every round (epoch); unlike there the tuning ends when the mean LPIPS of
a round is low enough, as the paper says, and there are batches.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from jaxface.errors import JaxfaceError
from jaxface.media.images import from_uint8
from jaxface.methods import pti
from jaxface.nets.stylegan2.generator import with_synthesis
from jaxface.runtime.devices import divisor_mesh, over_devices
from jaxface.runtime.iteration import Iteration, Phase
from jaxface.solving.placement import Placement


class Constants(NamedTuple):
    """What a step reads.

    Attributes:
      networks: G_0 and the distance.
      images: key frames, uint8 [K, R, R, 3].
      w_plus: the pivots, [K, L, w_dim].
      key: typed; of the order and of w_z.
    """

    networks: pti.Networks
    images: jax.Array
    w_plus: jax.Array
    key: jax.Array


@struct.dataclass
class State:
    """What a step changes: the tuned parameters of the synthesis network, and Adam's moments."""

    weights: Any
    optimizer: Any


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What the tuning came to.

    Attributes:
      weights: the tuned parameters of the synthesis network; see `with_synthesis`.
      trace: {"loss", "lpips", "l2"} and with L_R "locality": [rounds], means of each round.
      stopped: whether it ended because LPIPS was low enough.
    """

    weights: Any
    trace: dict[str, np.ndarray]
    stopped: bool


def energy(
    settings: pti.Settings,
    networks: pti.Networks,
    synthesis: Any,
    targets: pti.Targets,
    near: jax.Array | None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Equation 5 of a batch of key frames.

    Args:
      settings: weights.
      networks: G_0 and the distance.
      synthesis: the tuned network.
      targets: of N key frames.
      near: w_r, [S, L, w_dim], where L_R compares; None: without L_R.

    Returns:
      A scalar, and its parts without their weights (L_R with its own), scalars.
    """
    loss, terms, _ = pti.fitted(settings, networks, synthesis, targets)
    means = {name: jnp.mean(term) for name, term in terms.items()}
    total = jnp.mean(loss)
    if near is not None:
        means["locality"] = pti.locality(settings, networks, synthesis, near)
        total = total + means["locality"]
    return total, means


class Tuning:
    """The tuning as a loop of rounds, which can be left and gone on with.

    The key frames of an update are split over as many of this process's devices as divide them;
    the samples of L_R, which are fewer, as far as they divide.

    Args:
      settings: see `PVPSettings.tuning`.
      networks: G_0 and the distance.
      images: key frames, uint8 [K, R, R, 3].
      w_plus: the pivots, [K, L, w_dim].
      batch: key frames of an update.
      key: typed.

    Attributes:
      rounds: at most.
      updates: of a round.
    """

    def __init__(
        self,
        settings: pti.Settings,
        networks: pti.Networks,
        images: np.ndarray,
        w_plus: Any,
        *,
        batch: int,
        key: jax.Array,
    ):
        self._settings, count = settings, len(images)
        self._batch = min(batch, count)
        self.rounds, self.updates = settings.steps, -(-count // self._batch)
        self._constants = Constants(networks, jnp.asarray(images), jnp.asarray(w_plus), key)
        self._optimizer = optax.adam(settings.learning_rate)
        self._placement = Placement(divisor_mesh(self._batch))
        self._iteration = Iteration([Phase("tune", lambda s, c, _, i: self.step(s, c, i))])

    def start(self) -> State:
        """G_0's own parameters."""
        rows = pti.start(self._constants.networks, 1, settings=self._settings)
        weights = jax.tree.map(lambda leaf: jnp.array(leaf[0]), rows)
        return State(weights, self._optimizer.init(weights))

    def programs(self, state: State) -> list[Any]:
        """The compiled programs of a round, for their memory and cost."""
        state, constants = self._placement.replicate((state, self._constants))
        return self._iteration.compiled(state, constants, self.updates)

    def run(
        self,
        state: State,
        rounds: Sequence[dict[str, float]] = (),
        *,
        after: Callable[[State, list[dict[str, float]]], None] | None = None,
    ) -> tuple[Tuned, State]:
        """All rounds, or those that are left.

        Args:
          state: `start`'s, or an earlier run's; it is used up.
          rounds: the means of rounds that are done.
          after: called with the state and the rounds so far, after each; it may raise to stop.

        Raises:
          JaxfaceError: the energy is no number any more.
        """
        done, limit = [dict(each) for each in rounds], self._settings.stop_below
        state, constants = self._placement.replicate((state, self._constants))
        while len(done) < self.rounds and not self._enough(done):
            first = len(done) * self.updates
            state, outputs = self._iteration.advance(state, constants, first, self.updates)
            means = {name: float(np.mean(each)) for name, each in outputs["tune"].items()}
            if not all(map(np.isfinite, means.values())):
                raise JaxfaceError(
                    f"the tuning diverged in round {len(done) + 1}: its energy is no number; "
                    "lower tuning.learning_rate"
                )
            done.append(means)
            if after is not None:
                after(state, done)
        state = self._placement.unplaced(state)
        names = done[0] if done else {}
        trace = {name: np.array([each[name] for each in done]) for name in names}
        return Tuned(state.weights, trace, limit is not None and self._enough(done)), state

    def _enough(self, done: Sequence[dict[str, float]]) -> bool:
        limit = self._settings.stop_below
        return limit is not None and bool(done) and done[-1]["lpips"] < limit

    def step(self, state: State, constants: Constants, index: jax.Array) -> Any:
        """One update: the state after it, and its losses by name; traceable."""
        settings, count = self._settings, len(constants.images)
        rows = batch_of(constants.key, index, count=count, batch=self._batch)
        networks = constants.networks
        images, pivots = over_devices((constants.images[rows], constants.w_plus[rows]))
        images = from_uint8(images)
        targets = pti.read_targets(settings, networks, images, pivots)
        near = None
        if settings.locality:
            key = jax.random.fold_in(jax.random.fold_in(constants.key, _SAMPLES), index)
            chosen = pivots[: settings.samples]
            one = dataclasses.replace(settings, samples=1)
            near = [
                pti.project_to_sphere(one, networks, pivot, jax.random.fold_in(key, place))
                for place, pivot in enumerate(chosen)
            ]
            near = over_devices(jnp.concatenate(near))

        def total(weights: Any) -> Any:
            synthesis = with_synthesis(networks.generator, weights).synthesis
            return energy(settings, networks, synthesis, targets, near)

        (loss, means), gradient = jax.value_and_grad(total, has_aux=True)(state.weights)
        updates, optimizer = self._optimizer.update(gradient, state.optimizer, state.weights)
        weights = optax.apply_updates(state.weights, updates)
        return State(weights, optimizer), {"loss": loss, **means}


_SAMPLES = 0x736D


def batch_of(key: jax.Array, index: jax.Array, *, count: int, batch: int) -> jax.Array:
    """The items of a step: every round has all of them in an order of its own; traceable.

    Args:
      key: typed; of all rounds.
      index: of the step.
      count: of items.
      batch: of a step, at most `count`; the last batch of a round is filled up with its first.

    Returns:
      [batch] int32.
    """
    updates = -(-count // batch)
    order = jax.random.permutation(jax.random.fold_in(key, index // updates), count)
    return order[(index % updates * batch + jnp.arange(batch)) % count]
