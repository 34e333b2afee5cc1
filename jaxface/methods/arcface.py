"""Face recognition by ArcFace's margin (Deng et al. 2019), on persons seen on many occasions.

An IR-SE network turns an image into a point of the unit sphere; a class centre for each person of
the training set pulls that person's images together, from beyond an angle m
(`jaxface.losses.angular_margin`). The centres are thrown away afterwards: two images are compared
by the cosine of their embeddings. Batches are ``{"image": [N, R, R, 3] uint8 or float32 in [-1, 1],
"person": [N] integers in [0, num_identities)}``.

Batch normalisation works by the statistics of the whole batch while the network learns, over all
devices, and its running statistics follow; what is saved and scored uses these.

What the paper leaves to the data is chosen here: Adam instead of stochastic gradient descent, and
images made softer and noisier at random, since a generator's will be read.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct

from jaxface.data.sources import DataSource
from jaxface.errors import UsageError
from jaxface.losses.angular_margin import angular_margin_loss
from jaxface.media.images import as_float, from_uint8
from jaxface.metrics import true_accept_rate, verification_accuracy, verification_pairs
from jaxface.nets import IRSE, IRSEConfig
from jaxface.training.augmentation import blur_and_noise
from jaxface.training.beginning import network_to_begin_with
from jaxface.training.loop import Phase
from jaxface.training.microbatches import mean_gradients
from jaxface.training.optimizers import adam_with_warmup_cosine
from jaxface.training.recipe import Recipe, single_stage_recipe

Batch = Mapping[str, jax.Array]

_SCORED = 100  # held-out images embedded together


@dataclasses.dataclass(frozen=True)
class ArcFaceSettings:
    """Training of a recognition network; the paper's s is 64, its m is 0.5."""

    network: IRSEConfig
    num_identities: int
    """Persons in the training set."""
    steps: int
    batch_size: int = 64
    microbatches: int = 1
    """Equal parts of a batch, whose gradients are accumulated: docs/training.md."""
    s: float = 32.0
    """Radius of the hypersphere. The paper's is twice this, for 20 times the persons."""
    m: float = 0.4
    """Angular margin in radians."""
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    noise: float = 0.02
    """See `jaxface.training.augmentation`."""
    blur: float = 0.8
    folds: int = 10
    """Of the verification test, whose persons they share out."""

    @property
    def trains(self) -> str:
        """The role ``recognition``."""
        return "recognition"

    def check_data(self, data: DataSource) -> None:
        """Insist on a class for every person: one too few would stop the run at such an item.

        Raises:
          UsageError: the data has no persons, or another number of them.
        """
        if data.classes is None:
            return
        if "person" not in data.classes:
            raise UsageError(
                f"recognition: {type(data).__name__} has nobody twice; expected IdentityPortraits, "
                "or a PreparedDataset with the field 'person'"
            )
        if data.classes["person"] != self.num_identities:
            raise UsageError(
                f"recognition: data.num_identities is {data.classes['person']}, "
                f"method.num_identities is {self.num_identities}; change one of the two"
            )

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, jax.Array] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Begins with the role ``recognition`` where it is given. Scores are `verification_scores` of
        the held-out persons, whom training does not see.
        """
        state = initial_state(self, key, networks.get("recognition"))
        return single_stage_recipe(
            self,
            recognition_phase(self),
            state,
            fields=("image", "person"),
            parameters=state.network,
            finished=lambda state: state.network,
            score=None if held_out is None else _score(held_out, self.folds),
        )


@struct.dataclass
class ArcFaceState:
    """Everything that training changes."""

    network: IRSE
    centres: jax.Array
    """W of the paper, [num_identities, embedding_dim]."""
    optimizer: Any


def initial_state(
    settings: ArcFaceSettings, key: jax.Array, network: IRSE | None = None
) -> ArcFaceState:
    """A fresh network, or the one given, and random centres.

    Raises:
      UsageError: the network given has other sizes than the settings name.
    """
    network_key, centre_key = jax.random.split(key)
    network = network_to_begin_with(
        "recognition",
        network,
        settings.network,
        lambda: IRSE(settings.network, rngs=nnx.Rngs(network_key)),
    )
    width = settings.network.embedding_dim
    # Of about unit length: Adam's steps have a size of their own.
    centres = jax.random.normal(centre_key, (settings.num_identities, width)) * width**-0.5
    trained = (nnx.state(network, nnx.Param), centres)
    return ArcFaceState(
        network=network, centres=centres, optimizer=_optimizer(settings).init(trained)
    )


def recognition_phase(settings: ArcFaceSettings) -> Phase:
    """The one phase of a step, for `jaxface.training.loop.fit`; it reads no constants.

    Metrics: ``loss``, and ``accuracy``, the share of the batch whose nearest centre, without the
    margin, is its own.
    """
    optimizer = _optimizer(settings)

    def loss_fn(trained, part, graphdef, rest):
        params, centres = trained
        images, persons = part
        # A copy, which may change: its running statistics move.
        network = nnx.merge(graphdef, params, rest, copy=True)
        network.train()
        embeddings = network.features(network.crop(images))
        network.eval()
        losses, cosine = angular_margin_loss(
            embeddings, centres, persons, s=settings.s, m=settings.m
        )
        accuracy = jnp.mean(jnp.argmax(cosine, axis=1) == persons)
        _, _, rest = nnx.split(network, nnx.Param, ...)
        return jnp.mean(losses), (rest, accuracy)

    def step(state: ArcFaceState, constants, batch: Batch, key: jax.Array):
        del constants
        images = as_float(batch["image"])
        images = blur_and_noise(images, key, noise=settings.noise, blur=settings.blur)
        graphdef, params, rest = nnx.split(state.network, nnx.Param, ...)
        trained = (params, state.centres)
        (loss, (rest, accuracy)), grads = mean_gradients(
            lambda trained, part, _: loss_fn(trained, part, graphdef, rest),
            trained,
            (images, batch["person"]),
            parts=settings.microbatches,
        )
        updates, optimizer_state = optimizer.update(grads, state.optimizer, trained)
        moved: Any = optax.apply_updates(trained, updates)
        params, centres = moved
        state = ArcFaceState(
            network=nnx.merge(graphdef, params, rest), centres=centres, optimizer=optimizer_state
        )
        return state, {"loss": loss, "accuracy": accuracy}

    return Phase("arcface", step)


def verification_scores(
    embeddings: np.ndarray, persons: np.ndarray, *, folds: int = 10
) -> dict[str, float]:
    """How well embeddings tell persons apart, see `jaxface.metrics.verification`.

    Args:
      embeddings: [N, D] of unit length.
      persons: [N] integers.
      folds: of persons.

    Returns:
      ``accuracy``, the mean over the folds, and ``accuracy_deviation``, the standard deviation
      between them, on up to 300 + 300 pairs a fold; ``tar_at_far_1e-2`` and ``tar_at_far_1e-3`` on
      all pairs.
    """
    pairs = verification_pairs(persons, folds=folds)
    similarity = embeddings @ embeddings.T
    accuracy = verification_accuracy(similarity[pairs.first, pairs.second], pairs.same, pairs.fold)
    first, second = np.triu_indices(len(persons), 1)
    every, same = similarity[first, second], persons[first] == persons[second]
    rates = {f"tar_at_far_1e-{k}": true_accept_rate(every, same, far=10.0**-k) for k in (2, 3)}
    return {
        "accuracy": float(accuracy.mean()),
        "accuracy_deviation": float(accuracy.std()),
        **rates,
    }


def _optimizer(settings: ArcFaceSettings) -> optax.GradientTransformation:
    return adam_with_warmup_cosine(
        settings.learning_rate, warmup_steps=settings.warmup_steps, steps=settings.steps
    )


def _score(
    held_out: Mapping[str, jax.Array], folds: int
) -> Callable[[ArcFaceState], dict[str, float]]:
    embed = jax.jit(lambda network, images: network(from_uint8(images)))
    images, persons = held_out["image"], np.asarray(held_out["person"])

    def score(state: ArcFaceState) -> dict[str, float]:
        parts = [
            np.asarray(embed(state.network, images[first : first + _SCORED]))
            for first in range(0, len(images), _SCORED)
        ]
        return verification_scores(np.concatenate(parts), persons, folds=folds)

    return score
