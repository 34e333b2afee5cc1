"""Shards done on a Ray cluster: the shards are a Ray Data set, and actors write them.

Ray places the actors where the cluster has their GPUs, starts more as it grows, and replaces those
that are lost; what a lost one was writing is done again by another. The folder, its files and the
promise that every input has one result are those of `jaxface.jobs.outputs.shards`. One process, the
driver, holds the folder and tells of the progress; when it is asked to stop it leaves word for the
actors in the folder, and they store what they have of their shards. All hosts must see inputs,
networks and output under the same names; environment variables (JAX_COMPILATION_CACHE_DIR) are
those that Ray was started with.
"""

import contextlib
import dataclasses
import json
import math
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxface.errors import JaxfaceError, UsageError
from jaxface.jobs.heartbeat import Heartbeat
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.job import do_piece
from jaxface.jobs.outputs.shards import ShardsFolder
from jaxface.jobs.runner import PREFETCH, Runner
from jaxface.jobs.storage import join, names_in, remove, write_bytes
from jaxface.jobs.task import Plan, Task
from jaxface.runtime.devices import compute_dtype
from jaxface.runtime.progress import JobProgress
from jaxface.runtime.stopping import Stopped

# Of a cluster that is started here. Only names and counts pass through it.
_OBJECT_STORE = 100 * 2**20

# Actors look for the word to stop this often, and have so long to store what they have: together
# with the end of Ray less than `jaxface.runtime.stopping.GRACE`. In seconds.
_LOOK_EVERY = 2.0
_SHUTDOWN_TIMEOUT = 18.0


@dataclasses.dataclass(frozen=True)
class Fleet:
    """How many actors there are, and what each takes of the cluster.

    Attributes:
      actors: at least 1; None for as many as the cluster has room for, at any time.
      gpus: of each, may be a part of one; None for 1 where the cluster has any, else 0.
      cpus: of each.

    Raises:
      UsageError: a number is out of its range.
    """

    actors: int | None = None
    gpus: float | None = None
    cpus: float = 1

    def __post_init__(self):
        if self.actors is not None and self.actors < 1:
            raise UsageError(f"--actors: expected at least 1, got {self.actors}")
        if (self.gpus or 0) < 0 or self.cpus <= 0:
            raise UsageError(
                f"--actor-gpus must be 0 or more and --actor-cpus above 0, got {self.gpus} and "
                f"{self.cpus}"
            )


def require_ray() -> Any:
    """Ray, without which nothing here works.

    Raises:
      UsageError: it is not installed.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            f'--engine ray needs Ray Data ({error}): pip install "jaxface[ray]"'
        ) from error
    return ray


def actors_dtype(fleet: Fleet) -> str:
    """What `jaxface.runtime.devices.compute_dtype` says where the fleet's actors run, one of which
    it asks.

    Raises:
      UsageError: Ray is not installed or its cluster cannot be reached.
    """
    ray = require_ray()
    with _cluster(ray):
        asked = ray.remote(num_gpus=_gpus(ray, fleet), num_cpus=fleet.cpus)(compute_dtype)
        return ray.get(asked.remote())


def pieces_on_ray(
    plan: Plan,
    sink: Any,
    task: Task,
    fleet: Fleet,
    *,
    batch_size: int | None,
    stop: Callable[[], bool],
    heartbeat: Heartbeat,
) -> Iterator[dict[str, Any]]:
    """Does what a plan leaves, on the cluster that RAY_ADDRESS names or on one started here.

    Args:
      plan: what is left.
      sink: a `ShardsFolder`, open, with a share that is the whole.
      task: what to do.
      fleet: who does it.
      batch_size: see `jaxface.jobs.runner.Runner`; by default chosen by each actor.
      stop: asked twice a second; when it says so the actors store what they have of their shards,
        and the next call goes on with it.
      heartbeat: kept beating.

    Yields:
      ``inputs`` and ``statuses`` of each shard as it is finished.

    Raises:
      UsageError: Ray is not installed or its cluster cannot be reached.
      JaxfaceError: a shard cannot be done; the message is its actor's.
      Stopped: `stop` said so.
    """
    ray = require_ray()
    if not plan.waiting:
        return
    work = _Work(
        task.unloaded(),  # every actor loads networks of its own
        sink.unlocked(),
        batch_size,
        max(map(len, plan.waiting.values())),
        os.getcwd(),
    )
    flag = _StopFlag(sink.folder)
    with _cluster(ray), flag.kept():
        for row in _polled(lambda: _rows(ray, plan.waiting, work, fleet), stop, flag, heartbeat):
            if row["error"] is not None:
                raise JaxfaceError(row["error"])
            if row["summary"] is not None:  # else it was stopped
                yield json.loads(row["summary"])


@dataclasses.dataclass(frozen=True)
class _Work:
    """What an actor is told."""

    task: Task
    folder: ShardsFolder
    batch_size: int | None
    inputs: int  # of the largest shard, for the size of the batch
    working_folder: str


class _StopFlag:
    """The word to stop: an empty file in the output folder, which driver and actors have in common.

    Called, it tells whether it was given; files are looked at every `_LOOK_EVERY` seconds.
    """

    _NAME = ".stop"

    def __init__(self, folder: str):
        self._folder, self._given, self._looked = folder, False, -math.inf

    def __call__(self) -> bool:
        if not self._given and time.monotonic() - self._looked > _LOOK_EVERY:
            self._given = self._NAME in names_in(self._folder)
            self._looked = time.monotonic()
        return self._given

    def give(self) -> None:
        write_bytes(join(self._folder, self._NAME), b"")

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Within the block it is given only if the block gives it."""
        try:
            remove(join(self._folder, self._NAME))  # of a driver that was killed
            yield
        finally:
            remove(join(self._folder, self._NAME))


class _Writer:
    """An actor: writes one shard after the other, with programs that are compiled once."""

    def __init__(self, work: _Work):
        self._work = work
        with contextlib.suppress(OSError):  # another host may lack it; absolute names do there
            os.chdir(work.working_folder)
        self._bar = JobProgress(0, 0, show=False)
        self._stop = _StopFlag(work.folder.folder)
        self._runner = Runner(
            work.task,
            batch_size=work.batch_size,
            inputs=work.inputs,
            bar=self._bar,
            stop=self._stop,
        )

    def __call__(self, batch: Any) -> dict[str, list[Any]]:
        """A shard's number and items to its summary, or to an error's words; neither if stopped."""
        (row,) = batch.to_pylist()
        summary, error = None, None
        try:
            if not self._stop():
                summary = json.dumps(self._written(row["number"], pickle.loads(row["items"])))
        except Stopped:
            pass  # what there is of the shard is stored
        except JaxfaceError as raised:
            error = str(raised)
        except Exception as raised:  # noqa: BLE001 (Ray would bury it under words of its own)
            traceback.print_exc()  # for the actor's log
            error = f"{type(raised).__name__}: {raised}"
        return {"summary": [summary], "error": [error]}

    def _written(self, number: int, items: Sequence[Item]) -> dict[str, Any]:
        work = self._work
        # An actor that was lost after its last write: the shard is there, its answer is not.
        if (summary := work.folder.summary(number)) is not None:
            return summary
        with work.task.prefetch(items, ahead=PREFETCH) as prepared:
            shard = do_piece(
                number, iter(prepared), len(items), work.folder, self._runner, self._bar
            )
        return {"inputs": shard.inputs, "statuses": dict(shard.statuses)}


def _rows(ray: Any, waiting: dict[int, list[Item]], work: _Work, fleet: Fleet) -> Iterator[Any]:
    """The answers of the actors, as they come."""
    shards = [{"number": number, "items": pickle.dumps(items)} for number, items in waiting.items()]
    dataset = ray.data.from_items(shards, override_num_blocks=len(shards)).map_batches(
        _Writer,
        fn_constructor_args=(work,),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            min_size=min(fleet.actors or 1, len(shards)),
            max_size=min(fleet.actors or len(shards), len(shards)),
            # A shard takes minutes: none may wait for an actor that has one while another is idle.
            max_tasks_in_flight_per_actor=1,
        ),
        num_gpus=_gpus(ray, fleet),
        num_cpus=fleet.cpus,
        # For ever: whatever takes an actor away, another one does its shard.
        max_restarts=-1,
        max_task_retries=-1,
    )
    yield from dataset.iter_rows()


def _gpus(ray: Any, fleet: Fleet) -> float:
    """Of each actor."""
    if fleet.gpus is not None:
        return fleet.gpus
    return 1 if ray.cluster_resources().get("GPU") else 0


@contextlib.contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """Connects to the cluster that is named in the environment, or starts one on this host."""
    address = os.environ.get("RAY_ADDRESS", "local")
    started = {"object_store_memory": _OBJECT_STORE, "include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            **(started if address == "local" else {}),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"--engine ray: no cluster at {address}: {error}") from error
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own there
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        yield
    finally:
        ray.shutdown()


def _polled(
    rows: Callable[[], Iterator[Any]],
    stop: Callable[[], bool],
    flag: _StopFlag,
    heartbeat: Heartbeat,
) -> Iterator[Any]:
    """`rows()`, read in a thread of its own, so that a request to stop is heard between two.

    It is passed on to the actors, whose answers are waited for; then `Stopped` is raised.
    """
    answers: queue.Queue[tuple[str, Any]] = queue.Queue()

    def read() -> None:
        try:
            for row in rows():
                answers.put(("row", row))
            answers.put(("end", None))
        except Exception as error:  # noqa: BLE001 (it is raised again below)
            answers.put(("error", error))

    threading.Thread(target=read, daemon=True).start()
    last = math.inf
    while time.monotonic() < last:
        if last == math.inf and stop():
            flag.give()
            last = time.monotonic() + _SHUTDOWN_TIMEOUT
        try:
            kind, value = answers.get(timeout=0.5)
        except queue.Empty:
            heartbeat.advance(0)  # a shard may take longer than a process may be silent
            continue
        if kind == "error":
            # Ray's words end with the reason, after the places that it came from.
            reason = (str(value).strip().splitlines() or [repr(value)])[-1]
            raise JaxfaceError(f"--engine ray: {reason}") from value
        if kind == "end":
            break
        yield value
    if last < math.inf:
        raise Stopped("stopped", {})
