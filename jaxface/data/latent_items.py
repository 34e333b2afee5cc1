"""Latents by number: item i of a split is a key, from which whoever has the generator samples."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data.scene_items import item_keys
from jaxface.errors import JaxfaceError


class LatentError(JaxfaceError):
    """Keys cannot be divided over the processes."""


def key_data(seed: int, split: str, indices: Any) -> np.ndarray:
    """The items' key data, see `item_keys`: uint32 [n, 2].

    `jax.random.wrap_key_data` makes keys of them.
    """
    return np.asarray(jax.random.key_data(item_keys(seed, split, jnp.asarray(indices))))


class LatentKeys:
    """Endless batches ``{"key": uint32 [N, 2]}`` of training items; none comes twice.

    Batch k holds items k * batch_size onwards. Each process gets its own contiguous rows. An
    iterator for `jaxface.training.loop.fit`.

    Args:
      batch_size: items per batch over all processes; divisible by their number.
      seed: of all items.

    Raises:
      LatentError: the batch does not divide over the processes.
    """

    def __init__(self, *, batch_size: int, seed: int):
        processes = jax.process_count()
        if batch_size < 1 or batch_size % processes:
            raise LatentError(
                f"LatentKeys: batch_size must be a positive multiple of {processes} processes, "
                f"got {batch_size}."
            )
        self._batch_size, self._seed = batch_size, seed
        self._rows, self._position = batch_size // processes, 0

    def __next__(self) -> dict[str, np.ndarray]:
        first = self._position * self._batch_size + jax.process_index() * self._rows
        self._position += 1
        return {"key": key_data(self._seed, "train", np.arange(first, first + self._rows))}

    def get_state(self) -> dict[str, int]:
        """The position, as JSON."""
        return {"position": self._position}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Back, or ahead, to a position that `get_state` gave."""
        self._position = int(state["position"])
