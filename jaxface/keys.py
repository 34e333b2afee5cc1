"""Random keys of items, from their ids: the same in every batch, shard and process."""

import hashlib
from collections.abc import Sequence

import jax
import numpy as np

_BANK = 0x62616E6B


def item_keys(key: jax.Array, ids: Sequence[str]) -> jax.Array:
    """One key per item, from its stable id alone.

    The id is hashed (SHA-256, first 8 bytes) and folded in, so an item keeps its key whatever the
    batch, the shard or the host it is in.

    Args:
      key: a typed key, scalar.
      ids: N strings.

    Returns:
      [N] typed keys.
    """
    digests = b"".join(hashlib.sha256(item.encode()).digest()[:8] for item in ids)
    words = np.frombuffer(digests, ">u4").astype(np.uint32).reshape(len(ids), 2)
    return _fold_in_words(key, words)


def samples_key(key: jax.Array) -> jax.Array:
    """The key of what a method samples once for all items, apart from every item's.

    Args:
      key: a typed key, scalar, that `item_keys` is given too.
    """
    return jax.random.fold_in(key, _BANK)


@jax.jit
def _fold_in_words(key: jax.Array, words: jax.Array) -> jax.Array:
    """Folds each row of `words` [N, 2] into one key: [N] keys."""
    return jax.vmap(lambda w: jax.random.fold_in(jax.random.fold_in(key, w[0]), w[1]))(words)
