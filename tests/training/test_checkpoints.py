import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxface.runtime.devices import data_mesh
from jaxface.training.checkpoints import CheckpointError, Checkpoints


def state(scale=1.0):
    return {
        "weights": scale * jnp.arange(6.0).reshape(2, 3),
        "half": scale * jnp.ones(4, jnp.bfloat16),
        "key": jax.random.key(int(scale)),
        "count": jnp.int32(scale),
    }


def test_everything_comes_back(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, state(5.0), data={"next": 7}, meta={"mean": 0.1})
    checkpoints.wait()
    restored, data, meta = Checkpoints(tmp_path).restore(state(0.0))
    assert data == {"next": 7}
    assert meta == {"mean": 0.1}
    assert restored["half"].dtype == jnp.bfloat16
    assert jax.random.key_data(restored["key"]).tolist() == [0, 5]
    jax.tree.map(
        np.testing.assert_array_equal,
        {k: v for k, v in restored.items() if k != "key"},
        {k: v for k, v in state(5.0).items() if k != "key"},
    )


def test_arrays_may_be_donated_at_once(tmp_path):
    """What is written is the state at the call, though its buffers are overwritten right after."""
    checkpoints = Checkpoints(tmp_path)
    step = jax.jit(lambda a: a + 1, donate_argnums=0)
    array = jnp.zeros(1_000_000)
    for i in range(20):
        if i == 5:
            checkpoints.save(i, {"a": array}, data=None, meta={})
        array = step(array)
    checkpoints.wait()
    restored, _, _ = checkpoints.restore({"a": jnp.ones(1_000_000)})
    np.testing.assert_array_equal(restored["a"], 5.0)


def test_placement_is_that_of_the_new_state(tmp_path):
    def spread(devices):
        return NamedSharding(data_mesh(devices), PartitionSpec("data"))

    checkpoints = Checkpoints(tmp_path)
    values = jnp.arange(16.0)
    saved = {"a": jax.device_put(values, spread(jax.devices()[:4]))}
    checkpoints.save(1, saved, data=None, meta={})
    checkpoints.wait()
    wanted = spread(jax.devices()[6:])
    restored, _, _ = checkpoints.restore({"a": jax.device_put(jnp.zeros(16), wanted)})
    assert restored["a"].sharding == wanted
    np.testing.assert_array_equal(restored["a"], values)


def test_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.latest() is None
    for step in (1, 2, 3):
        checkpoints.save(step, state(), data=None, meta={})
    checkpoints.wait()
    assert checkpoints.latest() == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_what_does_not_fit_is_named(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoints.restore(state())
    checkpoints.save(1, state(), data=None, meta={})
    checkpoints.wait()
    other = state() | {"weights": jnp.zeros((3, 3)), "new": jnp.zeros(1)}
    del other["count"]
    with pytest.raises(CheckpointError) as caught:
        checkpoints.restore(other)
    message = str(caught.value)
    assert "missing new" in message
    assert "surplus count" in message
    assert "weights: got float32[2, 3], expected float32[3, 3]" in message


def _saved(folder, steps=(1, 2)):
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(step, state(float(step)), data={"next": step}, meta={"step": step})
    checkpoints.wait()
    checkpoints.close()


def test_a_damaged_newest_checkpoint_gives_way(tmp_path, capsys):
    _saved(tmp_path)
    for path in (tmp_path / "2" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    checkpoints = Checkpoints(tmp_path)
    restored, data, meta = checkpoints.restore(state(0.0))
    assert (int(restored["count"]), data, meta) == (1, {"next": 1}, {"step": 1})
    warning = capsys.readouterr().err
    assert "step 2 is damaged" in warning
    assert "going on from step 1" in warning
    checkpoints.save(2, state(2.0), data=None, meta={"step": 2})  # nothing is in its way
    checkpoints.wait()
    assert checkpoints.latest() == 2
    # Cut off as it is, it is kept, and so is the next that is damaged.
    (tmp_path / "2" / "meta" / "metadata").unlink()
    assert Checkpoints(tmp_path).restore(state(0.0))[2] == {"step": 1}
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"1", "damaged-2", "damaged-2-2"}


def _of_tensorstore(text):
    """As Orbax tells what kept an array from being read."""
    error = Exception("Encountered error while reading array index: ().")
    error.__cause__ = ValueError(f'{text}: Error opening "zarr" driver')
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        PermissionError(13, "Permission denied"),
        OSError(5, "Input/output error"),
        TimeoutError("no answer"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"),
        _of_tensorstore("UNAVAILABLE"),
        _of_tensorstore("PERMISSION_DENIED"),
    ],
    ids=repr,
)
def test_what_may_be_whole_is_left_alone(tmp_path, monkeypatch, error):
    _saved(tmp_path)
    checkpoints = Checkpoints(tmp_path)

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints._manager, "restore", fail)
        with pytest.raises(type(error)) as caught:
            checkpoints.restore(state(0.0))
    assert caught.value is error
    assert checkpoints.restore(state(0.0))[2] == {"step": 2}


def test_a_single_damaged_checkpoint_is_one_error(tmp_path):
    _saved(tmp_path, steps=(2,))
    for path in (tmp_path / "2" / "meta").rglob("*"):
        if path.is_file():
            path.write_bytes(b"{")
    with pytest.raises(CheckpointError, match=r"step 2 is damaged .* there is none before it"):
        Checkpoints(tmp_path).restore(state(0.0))


def test_counts_are_those_of_the_state(tmp_path, capsys):
    """A folder that was renamed, or put together of two, is not taken for a later step."""
    _saved(tmp_path)
    (tmp_path / "1").rename(tmp_path / "9")
    restored, _, meta = Checkpoints(tmp_path).restore(state(0.0))
    assert (int(restored["count"]), meta) == (2, {"step": 2})
    assert "its notes are of step 1" in capsys.readouterr().err

    _saved(tmp_path / "mixed")
    shutil.rmtree(tmp_path / "mixed" / "2" / "state")
    shutil.copytree(tmp_path / "mixed" / "1" / "state", tmp_path / "mixed" / "2" / "state")
    restored, _, meta = Checkpoints(tmp_path / "mixed").restore(state(0.0))
    assert (int(restored["count"]), meta) == (1, {"step": 1})
    assert "its state has count 1, and its notes 2" in capsys.readouterr().err
