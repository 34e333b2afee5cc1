"""What a job does to each of its inputs, as the runner sees it; and where the results go.

A `Task` (inversion, editing) turns an input into cases, a case into a problem for a batcher, and an
outcome into a result. A `Sink` (a folder, shards) takes results, piece by piece, and knows what is
left.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from jax.sharding import Mesh

from jaxface.jobs.inputs.items import Item
from jaxface.jobs.launchers import Share
from jaxface.jobs.outputs.rows import Column, Result
from jaxface.solving.continuous_batching import Outcome, Problem, Snapshot
from jaxface.solving.procedure import Batcher
from jaxface.suite import Suite


class Case(Protocol):
    """One thing to be done: a portrait of an input, a latent code.

    Attributes:
      id: of its result.
      item: the input that it comes from.
      columns: values of its row that are known before anything is computed.
    """

    @property
    def id(self) -> str: ...
    @property
    def item(self) -> Item: ...
    @property
    def columns(self) -> Mapping[str, Any]: ...


class Failure(Protocol):
    """Why an input has no case: an exception with the name of a status."""

    status: str


Prepared = tuple[Item, Any]
"""An input and its `Case`s, a list of at least one, or the `Failure` that kept it from any."""


class Task(Protocol):
    """What a job does.

    Attributes:
      suite: has the networks.
      columns: of its rows, beside those of all jobs.
      files: kinds of files that a result has, beside its latents.
      reading_bytes: of the host's memory, which reading inputs takes at the worst.
      expected: statuses that are no failure: a job whose results all have one went well.
    """

    @property
    def suite(self) -> Suite: ...
    @property
    def columns(self) -> Mapping[str, Column]: ...
    @property
    def files(self) -> tuple[str, ...]: ...
    @property
    def reading_bytes(self) -> int: ...
    @property
    def expected(self) -> frozenset[str]: ...

    def description(self) -> dict[str, Any]:
        """Everything that decides the results, JSON-like; the job's settings on resume.

        Raises:
          SuiteError: the suite lacks a network.
        """
        ...

    def shared_columns(self) -> dict[str, Any]:
        """``settings`` and ``versions`` of every row."""
        ...

    def check_ids(self, ids: Sequence[str]) -> None:
        """Refuses ids that results of the job could not be told apart by.

        Raises:
          UsageError: there are such ids.
        """
        ...

    def prefetch(
        self, items: Sequence[Item], *, ahead: int
    ) -> contextlib.AbstractContextManager[Iterable[Prepared]]:
        """Reads inputs ahead of the device, in their order."""
        ...

    def networks(self) -> Any:
        """What the batcher's programs read; made once."""
        ...

    def signature(self) -> Any:
        """The shapes of a problem's inputs."""
        ...

    def default_batch_size(self, inputs: int) -> int:
        """Cases computed together where the user does not say, before the memory is looked at."""
        ...

    def batcher(self, size: int, mesh: Mesh) -> Batcher:
        """What computes cases in batches of `size`; equal calls share compiled programs."""
        ...

    def problem(self, case: Any, saved: Snapshot) -> Problem:
        """A case for the batcher, going on where it was stopped.

        Raises:
          LatentError: what belongs to its code cannot be used; it gets a row that says so.
        """
        ...

    def result(self, case: Any, outcome: Outcome, row: dict[str, Any]) -> Result:
        """What became of a case; its row has every column, empty where nothing is known yet."""
        ...

    def unloaded(self) -> "Task":
        """The same for another process, without networks that were loaded in this one."""
        ...


class Plan(NamedTuple):
    """What is left of a job, or of this process's share of it.

    Attributes:
      waiting: unfinished pieces by number, in order, with their inputs.
      done: inputs that are finished.
      statuses: of the finished portraits.
    """

    waiting: dict[int, list[Item]]
    done: int
    statuses: Counter[str]


class Piece(Protocol):
    """A piece of a job while it is done; see `jaxface.jobs.outputs.shards.OpenShard`."""

    saved: Mapping[str, Snapshot]

    @property
    def inputs(self) -> int: ...
    @property
    def statuses(self) -> Mapping[str, int]: ...
    @property
    def progress(self) -> Mapping[str, Any] | None: ...

    def has_input(self, item_id: str) -> bool: ...

    def knows(self, case: Case) -> bool: ...

    def add(self, results: Sequence[Result]) -> None: ...


class Sink(Protocol):
    """Where results go: `ResultsFolder`, `ShardsFolder`."""

    @property
    def folder(self) -> Any: ...
    @property
    def share(self) -> Share: ...

    def plan(self, items: Sequence[Item]) -> Plan: ...

    def writer(self, number: int) -> contextlib.AbstractContextManager[Any]: ...
