"""The ablations' direction matrices: trained alike, but for what each is to show.

Every row goes on from the suite's own matrix, with the embedded suite's settings, for the same
number of steps of the same batch: what a few minutes can show. A loss that a row leaves out has
been there before, so that what it is for shows in how the matrix drifts. Embedded portraits and
pairs are frames of persons of the embedded world that no evaluation has, embedded by the suite's
encoder.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data.latent_items import LatentKeys
from jaxface.evaluation.reenactment_protocol import random_clip
from jaxface.evaluation.suite_world import suite_world
from jaxface.media.images import to_uint8
from jaxface.methods import direction_matrix
from jaxface.methods.direction_matrix import MatrixSettings, MatrixStage
from jaxface.methods.direction_matrix.settings import Kind
from jaxface.morphable.worlds import World
from jaxface.nets import DirectionMatrix
from jaxface.runtime.progress import Pace
from jaxface.suite import Suite
from jaxface.weights import named_arrays, with_arrays

SEED = 40_000_029
"""Of initial matrices, training items and the clips that are embedded."""

FRAMES = 2  # of a clip that are embedded: a source and a target
_AT_ONCE = 32  # clips that are rendered together


@dataclasses.dataclass(frozen=True)
class Budget:
    """What the training of every row has.

    Attributes:
      steps: in all stages together; >= 2.
      batch_size: even.
      clips: persons, two frames of each of whom are embedded for mixed and paired stages.
      learning_rate: of the first step; it falls to zero by a cosine.
    """

    steps: int = 30
    batch_size: int = 12
    clips: int = 128
    learning_rate: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Row:
    """A training of the ablations.

    Attributes:
      title: in the tables.
      kinds: of its stages, which share the steps evenly.
      off: losses that it has not, out of those of equations 3 to 7.
    """

    title: str
    kinds: tuple[Kind, ...]
    off: tuple[str, ...] = ()

    def settings(self, budget: Budget, pairs: Any) -> MatrixSettings:
        """Of the training, with the embedded suite's constants.

        Args:
          budget: steps and items.
          pairs: of `ClipPairs`; the first frames are the portraits of mixed stages.
        """
        whole = direction_matrix.EMBEDDED
        share = budget.steps // len(self.kinds)
        steps = [share] * (len(self.kinds) - 1)
        steps.append(budget.steps - sum(steps))
        stages = tuple(
            MatrixStage(kind, count, budget.batch_size)
            for kind, count in zip(self.kinds, steps, strict=True)
        )
        without = dict.fromkeys((f"{name}_weight" for name in self.off), 0.0)
        return dataclasses.replace(
            whole,
            stages=stages,
            losses=dataclasses.replace(whole.losses, **without),
            learning_rate=budget.learning_rate,
            portraits=Portraits(pairs),
            pairs=pairs,
            embedded=budget.clips,
        )


ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "synthetic": Row("synthetic", ("synthetic",)),
        "no_identity": Row(
            "synthetic, w/o L_id + L_per", ("synthetic",), ("identity", "perceptual")
        ),
        "no_eyes": Row("synthetic, w/o L_eye + L_mouth", ("synthetic",), ("eye", "mouth")),
        "mixed": Row("real and synthetic", ("mixed",)),
        "paired": Row("real and synthetic, then paired", ("mixed", "paired")),
    }
)
"""Trainings of Tables 2 to 5. The paired one fine-tunes a mixed one; both halves share the steps
that the others have."""


class ClipPairs:
    """Two frames of clips of the embedded world, as data to embed: fields ``image`` [N, 2, ...].

    Args:
      suite: of whose world they are, rendered at its resolution.
      count: of clips.
    """

    def __init__(self, suite: Suite, count: int):
        self._resolution, self._count = suite.generator.resolution, count
        self._world = suite_world(suite)

    @functools.cached_property
    def images(self) -> np.ndarray:
        """[count, 2, R, R, 3] uint8."""
        keys = jax.random.split(jax.random.key(SEED), self._count)
        frames = jax.jit(lambda keys: _two_frames(self._world, keys, self._resolution))
        parts = [
            np.asarray(frames(keys[i : i + _AT_ONCE])) for i in range(0, self._count, _AT_ONCE)
        ]
        return np.concatenate(parts)

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> Iterator[Any]:
        """In the clips' order, over and over; `seed` has no part in it."""
        del fields, seed
        return _in_order(self.images, size)


class Portraits:
    """The first frames of `ClipPairs`."""

    def __init__(self, pairs: ClipPairs):
        self._pairs = pairs

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> Iterator[Any]:
        """See `ClipPairs.batches`."""
        del fields, seed
        return _in_order(self._pairs.images[:, 0], size)


def _in_order(images: np.ndarray, size: int) -> Iterator[Any]:
    first = 0
    while True:
        yield {"image": images[np.arange(first, first + size) % len(images)]}
        first += size


def _two_frames(of: World, keys: jax.Array, resolution: int) -> jax.Array:
    scenes = jax.vmap(lambda key: random_clip(key, FRAMES, of).scenes)(keys)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), scenes)
    images = to_uint8(of.render(flat, resolution))
    return images.reshape(len(keys), FRAMES, *images.shape[1:])


def trained_matrix(
    suite: Suite, row: Row, budget: Budget, pairs: ClipPairs, *, say: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """Trains a row's matrix: its arrays by name, and the loss of every step, ``loss``.

    Args:
      suite: has the networks of the losses, the matrix to begin with, and an encoder where the row
        embeds portraits.
      row: out of `ROWS`.
      budget: of all rows.
      pairs: to be embedded.
      say: receives a line now and then.

    Raises:
      UsageError: the suite lacks a network.
    """
    settings = row.settings(budget, pairs)
    networks = {role: getattr(suite, role) for role in _ROLES if role in suite}
    recipe = settings.recipe(key=jax.random.key(SEED), networks=networks, held_out=None)
    state, losses = recipe.state, []
    data, pace = LatentKeys(batch_size=budget.batch_size, seed=SEED), Pace(budget.steps)
    for stage in recipe.stages:
        step = jax.jit(stage.phases[0].fn)
        for _ in range(stage.steps):
            done, told = len(losses), pace.next()
            if done % 10 == 0:
                say(f"training of {row.title!r}: step {done + 1} of {budget.steps}, {told}")
            words = jnp.asarray(next(data)["key"])
            state, terms = step(state, recipe.constants, {"key": words}, jax.random.key(0))
            losses.append(float(terms["loss"]))
    matrix = recipe.networks(state)["direction_matrix"]
    return {**named_arrays(matrix), "loss": np.array(losses, np.float32)}


_ROLES = (
    "generator",
    "recognition",
    "perceptual",
    "reconstruction",
    "face_model",
    "encoder",
    "direction_matrix",
)


def matrix_of(suite: Suite, arrays: Mapping[str, np.ndarray]) -> DirectionMatrix:
    """The matrix of what `trained_matrix` gave."""
    own = {name: value for name, value in arrays.items() if name != "loss"}
    found: Any = with_arrays(suite.direction_matrix, own)
    return found
