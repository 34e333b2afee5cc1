"""Training of what the mappers of every person's avatar may begin with: `jaxface.nets.AvatarPrior`.

Of each of some clips the network has K frames. Some are anchors, as the key frames of a new person
will be, and it is to give the codes of the others from their head poses and expressions alone:

    L = mean || prior(anchors, pose, expression) - E(I) ||^2

over W+, E the suite's encoder. No image is drawn: a person's generator is tuned so that its anchors
E(I_i) draw their frames I_i, so that E(I) is what the mappers of equations 7 to 9 are to give; and
the noise of E averages out over persons. What is personal, the generator and all that the seven
losses see in images, is left to the training of the person's mappers, which goes on from here.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxface.data.sources import DataSource
from jaxface.errors import UsageError
from jaxface.methods.pvp.features import Features, standard
from jaxface.nets import AvatarPrior, AvatarPriorConfig
from jaxface.training import averaged
from jaxface.training.averaged import AveragedState
from jaxface.training.beginning import network_to_begin_with
from jaxface.training.loop import Phase
from jaxface.training.recipe import Recipe, single_stage_recipe


@dataclasses.dataclass(frozen=True)
class AvatarPriorSettings:
    """Training of the network. No paper's: the future work of PVP's.

    Attributes:
      network: sizes.
      steps: of `batch_size` clips each.
      anchors: of a clip's frames; the others are asked for.
      learning_rate: of Adam, falling to `last_learning_rate` of it on a half cosine.
      deviation_floor: of the largest deviation, the least by which an expression is standardised.
      ema_half_life: of the weights' EMA, in clips.
    """

    network: AvatarPriorConfig
    steps: int
    batch_size: int = 8
    microbatches: int = 1
    """Equal parts of a batch, whose gradients are accumulated: docs/training.md."""
    anchors: int = 48
    learning_rate: float = 3e-3
    last_learning_rate: float = 0.02
    deviation_floor: float = 0.1
    ema_half_life: float = 200.0

    def __post_init__(self):
        if min(self.anchors - 1, self.steps, self.batch_size) < 1:
            raise ValueError(
                "AvatarPriorSettings: expected steps and batch_size >= 1 and anchors >= 2, got "
                f"{self.steps}, {self.batch_size} and {self.anchors}."
            )

    @property
    def trains(self) -> str:
        """The role ``avatar_prior``."""
        return "avatar_prior"

    def check_data(self, data: DataSource) -> None:
        """See `jaxface.training.recipe.ChecksData`.

        Raises:
          UsageError: clips have no more frames than there are anchors.
        """
        frames = getattr(data, "frames", None)
        if isinstance(frames, int) and frames <= self.anchors:
            raise UsageError(
                f"data.frames={frames}: expected more than method.anchors={self.anchors}"
            )

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, np.ndarray] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Begins with the role ``avatar_prior`` where it is given; else inputs are standardised by the
        clips that are held out, which teach nothing else. Scores are `errors` of these clips.
        """
        state = initial_state(self, key, networks.get("avatar_prior"), held_out)
        return single_stage_recipe(
            self,
            prior_phase(self),
            state,
            fields=("w_plus", "pose", "expression"),
            parameters=state.network,
            finished=lambda state: state.average,
            score=None if held_out is None else _score(self, held_out),
        )


def initial_state(
    settings: AvatarPriorSettings,
    key: jax.Array,
    prior: AvatarPrior | None,
    held_out: Mapping[str, np.ndarray] | None,
) -> AveragedState:
    """A fresh network, or the one given.

    Raises:
      UsageError: the network given has other sizes than the settings name.
    """

    def fresh() -> AvatarPrior:
        prior = AvatarPrior(settings.network, rngs=nnx.Rngs(key))
        if held_out is not None:
            expression = held_out["expression"]
            # Everybody's expressions are less their own mean.
            moved = expression - expression.mean(axis=1, keepdims=True)
            flat = Features(
                held_out["pose"].reshape(-1, held_out["pose"].shape[-1]),
                moved.reshape(-1, expression.shape[-1]),
            )
            mean, scale, _, deviation = standard(flat, floor=settings.deviation_floor)
            angles = settings.network.angles
            prior.pose_mean[...] = jnp.asarray(mean[:angles])
            prior.pose_scale[...] = jnp.asarray(scale[:angles])
            prior.expression_scale[...] = jnp.asarray(deviation)
        return prior

    prior = network_to_begin_with("avatar_prior", prior, settings.network, fresh)
    return averaged.init_state(prior, _optimizer(settings))


def prior_phase(settings: AvatarPriorSettings) -> Phase:
    """The one phase of a step, for `jaxface.training.loop.fit`; it reads no constants.

    Metrics: those of `errors`.
    """
    optimizer = _optimizer(settings)

    def loss_fn(prior: AvatarPrior, part: Mapping[str, jax.Array]) -> Any:
        found = errors(settings, prior, part)
        return found["loss"], found

    def step(state: AveragedState, constants: Any, batch: Mapping[str, jax.Array], key: Any):
        del constants, key
        state, _, found = averaged.train_step(
            state,
            loss_fn,
            dict(batch),
            optimizer=optimizer,
            half_life=settings.ema_half_life,
            microbatches=settings.microbatches,
        )
        return state, found

    return Phase("prior", step)


def errors(
    settings: AvatarPriorSettings, prior: AvatarPrior, clips: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    """How far the codes of frames are off that the network gives, of a few clips.

    Args:
      settings: how many frames of each clip are anchors, its first.
      prior: the network.
      clips: ``w_plus`` [N, K, L, w_dim], ``pose`` [N, K, 3], ``expression`` [N, K, E].

    Returns:
      Means over clips: ``loss``, squares; ``share``, of the squares that the mean of a clip's
      anchors leaves.
    """
    count = settings.anchors

    def one(w_plus: jax.Array, pose: jax.Array, expression: jax.Array) -> tuple[Any, Any]:
        anchors, rest = w_plus[:count], w_plus[count:]
        found = prior(anchors, pose[:count], expression[:count], pose[count:], expression[count:])
        left = jnp.mean(jnp.square(anchors.mean(axis=0) - rest))
        loss = jnp.mean(jnp.square(found - rest))
        return loss, loss / left

    loss, share = jax.vmap(one)(clips["w_plus"], clips["pose"], clips["expression"])
    return {"loss": jnp.mean(loss), "share": jnp.mean(share)}


def _optimizer(settings: AvatarPriorSettings) -> optax.GradientTransformation:
    return optax.adam(
        optax.cosine_decay_schedule(
            settings.learning_rate, settings.steps, settings.last_learning_rate
        )
    )


def _score(
    settings: AvatarPriorSettings, held_out: Mapping[str, np.ndarray]
) -> Callable[[AveragedState], dict[str, float]]:
    compiled = jax.jit(errors, static_argnums=0)
    clips = jax.tree.map(jnp.asarray, dict(held_out))

    def score(state: AveragedState) -> dict[str, float]:
        found = compiled(settings, state.average, clips)
        return {name: float(value) for name, value in found.items()}

    return score
