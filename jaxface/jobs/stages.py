"""Stages of a long job that go on where they were stopped: what is kept of them, and their time."""

import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.runtime.arrays import read_arrays
from jaxface.runtime.files import atomic_writer, write_json
from jaxface.runtime.progress import format_seconds, working

STAGES = "stages"
"""The folder of a job that has them."""

SAVE_EVERY = 60.0
"""Seconds between two saves of a stage that goes on."""


class SavedStage:
    """Where a stage is: its state's arrays, its trace, and whether it is done."""

    def __init__(self, stem: Path, like: Any):
        self._arrays = stem.with_suffix(".npz")
        self._structure, self._last = jax.tree.structure(like), time.monotonic()

    def read(self, start: Any, trace: list) -> tuple[Any, list[dict[str, float]], bool]:
        """State, trace and whether it is done; `start` and `trace` where nothing is kept."""
        if not self._arrays.is_file():
            return start, trace, False
        stored = read_arrays(self._arrays)
        told = json.loads(str(stored["told"]))
        leaves = [jnp.asarray(stored[f"{place}"]) for place in range(len(stored) - 1)]
        return jax.tree.unflatten(self._structure, leaves), told["trace"], told["done"]

    def due(self, state: Any, trace: list[dict[str, float]]) -> None:
        """Writes it if the last time is long ago."""
        if time.monotonic() - self._last > SAVE_EVERY:
            self.write(state, trace)

    def write(self, state: Any, trace: list[dict[str, float]], *, done: bool = False) -> None:
        """Writes all in one file, which is there whole or as it was."""
        told = json.dumps({"trace": trace, "done": done})
        arrays = {f"{place}": np.asarray(leaf) for place, leaf in enumerate(jax.tree.leaves(state))}
        with atomic_writer(self._arrays) as file:
            np.savez(file, allow_pickle=False, told=np.array(told), **arrays)
        self._last = time.monotonic()

    @staticmethod
    def trace(stem: Path) -> list[dict[str, float]]:
        """The trace of a stage that is kept."""
        return json.loads(str(read_arrays(stem.with_suffix(".npz"))["told"]))["trace"]


class TimedStage:
    """Tells a stage's progress and the time that is left, and adds up the time it takes."""

    def __init__(self, folder: Path, name: str):
        self._file, self._name = folder / "seconds.json", name

    def __enter__(self) -> "TimedStage":
        self._context = working(self._name)
        self._line, self._begun = self._context.__enter__(), time.monotonic()
        self._first: tuple[int, float] | None = None
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)
        spent = self.seconds(self._file.parent)
        spent[self._name] = spent.get(self._name, 0.0) + time.monotonic() - self._begun
        write_json(self._file, {name: round(value, 1) for name, value in spent.items()})

    def doing(self, text: str) -> None:
        """Something that has no steps."""
        self._line.doing(f"{self._name}: {text}")

    def told(self, done: int, total: int, *, said: str = "") -> None:
        """What is done of a stage; the first time counts from where it went on, compiled."""
        now = time.monotonic()
        self._first = self._first or (done, now)
        first, since = self._first
        left = (now - since) / (done - first) * (total - done) if done > first else float("nan")
        text = f"{self._name}: {done} of {total}, left {format_seconds(left)}"
        self._line.doing(f"{text}, {said}" if said else text)

    @staticmethod
    def seconds(folder: Path) -> dict[str, float]:
        """By stage."""
        path = folder / "seconds.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
