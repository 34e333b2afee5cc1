"""Edits a collection of embeddings: reads, batches, edits and records, one row per embedding.

As the inversion job: batches of one size, the last one filled up with copies, so nothing recompiles
and an item's result does not depend on which batch it fell into. What cannot be read, or whose edit
is not finite, gets a row that says so.
"""

import dataclasses
import functools
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from tqdm import tqdm

from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.portraits import shown_target
from jaxface.jobs.inversion import SHEET_CELLS
from jaxface.jobs.outputs.contact_sheet import Cell, write_contact_sheet
from jaxface.jobs.outputs.latents import Embedding, EmbeddingError, EmbeddingItem, read_embedding
from jaxface.jobs.outputs.results import OK, ResultsFolder, cannot_write
from jaxface.jobs.runner import versions
from jaxface.losses import identity
from jaxface.media.images import read_image, write_png
from jaxface.media.video import ping_pong, write_gif, write_mp4
from jaxface.methods import pie
from jaxface.methods.linear_directions import Move
from jaxface.nets import Generator
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.runtime.files import atomic_writer
from jaxface.suite import Suite, identity_network

NOT_FINITE = "not_finite"
PICTURES = "edits"
"""The subfolder of the edited pictures, in place of an inversion's reconstructions."""


@dataclasses.dataclass(frozen=True)
class Attribute:
    """A named parameter of a target, for captions.

    Attributes:
      name: as the user knows it.
      place: among its group's parameters.
      unit: what one of the user's units is, such as a degree in radians.
    """

    name: str
    place: int
    unit: float


@dataclasses.dataclass(frozen=True)
class Animation:
    """A sequence from the embedding to its edit.

    Attributes:
      frames: at least 2.
      seconds: from the first to the last frame.
      mp4: an MP4 beside the GIF.
    """

    frames: int
    seconds: float
    mp4: bool


@dataclasses.dataclass(frozen=True)
class Editing:
    """What is done to each embedding.

    Attributes:
      suite: has a generator; for targets, a reconstruction network and the RigNets of their groups;
        for moves, their directions.
      targets: by semantic group.
      moves: made after them.
      asked: what the user asked for, JSON-like: with the suite, it decides the results.
      attributes: by group, the named parameters among the targets.
      feedback: rounds of feedback.
      animation: None for pictures alone.
    """

    suite: Suite
    targets: Mapping[str, pie.Target]
    moves: Sequence[Move]
    asked: Mapping[str, Any]
    attributes: Mapping[str, Sequence[Attribute]]
    feedback: int
    animation: Animation | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """The suite's networks that decide the results."""
        rigs = [f"rignet_{group}" for group in self.targets]
        directions = [f"direction_{move.directions}" for move in self.moves]
        return ("generator", *(["reconstruction", *rigs] if rigs else []), *directions)

    def description(self) -> dict[str, Any]:
        """Everything that decides the results, JSON-like; the job's settings on resume."""
        for role in self.roles:
            self.suite.metadata(role)  # raises SuiteError if it is missing
        return {
            "asked": dict(self.asked),
            "feedback": self.feedback,
            "sequence": None if self.animation is None else dataclasses.asdict(self.animation),
            "suite": {role: self.suite.digest(role) for role in self.roles},
        }


def edit_collection(
    items: Sequence[EmbeddingItem],
    results: ResultsFolder,
    editing: Editing,
    *,
    batch_size: int,
    retry_failed: bool = False,
    show_progress: bool = True,
) -> list[dict[str, Any]]:
    """Edits every embedding that has no row yet, and draws the contact sheet.

    Args:
      items: with distinct ids.
      results: open, with `PICTURES` as its pictures; rows and files go there, batch by batch.
      editing: what to do.
      batch_size: rows of the compiled programs, >= 1.
      retry_failed: do embeddings again whose row is not `ok`.
      show_progress: a progress bar on stderr.

    Returns:
      One row per item, in their order.

    Raises:
      UsageError: the results cannot be written; what was finished before is kept.
      SuiteError: the suite lacks a network.
    """
    if retry_failed:
        results.forget([item.id for item in items if _failed(results.rows.get(item.id))])
    pending = [item for item in items if item.id not in results.rows]
    generator = editing.suite.generator
    shape = (generator.num_ws, generator.config.w_dim)
    batches: dict[str, list[tuple[EmbeddingItem, Embedding]]] = {"const": [], "none": []}
    with tqdm(
        total=len(items),
        initial=len(items) - len(pending),
        disable=not show_progress,
        mininterval=0.5 if sys.stderr.isatty() else 30,
    ) as bar:

        def record(rows: list[dict[str, Any]]) -> None:
            try:
                results.append(rows)
            except OSError as error:
                raise cannot_write(str(results.folder), error) from error
            bar.update(len(rows))

        for item in pending:
            try:
                embedding = read_embedding(item.path, shape)
            except EmbeddingError as error:
                record([_row(editing, item, {}, error.status, str(error))])
                continue
            batch = batches[embedding.noise]
            batch.append((item, embedding))
            if len(batch) == batch_size:
                record(_edit_batch(batch, results, editing, batch_size))
                batch.clear()
        for batch in batches.values():
            if batch:
                record(_edit_batch(batch, results, editing, batch_size))
    rows = [results.rows[item.id] for item in items]
    _draw_sheet(rows, results, editing)
    return rows


def described(editing: Editing, row: Mapping[str, Any]) -> str:
    """What an edit asked for and gave, such as "yaw 20.0 -> 19.4, before 2.1".

    Of what has no named parameter, the group or the direction alone.
    """
    parts = []
    for group, found in row["edits"].items():
        for each in editing.attributes.get(group, ()):
            wanted, before, after = (
                found[when][each.place] / each.unit for when in ("wanted", "before", "after")
            )
            parts.append(f"{each.name} {wanted:.1f} -> {after:.1f}, before {before:.1f}")
        if group not in editing.attributes:
            parts.append(group)
    parts += [f"{move.directions}.{move.name} {move.strength:+g}" for move in editing.moves]
    return "; ".join(parts)


def _failed(row: Mapping[str, Any] | None) -> bool:
    return row is not None and row["status"] != OK


def _edit_batch(
    batch: list[tuple[EmbeddingItem, Embedding]],
    results: ResultsFolder,
    editing: Editing,
    batch_size: int,
) -> list[dict[str, Any]]:
    """Edits up to `batch_size` embeddings of one noise and writes their files; returns rows."""
    begin = time.perf_counter()
    count = len(batch)
    padded = batch + batch[:1] * (batch_size - count)
    w_plus = np.stack([embedding.w_plus for _, embedding in padded])
    noise: Any = batch[0][1].noise
    edits, edited, images = _edited(editing, jnp.asarray(w_plus), noise)
    distances = np.full(batch_size, np.nan)
    recognition = identity_network(editing.suite)
    if recognition is not None:
        before = _draw(editing.suite.generator, jnp.asarray(w_plus), noise)
        distances = _distances(recognition, before, images)
    edited, images, distances = jax.device_get((edited, images, distances))
    parameters = {
        group: jax.device_get({name: getattr(edit, name).group(group) for name in _MOMENTS})
        for group, edit in edits.items()
    }
    seconds = (time.perf_counter() - begin) / count
    rows = []
    for index, (item, embedding) in enumerate(batch):
        row = _row(editing, item, embedding.header, OK, None)
        if not (np.isfinite(edited[index]).all() and np.isfinite(images[index]).all()):
            row |= {"status": NOT_FINITE, "reason": "the edited latent or picture is not finite"}
            rows.append(row)
            continue
        row["edits"] = {
            group: {name: _numbers(values[index]) for name, values in moments.items()}
            for group, moments in parameters.items()
        }
        distance = float(distances[index])
        row["identity_distance"] = distance if math.isfinite(distance) else None
        row["seconds"] = round(seconds, 3)
        _write_files(results, editing, row, embedding, edited[index], images[index])
        rows.append(row)
    return rows


_MOMENTS = ("wanted", "before", "after")


def _edited(
    editing: Editing, w_plus: jax.Array, noise: Any
) -> tuple[dict[str, pie.Edit], jax.Array, jax.Array]:
    """The edits by group, and the latents and pictures that all edits and moves give."""
    edits, images = {}, None
    if editing.targets:
        edits = pie.edit_groups(
            editing.suite, w_plus, editing.targets, feedback=editing.feedback, noise=noise
        )
        last = list(edits.values())[-1]
        w_plus, images = last.w_plus, last.images
    if editing.moves or images is None:
        for move in editing.moves:
            w_plus = move.applied(editing.suite, w_plus)
        images = _draw(editing.suite.generator, w_plus, noise)
    return edits, w_plus, images


def _row(
    editing: Editing,
    item: EmbeddingItem,
    header: Mapping[str, str],
    status: str,
    reason: str | None,
) -> dict[str, Any]:
    """A row of `results.jsonl` with every column; those that a failed input lacks are null."""
    transform = header.get("transform")
    return {
        "id": item.id,
        "input": item.id,
        "path": str(item.path),
        "status": status,
        "reason": reason,
        "notes": [],
        "source": header.get("path"),
        "transform": None if transform is None else json.loads(transform),
        "psnr": _float(header.get("psnr")),
        "ssim": None,
        "perceptual": None,
        "identity_distance": None,
        "edits": {},
        "seconds": None,
        "key": header.get("key"),
        "latents": None,
        "edited": None,
        "sequence": [],
        "settings": {
            "suite": editing.suite.name,
            "noise": header.get("settings.noise"),
            "feedback": editing.feedback,
            **editing.asked,
        },
        "versions": versions(),
    }


def _write_files(
    results: ResultsFolder,
    editing: Editing,
    row: dict[str, Any],
    embedding: Embedding,
    w_plus: np.ndarray,
    image: np.ndarray,
) -> None:
    """Writes an edit's latents, picture and sequence and enters them in its row."""
    latents, picture = results.latents_path(row["id"]), results.picture_path(row["id"])
    # What made the embedding stays in the header, so that an edit can be edited again.
    metadata = embedding.header | {
        "id": row["id"],
        "settings.suite": editing.suite.name,
        "settings.generator": editing.suite.digest("generator"),
        "edited": json.dumps(row["settings"]),
    }
    tensors = {"w_plus": np.ascontiguousarray(w_plus, np.float32)}
    written = []
    try:
        with atomic_writer(latents) as file:
            file.write(safetensors.numpy.save(tensors, metadata))
        write_png(picture, image)
        if (animation := editing.animation) is not None:
            codes = pie.interpolate(embedding.w_plus, w_plus, animation.frames)
            frames = ping_pong(_draw(editing.suite.generator, codes, embedding.noise))
            path = results.folder / "sequences" / f"{row['id']}.gif"
            seconds = 2 * animation.seconds
            write_gif(path, frames, seconds=seconds)
            written.append(path)
            if animation.mp4:
                path = path.with_suffix(".mp4")
                write_mp4(path, frames, seconds=seconds)
                written.append(path)
    except OSError as error:
        raise cannot_write(str(results.folder), error) from error
    row["latents"] = latents.relative_to(results.folder).as_posix()
    row["edited"] = picture.relative_to(results.folder).as_posix()
    row["sequence"] = [path.relative_to(results.folder).as_posix() for path in written]


def _draw_sheet(
    rows: Sequence[Mapping[str, Any]], results: ResultsFolder, editing: Editing
) -> None:
    generator = editing.suite.generator
    shape, size = (generator.num_ws, generator.config.w_dim), generator.resolution
    cells = []
    for row in rows[:SHEET_CELLS]:
        if row["status"] != OK:
            cells.append(Cell(row["id"], row["status"], (None, None, None)))
            continue
        try:
            embedding = read_embedding(Path(row["path"]), shape)
            codes = jnp.asarray(embedding.w_plus)[None]
            reconstruction = np.asarray(_draw(generator, codes, embedding.noise)[0])
        except EmbeddingError:  # gone since it was edited
            reconstruction = None
        edited = read_image(results.picture_path(row["id"])).pixels
        pictures = (_source(row, size), reconstruction, edited)
        cells.append(Cell(row["id"], described(editing, row), pictures))
    shown = f"first {len(cells)} of " if len(cells) < len(rows) else ""
    title = f"source | reconstruction | edited, {shown}{len(rows)} embeddings"
    write_contact_sheet(results.sheet_path, cells, title=title, columns=3)


def _source(row: Mapping[str, Any], size: int) -> np.ndarray | None:
    """The portrait that was embedded, where its file can still be read."""
    if row["source"] is None:
        return None
    load = functools.partial(read_image, row["source"])
    return shown_target(Item(row["id"], row["source"], load), dict(row), size)


@functools.partial(jax.jit, static_argnames="noise")
def _draw(generator: Generator, w_plus: jax.Array, noise: Any) -> jax.Array:
    return generator.synthesis(w_plus, noise=noise)


@jax.jit
def _distances(recognition: Any, before: jax.Array, after: jax.Array) -> jax.Array:
    found, wanted = (portrait_embeddings(recognition, images) for images in (after, before))
    return identity.distance(found, wanted)


def _numbers(values: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in values]


def _float(text: str | None) -> float | None:
    return None if text in (None, "None") else float(text)
