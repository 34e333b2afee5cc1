"""How far a job is, and its one index: what `jaxface status` and `jaxface merge` say."""

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from jaxface.errors import UsageError
from jaxface.jobs.heartbeat import read_heartbeats
from jaxface.jobs.outputs.results import ROWS_FILE, read_job
from jaxface.jobs.outputs.rows import FILES, OK, Result, input_of, rows_in
from jaxface.jobs.outputs.shards import SHARDS, finished_shards, results_in, shard_name, shard_of
from jaxface.jobs.storage import join, publish, read_bytes, staged


@dataclasses.dataclass(frozen=True)
class Overview:
    """How far a job is.

    Attributes:
      total: inputs, or None where no process has said so yet.
      done: inputs that are finished.
      shards: (finished, all); None for a job without shards.
      statuses: portraits by status; those of shards that are being written included.
      rate: inputs a second of the processes that run, since each was started; 0 where none does.
      processes: what each last said; see `jaxface.jobs.heartbeat`.
    """

    total: int | None
    done: int
    shards: tuple[int, int] | None
    statuses: Counter[str]
    rate: float
    processes: list[dict[str, Any]]

    @property
    def eta(self) -> float | None:
        """Seconds until it is done at this rate, or None where that cannot be told."""
        if self.total is None or not self.rate:
            return None
        return (self.total - self.done) / self.rate


def overview(folder: str) -> Overview:
    """Looks at a job's folder, local or remote, without disturbing it.

    Raises:
      UsageError: it is no job's folder.
    """
    job = read_job(folder)
    beats = read_heartbeats(folder)
    alive = [beat for beat in beats if beat["alive"]]
    rate = sum(
        (beat["done"] - beat["before"]) / max(beat["updated"] - beat["started"], 1e-9)
        for beat in alive
    )
    if "shards" not in job:
        inputs, statuses = _rows(folder)
        total = max((beat["total"] for beat in beats), default=None)
        return Overview(total, inputs, None, statuses, rate, beats)
    count, kind = job["shards"]["count"], job["shards"]["format"]
    finished = finished_shards(folder, count, kind)
    statuses = Counter()
    for counts in [found["statuses"] for found in finished.values()]:
        statuses.update(counts)
    done = sum(found["inputs"] for found in finished.values())
    for shard in [beat["shard"] for beat in alive]:
        if shard and shard["number"] not in finished:  # done, if nothing happens
            statuses.update(shard["statuses"])
            done += shard["inputs"]
    return Overview(job["inputs"]["count"], done, (len(finished), count), statuses, rate, beats)


def as_json(seen: Overview) -> dict[str, Any]:
    """The overview as JSON: the fields of `Overview`, and ``eta``; `shards` by name."""
    shards = seen.shards and dict(zip(("finished", "count"), seen.shards, strict=True))
    return dataclasses.asdict(seen) | {
        "shards": shards,
        "statuses": dict(seen.statuses),
        "eta": seen.eta,
    }


def describe(seen: Overview) -> str:
    """The overview as lines of text."""
    total = "?" if seen.total is None else f"{seen.total}"
    share = f" ({seen.done / seen.total:.1%})" if seen.total else ""
    lines = [f"{seen.done} of {total} inputs{share}"]
    if seen.shards is not None:
        lines[0] += f", {seen.shards[0]} of {seen.shards[1]} shards"
    failures = {name: count for name, count in seen.statuses.items() if name != OK}
    lines.append(f"{seen.statuses[OK]} portraits ok, {sum(failures.values())} failed")
    lines += [f"  {count} {name}" for name, count in sorted(failures.items())]
    if seen.rate:
        eta = seen.eta
        left = "" if eta is None else f", about {_duration(eta)} left"
        lines.append(f"{seen.rate:.3g} inputs/s, {3600 * seen.rate:.0f} an hour{left}")
    for beat in seen.processes:
        state = beat["state"]
        if state == "running" and not beat["alive"]:
            state = f"lost, silent for {_duration(time.time() - beat['updated'])}"
        lines.append(
            f"process {beat['process']} of {beat['processes']} on {beat['host']}: {state}, "
            f"{beat['done']} of {beat['total']}"
        )
    return "\n".join(lines)


def merge(folder: str) -> Counter[str]:
    """Writes `results.jsonl` of a sharded job: one row per portrait, shard after shard.

    A row is what it is in a job without shards, with ``latents`` (and ``reconstruction``, if kept)
    naming the shard's file and ``shard_row`` the place in it. The file appears whole.

    Returns:
      How many portraits have which status.

    Raises:
      UsageError: it is no sharded job's folder, shards are missing, or a shard holds what it should
        not; no index is written then.
    """
    job = read_job(folder)
    if "shards" not in job:
        raise UsageError(f"{folder}: has no shards; its {ROWS_FILE} is the index")
    count, kind = job["shards"]["count"], job["shards"]["format"]
    missing = count - len(finished_shards(folder, count, kind))
    if missing:
        raise UsageError(
            f"{folder}: {missing} of {count} shards are missing or damaged; the job's command goes "
            "on with them"
        )
    statuses: Counter[str] = Counter()
    inputs = 0
    path = join(folder, ROWS_FILE)
    with staged(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as index:
            for number in range(count):
                name = join(SHARDS, shard_name(number, count, kind))
                seen: dict[str, str] = {}
                for place, result in enumerate(_results(folder, number, count, kind)):
                    row = result.row
                    if row["id"] in seen or shard_of(row["input"], count) != number:
                        raise UsageError(f"{folder}: {name} holds {row['id']} twice or wrongly")
                    seen[row["id"]] = row["input"]
                    statuses[row["status"]] += 1
                    row["latents"] = None if result.w_plus is None else name
                    for column in {FILES[kind].column for kind in FILES} & row.keys():
                        stored = any(FILES[kind].column == column for kind in result.files)
                        row[column] = _named(row[column], name if stored else None)
                    index.write(json.dumps(row | {"shard_row": place}, allow_nan=False) + "\n")
                inputs += len(set(seen.values()))
        if inputs != job["inputs"]["count"]:
            raise UsageError(
                f"{folder}: the shards hold {inputs} inputs, the job has {job['inputs']['count']}"
            )
        publish(temporary, path, replace=True)
    return statuses


def _results(folder: str, number: int, count: int, kind: str) -> Iterator[Result]:
    """A shard's results; one that is damaged within is told by its name."""
    try:
        yield from results_in(folder, number, count, kind)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        name = join(folder, SHARDS, shard_name(number, count, kind))
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{name}: damaged ({reason}); remove it, and the job's command does it again"
        ) from error


def _named(empty: Any, name: str | None) -> Any:
    """The column of files that lie in a shard: its name, in a list where there may be several."""
    if isinstance(empty, list):
        return [name] if name else []
    return name if name is not None else empty


def _rows(folder: str) -> tuple[int, Counter[str]]:
    """Inputs and statuses of the rows so far; a line that is being written is left out."""
    try:
        whole = read_bytes(join(folder, ROWS_FILE)).rpartition(b"\n")[0]
    except FileNotFoundError:
        return 0, Counter()
    rows = rows_in(whole, join(folder, ROWS_FILE))
    return len({input_of(row) for row in rows}), Counter(row["status"] for row in rows)


def _duration(seconds: float) -> str:
    """3700 s as "1 h 1 min"."""
    minutes, hours = int(seconds // 60) % 60, int(seconds // 3600)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
