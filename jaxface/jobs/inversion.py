"""Inverts a collection: reads, aligns, batches, embeds and records, one row per portrait.

An input is one portrait, or, where it is aligned, as many as faces were found in it.

Every batch has the same size. The last one is filled up with copies that are masked out, so nothing
recompiles and an item's result does not depend on which batch it fell into; its random key comes
from its id alone. An input that cannot be read, or whose embedding diverges, gets a row that says
so, and the others go on.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from tqdm import tqdm

from jaxface import __version__
from jaxface.devices import divisor_mesh
from jaxface.errors import JaxfaceError, UsageError
from jaxface.files import atomic_writer
from jaxface.images import ImageError, read_image, write_png
from jaxface.jobs.contact_sheet import Cell, write_contact_sheet
from jaxface.jobs.inputs import Item
from jaxface.jobs.portraits import Alignment, Portrait, prepared, refuse_face_names, shown_target
from jaxface.jobs.results import OK, ResultsFolder
from jaxface.methods import pie
from jaxface.metrics import psnr, ssim
from jaxface.solve import Progress, Status, item_keys
from jaxface.suite import Suite

SHEET_CELLS = 64  # inputs on the contact sheet; more would make a picture too large to open
DIVERGED = "diverged"
ROLES = ("generator", "perceptual")


@dataclasses.dataclass(frozen=True)
class Inversion:
    """What is done to each input.

    Attributes:
      suite: has a generator and perceptual features.
      preset: the name that `settings` go by.
      settings: how a portrait is embedded.
      seed: of the key that every portrait's key is derived from.
      alignment: how faces are found and cut out; None where inputs count as aligned portraits.
    """

    suite: Suite
    preset: str
    settings: pie.Settings
    seed: int
    alignment: Alignment | None = None

    def description(self) -> dict[str, Any]:
        """Everything that decides the results, JSON-like; the job's settings on resume."""
        for role in ROLES:
            self.suite.metadata(role)  # raises SuiteError if it is missing
        return {
            "preset": self.preset,
            "settings": dataclasses.asdict(self.settings),
            "seed": self.seed,
            "suite": {role: _sha256(self.suite.files[role]) for role in ROLES},
            "alignment": None if self.alignment is None else self.alignment.description(),
        }


def default_batch_size(resolution: int, inputs: int) -> int:
    """For each device 16, about 11 GB at 1024 px; on CPU 4, or above 256 px 1.

    Fewer where there are not that many inputs, but the same number for each device.
    """
    each = 16
    if jax.default_backend() == "cpu":
        each = 4 if resolution <= 256 else 1
    devices = jax.local_device_count()
    return devices * min(each, math.ceil(inputs / devices))


def invert_collection(
    items: Sequence[Item],
    results: ResultsFolder,
    inversion: Inversion,
    *,
    batch_size: int,
    retry_failed: bool = False,
    show_progress: bool = True,
) -> list[dict[str, Any]]:
    """Embeds every item that has no row yet, and draws the contact sheet.

    Args:
      items: with distinct ids.
      results: open; rows and files go there, batch by batch.
      inversion: what to do.
      batch_size: rows of the compiled programs, >= 1, split over as many devices as divide it; no
        influence on results beyond rounding.
      retry_failed: do inputs again whose row is not `ok`.
      show_progress: a progress bar on stderr.

    Returns:
      One row per portrait, in the order of `items`, faces of one picture from left to right.

    Raises:
      UsageError: an item's id belongs to another input of this folder, a picture that was begun has
        other faces than before, or the results cannot be written; what was finished before is kept.
      SuiteError: the suite lacks a network.
      JaxfaceError: a process that looks for faces was killed.
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
    with (
        _Bar(len(pending), sum(map(len, finished)), show_progress) as bar,
        prepared(pending, size, inversion.alignment, ahead=batch_size) as portraits,
    ):

        def record(rows: list[dict[str, Any]]) -> None:
            try:
                results.append(rows)
            except OSError as error:
                raise _cannot_write(results, error) from error
            bar.finish(len(rows))

        batch: list[Portrait] = []
        for item, found in portraits:
            if isinstance(found, ImageError):
                record([_row(inversion, item.id, item, found.status, str(found))])
                continue
            bar.widen(len(found) - 1)
            for portrait in found:
                if portrait.id in results.rows:  # a stopped run finished some faces of a picture
                    _refuse_other_faces(portrait, results)
                    bar.finish(1)
                    continue
                batch.append(portrait)
                if len(batch) == batch_size:
                    record(_invert_batch(batch, results, inversion, batch_size, bar))
                    batch = []
        if batch:
            record(_invert_batch(batch, results, inversion, batch_size, bar))
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


def _invert_batch(
    batch: list[Portrait],
    results: ResultsFolder,
    inversion: Inversion,
    batch_size: int,
    bar: "_Bar",
) -> list[dict[str, Any]]:
    """Embeds up to `batch_size` items and writes their files; returns their rows."""
    count = len(batch)
    padded = batch + batch[:1] * (batch_size - count)
    targets = np.stack([portrait.image.pixels for portrait in padded])
    keys = item_keys(jax.random.key(inversion.seed), [portrait.id for portrait in padded])
    bar.begin(count)
    found = pie.invert(
        inversion.suite,
        targets,
        keys=keys,
        settings=inversion.settings,
        mesh=divisor_mesh(batch_size),
        mask=np.arange(batch_size) < count,
        progress=bar.advance,
    )
    # The metrics are those of the picture that is stored, whose pixels are clipped.
    images = np.clip(found.images, -1, 1)
    measures = jax.device_get(_measure(images, targets))
    measures |= {name: found.losses[name] for name in ("perceptual", "loss")}
    rows = []
    for index, portrait in enumerate(batch):
        row = _row(inversion, portrait.id, portrait.item, OK, None) | {
            "notes": list(portrait.image.notes),
            **_face_columns(portrait),
            **{name: _number(values[index]) for name, values in measures.items()},
            "steps": int(found.steps[index]),
            "seconds": round(found.seconds / count, 3),
            "key": "".join(f"{word:08x}" for word in np.asarray(jax.random.key_data(keys[index]))),
        }
        if found.status[index] == Status.DIVERGED:
            row["status"] = DIVERGED
            row["reason"] = f"the energy or its gradient was not finite after {row['steps']} steps"
        else:
            _write_files(results, row, found.w_plus[index], images[index])
        rows.append(row)
    return rows


@jax.jit
def _measure(images: jax.Array, targets: jax.Array) -> dict[str, jax.Array]:
    return {"psnr": psnr(images, targets), "ssim": ssim(images, targets)}


def _face_columns(portrait: Portrait) -> dict[str, Any]:
    """Which face of its input a portrait is, and where it was cut out."""
    if (face := portrait.face) is None:
        return {}
    return {
        "face": {"number": face.number, "of": face.of},
        "transform": face.transform.to_json(),
    }


def _row(
    inversion: Inversion, row_id: str, item: Item, status: str, reason: str | None
) -> dict[str, Any]:
    """A row of `results.jsonl` with every column; those that a failed input lacks are null."""
    settings = {"preset": inversion.preset, "suite": inversion.suite.name, "seed": inversion.seed}
    return {
        "id": row_id,
        "input": item.id,
        "path": item.path,
        "status": status,
        "reason": reason,
        "notes": [],
        "face": None,
        "transform": None,
        "psnr": None,
        "ssim": None,
        "perceptual": None,
        "loss": None,
        "steps": None,
        "seconds": None,
        "key": None,
        "latents": None,
        "reconstruction": None,
        "settings": settings | dataclasses.asdict(inversion.settings),
        "versions": _versions(inversion.alignment),
    }


def _write_files(
    results: ResultsFolder, row: dict[str, Any], w_plus: np.ndarray, image: np.ndarray
) -> None:
    """Writes an item's latents and reconstruction and enters them in its row."""
    latents = results.latents_path(row["id"])
    reconstruction = results.reconstruction_path(row["id"])
    facts = {name: row[name] for name in ("id", "path", "key", "psnr")}
    facts |= {f"settings.{name}": value for name, value in row["settings"].items()}
    facts |= {f"versions.{name}": value for name, value in row["versions"].items()}
    metadata = {name: str(value) for name, value in facts.items()}
    if row["transform"] is not None:
        metadata["transform"] = json.dumps(row["transform"])
    tensors = {"w_plus": np.ascontiguousarray(w_plus, np.float32)}
    try:
        with atomic_writer(latents) as file:
            file.write(safetensors.numpy.save(tensors, metadata))
        write_png(reconstruction, image)
    except OSError as error:
        raise _cannot_write(results, error) from error
    row["latents"] = latents.relative_to(results.folder).as_posix()
    row["reconstruction"] = reconstruction.relative_to(results.folder).as_posix()


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
            found = read_image(results.reconstruction_path(row["id"])).pixels
            cells.append(Cell(row["id"], _decibels(row["psnr"]), target, found))
        else:
            cells.append(Cell(row["id"], row["status"], target))
    shown = f"first {len(cells)} of " if len(cells) < len(pairs) else ""
    title = f"target | reconstruction, {shown}{len(pairs)} portraits"
    write_contact_sheet(results.sheet_path, cells, title=title)


class _Bar:
    """A bar over portraits that also moves within a batch, so that its ETA is known early."""

    def __init__(self, pending: int, done: int, show: bool):
        self._bar = tqdm(
            total=done + pending,
            initial=done,
            disable=not show,
            # A terminal sees it move; a log gets a line now and then.
            mininterval=0.5 if sys.stderr.isatty() else 30,
            bar_format="{l_bar}{bar}| {n:.1f}/{total} [{elapsed}<{remaining}{postfix}]",
        )
        self._done = done
        self._batch = 0

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def begin(self, count: int) -> None:
        """A batch of `count` portraits starts; the first one compiles before it moves."""
        if self._batch == 0:
            self._bar.set_postfix_str("compiling")
        self._batch = count

    def advance(self, progress: Progress) -> None:
        """Called after each chunk of a batch's steps."""
        self._bar.set_postfix_str(f"{progress.stage} {progress.step}/{progress.steps}", False)
        self._to(self._done + self._batch * progress.done / progress.total)

    def finish(self, count: int) -> None:
        """`count` more portraits have their rows."""
        self._done += count
        self._to(self._done)

    def widen(self, count: int) -> None:
        """`count` more portraits are to be done than was known."""
        self._bar.total += count

    def _to(self, position: float) -> None:
        self._bar.update(position - self._bar.n)


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
    here = _face_columns(portrait)
    if any(before.get(name) != value for name, value in here.items()):
        raise UsageError(
            f"{results.folder}: {portrait.item.path} has other faces now than when it was begun; "
            "use another --out"
        )


def _input_of(row: dict[str, Any]) -> str:
    """The id of the input that a row belongs to."""
    return row.get("input", row["id"])


def _cannot_write(results: ResultsFolder, error: OSError) -> JaxfaceError:
    return UsageError(
        f"{results.folder}: cannot be written: {error.strerror}; what is finished is kept, and the "
        "same command goes on from there"
    )


def _versions(alignment: Alignment | None) -> dict[str, str]:
    others = {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")}
    others |= {} if alignment is None else alignment.versions()
    return {"jaxface": __version__, **others, "platform": jax.default_backend()}


def _number(value: Any) -> float | None:
    """A JSON number; null where it is not finite."""
    return float(value) if math.isfinite(value) else None


def _decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f} dB"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
