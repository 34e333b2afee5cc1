"""Inverts a collection in one piece: every result in files of its own, one row per portrait.

An input is one portrait, or, where it is aligned, as many as faces were found in it.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxface.errors import UsageError
from jaxface.jobs.bar import Bar
from jaxface.jobs.heartbeat import Heartbeat
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.portraits import (
    Portrait,
    prefetch_portraits,
    refuse_face_names,
    shown_target,
)
from jaxface.jobs.launchers import Share
from jaxface.jobs.outputs.contact_sheet import Cell, write_contact_sheet
from jaxface.jobs.outputs.results import OK, ResultsFolder, cannot_write
from jaxface.jobs.outputs.snapshots import read_checkpoint, write_checkpoint
from jaxface.jobs.runner import PREFETCH, Embedder, Inversion, face_columns
from jaxface.jobs.storage import remove
from jaxface.media.images import read_image
from jaxface.runtime.stopping import Stopped

CHECKPOINT_FILE = ".checkpoint.safetensors"  # portraits under way when the job was stopped
SHEET_CELLS = 64  # inputs on the contact sheet; more would make a picture too large to open


def invert_collection(
    items: Sequence[Item],
    results: ResultsFolder,
    inversion: Inversion,
    *,
    batch_size: int | None = None,
    retry_failed: bool = False,
    show_progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """Embeds every item that has no row yet, and draws the contact sheet.

    Args:
      items: with distinct ids.
      results: open; rows and files go there, batch by batch.
      inversion: what to do.
      batch_size: see `jaxface.jobs.runner.Embedder`.
      retry_failed: do inputs again whose row is not `ok`.
      show_progress: a progress bar on stderr.
      stop: asked now and then; when it says so the portraits under way are stored as they are, and
        the same call goes on with them.

    Returns:
      One row per portrait, in the order of `items`, faces of one picture from left to right.

    Raises:
      UsageError: an item's id belongs to another input of this folder, a picture that was begun has
        other faces than before, or the results cannot be written; what was finished before is kept.
      SuiteError: the suite lacks a network.
      Stopped: `stop` said so.
      JaxfaceError: a process that looks for faces was killed, or the memory ran out.
    """
    _refuse_other_inputs(items, results)
    if inversion.alignment is not None:
        refuse_face_names([item.id for item in items])
    if retry_failed:
        wanted = {item.id for item in items}
        failed = [row for row in results.rows.values() if row["status"] != OK]
        results.forget([row["id"] for row in failed if _input_of(row) in wanted])
    finished = finished_rows(items, results)
    pending = [item for item, rows in zip(items, finished, strict=True) if not rows]
    size = inversion.suite.generator.resolution

    def known(portrait: Portrait) -> bool:
        if portrait.id not in results.rows:
            return False
        _refuse_other_faces(portrait, results)  # a stopped run finished some faces of a picture
        return True

    with (
        Bar(len(pending), sum(map(len, finished)), show_progress) as bar,
        Heartbeat(
            str(results.folder), Share(), total=len(items), done=len(items) - len(pending)
        ) as heartbeat,
        prefetch_portraits(pending, size, inversion.alignment, ahead=PREFETCH) as found,
    ):
        embedder = Embedder(
            inversion, batch_size=batch_size, inputs=len(pending), bar=bar, stop=stop
        )
        begun: set[str] = set()
        checkpoint = str(results.folder / CHECKPOINT_FILE)
        try:
            saved = read_checkpoint(checkpoint)
            for some in embedder.results(found, known=known, saved=saved):
                results.add(some)
                inputs = {result.row["input"] for result in some} - begun
                begun |= inputs
                heartbeat.advance(len(inputs))
            remove(checkpoint)
        except Stopped as stopped:
            write_checkpoint(checkpoint, stopped.rows)
            raise
        except OSError as error:
            raise cannot_write(str(results.folder), error) from error
    finished = finished_rows(items, results)
    _draw_sheet(items, finished, results, size)
    return [row for rows in finished for row in rows]


def finished_rows(items: Sequence[Item], results: ResultsFolder) -> list[list[dict[str, Any]]]:
    """Each item's rows, faces from left to right; none for an item that is not finished.

    An item of several faces is finished when all of them are.
    """
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in results.rows.values():
        found[_input_of(row)].append(row)
    finished = []
    for item in items:
        rows = found.get(item.id, [])
        if rows and rows[0]["id"] != item.id:  # faces with numbers of their own
            complete = len(rows) == rows[0]["face"]["of"]
            rows = sorted(rows, key=lambda row: row["face"]["number"]) if complete else []
        finished.append(rows)
    return finished


def _draw_sheet(
    items: Sequence[Item],
    finished: Sequence[list[dict[str, Any]]],
    results: ResultsFolder,
    size: int,
) -> None:
    pairs = [(item, row) for item, rows in zip(items, finished, strict=True) for row in rows]
    cells = []
    for item, row in pairs[:SHEET_CELLS]:
        target = shown_target(item, row, size)
        if row["status"] == OK:
            found = read_image(results.picture_path(row["id"])).pixels
            cells.append(Cell(row["id"], _decibels(row["psnr"]), (target, found)))
        else:
            cells.append(Cell(row["id"], row["status"], (target, None)))
    shown = f"first {len(cells)} of " if len(cells) < len(pairs) else ""
    title = f"target | reconstruction, {shown}{len(pairs)} portraits"
    write_contact_sheet(results.sheet_path, cells, title=title)


def _refuse_other_inputs(items: Sequence[Item], results: ResultsFolder) -> None:
    """An id that is finished must have come from the same path."""
    paths = {_input_of(row): row.get("path") for row in results.rows.values()}
    for item in items:
        before = paths.get(item.id) or item.path
        if before != item.path and Path(before).absolute() != Path(item.path).absolute():
            raise UsageError(
                f"{results.folder}: {item.id} was made from {before} there, and is {item.path} "
                "now; use another --out"
            )


def _refuse_other_faces(portrait: Portrait, results: ResultsFolder) -> None:
    """A picture whose faces were finished in part must still be the same picture."""
    before = results.rows[portrait.id]
    here = face_columns(portrait)
    if any(before.get(name) != value for name, value in here.items()):
        raise UsageError(
            f"{results.folder}: {portrait.item.path} has other faces now than when it was begun; "
            "use another --out"
        )


def _input_of(row: dict[str, Any]) -> str:
    """The id of the input that a row belongs to."""
    return row.get("input", row["id"])


def _decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f} dB"
