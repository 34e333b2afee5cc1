"""Chunks of one size: every row once, one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.runtime.chunks import by_chunks, chunks


@pytest.mark.parametrize(("count", "size"), [(1, 4), (4, 4), (5, 4), (9, 2)])
def test_every_row_comes_once_and_in_order_and_one_program_is_compiled(count, size):
    traced, told = [], []

    @jax.jit
    def moved(x, y):
        traced.append(x.shape)
        return {"sum": x + y[:, None], "y": y}

    x, y = np.arange(3.0 * count).reshape(count, 3), jnp.arange(count)
    found = by_chunks(moved, x, y, size=size, progress=lambda *counts: told.append(counts))
    np.testing.assert_array_equal(found["sum"], x + np.arange(count)[:, None])
    np.testing.assert_array_equal(found["y"], np.arange(count))
    assert traced == [(size, 3)]
    assert told[-1] == (count, count)
    assert len(told) == -(-count // size)


def test_trees_go_in_and_come_out_and_what_is_missing_stays_so():
    given = {"a": np.arange(5), "b": None}
    first, second = by_chunks(lambda row, x: (row["a"], x), given, np.ones((5, 2)), size=3)
    np.testing.assert_array_equal(first, np.arange(5))
    assert second.shape == (5, 2)


def test_the_last_chunk_is_filled_up_with_the_last_row():
    assert [(rows.tolist(), kept) for rows, kept in chunks(3, 2)] == [([0, 1], 2), ([2, 2], 1)]
    assert list(chunks(0, 2)) == []
