"""Items of the embedded world by number: a scene, its image and every true parameter.

Item i of a split depends on the seed, the split and i, and on nothing else. The data set
`synthetic_portraits` stores items; `LivePortraits` renders the same ones when they are needed, on
the device that trains, for runs that would wait for a disk or have none to spare, and
`jaxface.data.endless_renders` does in processes of its own.

Where one person is to be seen many times, items come from two keys: the person's, which draws what
a person keeps (the world's `person_factors`), and the occasion's, which draws the other factors.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import JaxfaceError
from jaxface.media import images
from jaxface.morphable.annotation import feature_boxes, project_landmarks
from jaxface.morphable.gaze import gaze_degrees
from jaxface.morphable.parameters import PortraitNuisance, Scene
from jaxface.morphable.worlds import world

SPLITS = ("train", "test")
"""Split names; a name's place is part of its items' keys."""


RENDER_BATCH = 32
"""Items rendered together, always the aligned group that an item belongs to, so that its pixels do
not depend on how far a run got: one program, whose rounding could differ from another batch's."""


class SceneError(JaxfaceError):
    """Scenes cannot be divided over the processes."""


def item_keys(seed: int, split: str, indices: jax.Array) -> jax.Array:
    """The keys of the items with numbers `indices` [n] in `split`: typed keys [n]."""
    key = jax.random.fold_in(jax.random.key(seed), SPLITS.index(split))
    return jax.vmap(jax.random.fold_in, (None, 0))(key, indices)


def person_keys(
    seed: int, split: str, indices: jax.Array, images_per_identity: int
) -> tuple[jax.Array, jax.Array]:
    """The keys of the items with numbers `indices` [n] where each person has several images.

    Item i is image i % images_per_identity of person i // images_per_identity. A person and its
    k-th image depend on the seed, the split and these two numbers, and `item_keys` gives none of
    them.

    Returns:
      Typed keys of the persons [n] and of the occasions [n], for `scene_items`.
    """
    key = jax.random.fold_in(jax.random.key(seed), len(SPLITS) + SPLITS.index(split))
    persons, numbers = jnp.divmod(indices, images_per_identity)
    fold_in = jax.vmap(jax.random.fold_in)
    of_person = jax.vmap(jax.random.fold_in, (None, 0))(key, persons)
    return fold_in(of_person, jnp.zeros_like(numbers)), fold_in(of_person, 1 + numbers)


def scene_items(
    keys: jax.Array,
    resolution: int,
    persons: jax.Array | None = None,
    *,
    version: str = "2.0.0",
) -> dict[str, jax.Array]:
    """The items of n keys.

    Args:
      keys: typed keys [n].
      resolution: pixels per side.
      persons: typed keys [n] of who is seen; default: somebody else in every item.
      version: of the world, see `jaxface.morphable.worlds`.

    Returns:
      ``image`` uint8 [n, R, R, 3]; ``face`` [n, 257] and ``nuisance`` [n, K], the flat forms;
      ``factors`` [n, F], whitened; ``landmarks`` [n, 68, 2] in pixels. Of version 3 also ``gaze``
      [n, 2], yaw and pitch of the eyes in degrees relative to the head, and ``boxes`` [n, 3, 4] of
      eyes and mouth in pixels, see `jaxface.morphable.annotation.feature_boxes`.

    Raises:
      ValueError: there is no world of this version.
    """
    factors = scene_factors(keys, persons, version=version)
    scenes = world(version).scenes(factors)
    return scene_columns(scenes, resolution, version=version) | {"factors": factors}


def scene_factors(
    keys: jax.Array, persons: jax.Array | None = None, *, version: str = "2.0.0"
) -> jax.Array:
    """The whitened factors of n keys, [n, F], see `scene_items`."""
    of = world(version)
    factors = _factors(keys, of.num_factors)
    if persons is None:
        return factors
    return jnp.where(of.person_factors, _factors(persons, of.num_factors), factors)


def scene_columns(scenes: Scene, resolution: int, *, version: str) -> dict[str, jax.Array]:
    """The fields of items of n scenes, as in `scene_items` but for ``factors``."""
    # `render` compiles itself; inside another jit the world's arrays would become constants.
    of = world(version)
    landmarks = project_landmarks(of.landmarks(), scenes.face, resolution)
    columns = {
        "image": _to_uint8(of.render(scenes, resolution)),
        "face": scenes.face.flat,
        "nuisance": scenes.nuisance.flat,
        "landmarks": landmarks,
    }
    if isinstance(scenes.nuisance, PortraitNuisance):
        columns["gaze"] = _gaze(scenes.face.expression)
        columns["boxes"] = _boxes(landmarks)
    return columns


_to_uint8 = jax.jit(images.to_uint8)
_gaze = jax.jit(gaze_degrees)
_boxes = jax.jit(feature_boxes)


@functools.partial(jax.jit, static_argnames="width")
def _factors(keys: jax.Array, width: int) -> jax.Array:
    return jax.vmap(functools.partial(jax.random.normal, shape=(width,)))(keys)


def numbered_items(
    seed: int, split: str, first: int, count: int, resolution: int, *, version: str
) -> dict[str, np.ndarray]:
    """Items `first` to `first + count - 1` of a split, as arrays on the host.

    Rendered in aligned groups of `RENDER_BATCH`, so that their bytes depend on nothing else.
    """
    last = first + count
    groups = []
    for start in range(first - first % RENDER_BATCH, last, RENDER_BATCH):
        keys = item_keys(seed, split, jnp.arange(start, start + RENDER_BATCH))
        groups.append(jax.device_get(scene_items(keys, resolution, version=version)))
    skipped = first % RENDER_BATCH
    return {
        name: np.concatenate([group[name] for group in groups])[skipped : skipped + count]
        for name in groups[0]
    }


class LivePortraits:
    """Endless batches of training items, rendered as they are asked for; none comes twice.

    Batch k holds items k * batch_size onwards, the same ones in the same order as the data set of
    this seed. Each process renders its own contiguous rows. An iterator for
    `jaxface.training.loop.fit`.

    Args:
      resolution: pixels per side.
      batch_size: items per batch over all processes; divisible by their number.
      seed: of all items.
      fields: names to keep.
      version: of the world.
      items: what renders the items of keys, in the form of `scene_items`.

    Raises:
      SceneError: the batch does not divide over the processes.
    """

    def __init__(
        self,
        resolution: int,
        *,
        batch_size: int,
        seed: int,
        fields: Sequence[str],
        version: str = "2.0.0",
        items: Callable[..., dict[str, jax.Array]] = scene_items,
    ):
        processes = jax.process_count()
        if batch_size < 1 or batch_size % processes:
            raise SceneError(
                f"LivePortraits: batch_size must be a positive multiple of {processes} processes, "
                f"got {batch_size}."
            )
        self._resolution, self._batch_size, self._seed = resolution, batch_size, seed
        self._fields, self._rows = tuple(fields), batch_size // processes
        self._version, self._items = version, items
        self._position, self._ahead = 0, None

    def __next__(self) -> dict[str, jax.Array]:
        batch = self._render(self._position) if self._ahead is None else self._ahead
        self._position += 1
        # Queued now, the next batch renders behind the step that takes this one.
        self._ahead = self._render(self._position)
        return batch

    def _render(self, position: int) -> dict[str, jax.Array]:
        first = position * self._batch_size + jax.process_index() * self._rows
        keys = item_keys(self._seed, "train", jnp.arange(first, first + self._rows))
        items = self._items(keys, self._resolution, version=self._version)
        return {name: items[name] for name in self._fields}

    def get_state(self) -> dict[str, int]:
        """The position, as JSON."""
        return {"position": self._position}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Back, or ahead, to a position that `get_state` gave."""
        self._position, self._ahead = int(state["position"]), None
