"""Checkpoints of a training run: any pytree of arrays, the data iterator's position, and notes.

One Orbax `CheckpointManager` per run folder, asynchronous, with the newest checkpoints kept. The
state is stored flat, one named array per leaf, so that nothing about the classes that hold it is
part of the file, and a missing or misshaped array is reported by name. Arrays are restored with the
placement of the state they replace: a run saved on four devices continues on two.

The data iterator's position and the notes are JSON. The position must be the same on every process
(the pipelines of `jaxface.data.pipelines` count batches), so a run may also continue on another
number of hosts.
"""

import itertools
import pathlib
import re
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jaxface.errors import JaxfaceError


class CheckpointError(JaxfaceError):
    """A checkpoint does not hold what the run needs; the message names the arrays."""


class Checkpoints:
    """The checkpoints in one folder.

    Args:
      directory: made if absent.
      keep: how many of the newest to keep, >= 1.
    """

    def __init__(self, directory: str | pathlib.Path, *, keep: int = 2):
        self.directory = pathlib.Path(directory).absolute()
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep, enable_async_checkpointing=True, create=True
            ),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "data": ocp.JsonCheckpointHandler(),
                "meta": ocp.JsonCheckpointHandler(),
            },
        )

    def latest(self) -> int | None:
        """The newest finished checkpoint's step; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, *, data: Any, meta: Mapping[str, Any]) -> None:
        """Starts writing a checkpoint; returns once `state` may be donated.

        Args:
          step: steps done.
          state: pytree of arrays; typed keys are stored as their words.
          data: the data iterator's position, JSON.
          meta: notes, JSON.
        """
        # The copy is what the writer reads: the trainer donates `state` to its next step.
        arrays = {name: _copy(leaf) for name, leaf in _flatten(state).items()}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(arrays),
                data=ocp.args.JsonSave({"position": data, "counts": _counts(arrays)}),
                meta=ocp.args.JsonSave(dict(meta)),
            ),
        )

    def restore(self, state: Any, *, step: int | None = None) -> tuple[Any, Any, dict[str, Any]]:
        """Reads a checkpoint.

        Args:
          state: pytree with the structure, shapes, dtypes and placement wanted back.
          step: which one; default: the newest that is whole. One that is damaged is set aside, as
            ``damaged-<step>``, with a warning, and the one before it is taken.

        Returns:
          (state, data, meta) as they were saved.

        Raises:
          CheckpointError: there is none, none is whole, or its arrays are not those of `state`.
          Exception: what kept a checkpoint from being read that may be whole, such as a shortage
            of memory or a file that may not be read; all checkpoints stay.
        """
        if step is not None:
            return self._restored(state, step)
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise CheckpointError(f"{self.directory}: no checkpoint here.")
        for newest, older in zip(steps, [*steps[1:], None], strict=True):
            try:
                return self._restored(state, newest)
            except CheckpointError:
                raise  # it is whole, and of another run
            except Exception as error:
                if not _is_damage(error):
                    raise
                reason = " ".join(str(error).split())[:200]
                what = f"{self.directory} step {newest} is damaged ({reason})"
                if older is None:
                    raise CheckpointError(f"{what}, and there is none before it.") from error
                print(f"jaxface: warning: {what}; going on from step {older}", file=sys.stderr)
                self._set_aside(newest)
        raise AssertionError("unreachable")

    def _set_aside(self, step: int) -> None:
        """Renames a checkpoint that would be in the way when its step comes."""
        if jax.process_index() == 0:
            path = self.directory / f"damaged-{step}"
            for number in itertools.count(2):
                if not path.exists():
                    break
                path = path.with_name(f"damaged-{step}-{number}")
            (self.directory / str(step)).rename(path)
        multihost_utils.sync_global_devices(f"set checkpoint {step} aside")
        self._manager.reload()

    def _restored(self, state: Any, step: int) -> tuple[Any, Any, dict[str, Any]]:
        wanted = _flatten(state)
        self._check(step, wanted)
        # Arrays are asked for where `state` has them; a leaf without placement comes as NumPy's.
        abstract = {name: ocp.utils.to_shape_dtype_struct(leaf) for name, leaf in wanted.items()}
        restored: Any = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract),
                data=ocp.args.JsonRestore(),
                meta=ocp.args.JsonRestore(),
            ),
        )
        _check_counts(restored, step)
        leaves, structure = jax.tree.flatten(state)
        arrays = [
            jax.random.wrap_key_data(restored.state[name], impl=jax.random.key_impl(leaf))
            if is_key(leaf)
            else restored.state[name]
            for name, leaf in zip(wanted, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, arrays), restored.data["position"], restored.meta

    def wait(self) -> None:
        """Returns once every checkpoint that was started is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for unfinished checkpoints and releases the folder."""
        self._manager.close()

    def _check(self, step: int, wanted: Mapping[str, jax.Array]) -> None:
        stored = self._manager.item_metadata(step)["state"]
        expected = {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in wanted.items()}
        got = {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in stored.items()}
        faults = [f"missing {name}" for name in sorted(expected.keys() - got.keys())]
        faults += [f"surplus {name}" for name in sorted(got.keys() - expected.keys())]
        faults += [
            f"{name}: got {got[name][1]}{list(got[name][0])}, "
            f"expected {expected[name][1]}{list(expected[name][0])}"
            for name in sorted(expected.keys() & got.keys())
            if got[name] != expected[name]
        ]
        if faults:
            more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
            raise CheckpointError(
                f"{self.directory} step {step} does not fit this run: {'; '.join(faults[:8])}"
                f"{more}. Use the settings the run was started with, or a new folder."
            )


_PASSING = re.compile(
    "ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|PERMISSION_DENIED|RESOURCE_EXHAUSTED|"
    "UNAUTHENTICATED|UNAVAILABLE|UNKNOWN"
)
"""Statuses by which TensorStore says that reading failed, and not that data are wrong."""


def _is_damage(error: Exception) -> bool:
    """Whether an error of reading says that files are missing, cut off or changed."""
    if type(error) is Exception and isinstance(error.__cause__, Exception):
        error = error.__cause__  # Orbax tells so of arrays
    if isinstance(error, OSError):
        return isinstance(error, FileNotFoundError)
    wrong = (ValueError, LookupError, TypeError, AttributeError, EOFError)
    return isinstance(error, wrong) and not _PASSING.match(str(error))


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed key."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _copy(leaf):
    if not isinstance(leaf, jax.Array):
        return np.array(leaf)
    if leaf.is_fully_addressable and leaf.is_fully_replicated:
        # One device's copy will do. Orbax would write a slice from each, and compile every slice.
        leaf = leaf.addressable_data(0)
    return leaf.copy() if leaf.is_fully_addressable else jax.jit(jnp.copy)(leaf)


def _counts(arrays: Mapping[str, Any]) -> dict[str, int]:
    """What counts steps or updates in a state: its scalars of integers, by name."""
    return {
        name: int(leaf if isinstance(leaf, np.ndarray) else leaf.addressable_data(0))
        for name, leaf in arrays.items()
        if np.ndim(leaf) == 0 and jnp.issubdtype(leaf.dtype, jnp.integer)
    }


def _check_counts(restored: Any, step: int) -> None:
    """Insist that notes and state are of the step that the checkpoint's folder names.

    Raises:
      ValueError: they are not: files of several checkpoints were mixed, or changed.
    """
    if (noted := restored.meta.get("step", step)) != step:
        raise ValueError(f"its notes are of step {noted}")
    for name, count in restored.data.get("counts", {}).items():  # an earlier version noted none
        if (got := int(restored.state[name])) != count:
            raise ValueError(f"its state has {name} {got}, and its notes {count}")


def _flatten(tree) -> dict[str, Any]:
    """Leaves by dotted path, in flattening order; typed keys as their uint32 words."""
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "value"
        if name in named:
            raise ValueError(f"The state has two leaves named {name!r}; rename one.")
        named[name] = jax.random.key_data(leaf) if is_key(leaf) else leaf
    return named
