"""What jobs have in common that draw embedded portraits as a driver moves.

A row is a frame of a subject. Rows of many subjects are drawn in one batch by one program; a
generator that was tuned to a person draws that person's rows alone. What cannot be read, or whose
image is not finite, gets a row that says so. `jaxface.jobs.reenactment` is driven by motion,
`jaxface.jobs.image_reenactment` by images.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxface.jobs.inputs.drivers import Beyond, driven_items
from jaxface.jobs.inputs.driving import DrivingCodes, DrivingMotion
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.latents import LatentError, read_latent
from jaxface.jobs.latent_task import AGAIN, NOT_FINITE, LatentCase, LatentTask
from jaxface.jobs.outputs.contact_sheet import LARGE, SHEET_CELLS, Cell, write_contact_sheet
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.outputs.rows import FRAME_COLUMNS, OK, Column, Result, versions
from jaxface.media.images import (
    MAX_PIXELS,
    decoding_bytes,
    read_image,
    to_uint8,
)
from jaxface.methods.direction_matrix.faces import reading_roles
from jaxface.methods.reenactment import BatchReenactor, ImageReenactor, Moved
from jaxface.nets import Generator
from jaxface.runtime.devices import batch_over_devices
from jaxface.solving.continuous_batching import Outcome, Problem, Snapshot
from jaxface.solving.one_pass import OnePassBatcher, Step

BATCH, CPU_BATCH = 16, 8  # frames drawn together on each device, where there are that many

_COLUMNS = {
    "source": Column("text"),
    "transform": Column("json"),
    "psnr": Column("number"),
    "motion": Column("json"),
    "seconds": Column("number"),
    "key": Column("text"),
    "latents": Column("file"),
    "edited": Column("file"),
    "pasted": Column("file"),
    "weights": Column("text"),
    **dict.fromkeys(FRAME_COLUMNS, Column("json")),
    AGAIN: Column("json"),
}


class ReenactmentNetworks(NamedTuple):
    """What the program reads.

    Attributes:
      generator: draws.
      method: of `BatchReenactor.networks`.
    """

    generator: Generator
    method: Any


class Frame(NamedTuple):
    """A frame that is to be drawn.

    Attributes:
      subject: the place of its embedding among the subjects.
      values: the driver's motion then, by field, or its code.
    """

    subject: int
    values: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Frames:
    """What a driver makes of subjects.

    Attributes:
      items: a frame each; see `jaxface.jobs.inputs.drivers.driven_items`.
      subjects: the embeddings.
      wanted: by the item's id.
    """

    items: tuple[Item, ...]
    subjects: tuple[Item, ...]
    wanted: Mapping[str, Frame]


def frames_of(
    subjects: Sequence[Item], driving: DrivingMotion | DrivingCodes, beyond: Beyond
) -> Frames:
    """The frames of embedded subjects that a driver moves.

    Args:
      subjects: embeddings that can be read. A portrait gets a frame for each of the driver's; with
        a driver of one frame, one image. Frames of a clip keep their times.
      driving: of all of them.
      beyond: what comes after the driver's end, for longer clips.
    """
    stills = [item for item in subjects if "frame" not in _header(item)]
    moving = [item for item in subjects if "frame" in _header(item)]
    places = {item.path: place for place, item in enumerate(subjects)}
    if driving.moves:
        moving, stills = list(subjects), []
    items, values = driven_items(moving, driving.driver, beyond)
    values |= {item.id: {n: v[0] for n, v in driving.driver.values.items()} for item in stills}
    wanted = {item.id: Frame(places[item.path], values[item.id]) for item in [*stills, *items]}
    return Frames((*stills, *items), tuple(subjects), wanted)


def _header(item: Item) -> Mapping[str, str]:
    latent: Any = item.load()
    return latent.header


@dataclasses.dataclass(frozen=True)
class DrivenTask(LatentTask):
    """How subjects are driven, whatever they are driven by.

    Attributes:
      suite: has a generator and what the method needs.
      name: of the method.
      method: reads and moves.
      driving: the driver.
      frames: what is drawn.
      asked: what the user asked for beside these, JSON-like.
      paste_back: whether single images are put back into their photographs.
      keep_unedited: whether the image that a frame starts from is stored beside it, for pasting.
    """

    name: str
    method: BatchReenactor | ImageReenactor
    driving: DrivingMotion | DrivingCodes
    frames: Frames
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    paste_back: bool = False
    keep_unedited: bool = False

    expected = frozenset([OK])

    def how(self) -> dict[str, Any]:
        """How the driver is followed, JSON-like; a part of the task's description."""
        return {}

    def abstract_inputs(self) -> dict[str, Any]:
        """What a row needs beside its latent, as shapes without the batch's axis."""
        raise NotImplementedError

    def inputs(self, case_id: str, frame: Frame) -> dict[str, Any]:
        """The same of a frame, as arrays."""
        raise NotImplementedError

    def said(self, case_id: str) -> dict[str, Any]:
        """Columns of the row of a frame that is drawn."""
        del case_id
        return {}

    def prominence(self, row: Mapping[str, Any]) -> float:
        """The frame of a subject where this is largest is shown, >= 0; at first the first one."""
        del row
        return 0.0

    def described(self, row: Mapping[str, Any]) -> str:
        """A frame in a few words."""
        raise NotImplementedError

    def span(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Several frames of one subject in a few words; "" for none."""
        del rows
        return ""

    @property
    def columns(self) -> Mapping[str, Column]:
        """See `Task`."""
        return _COLUMNS | ({"unedited": Column("file")} if self.keep_unedited else {})

    @property
    def reading_bytes(self) -> int:
        """See `Task`: photographs, where frames are pasted back."""
        return decoding_bytes(MAX_PIXELS) if self.paste_back else 0

    @property
    def files(self) -> tuple[str, ...]:
        """See `Task`."""
        kept = ["unedited"] if self.keep_unedited else []
        return ("edited", *(["pasted"] if self.paste_back else []), *kept)

    def description(self) -> dict[str, Any]:
        """See `Task`."""
        needed = self.method.driving_roles()
        self.suite.require(needed)
        # Subjects are read for their motion; a driver's is in its digest.
        readers = reading_roles(self.suite) if isinstance(self.driving, DrivingMotion) else ()
        roles = dict.fromkeys([*needed, *readers])
        return {
            "reenactment": self.name,
            "settings": dataclasses.asdict(self.method),  # type: ignore
            "retargeting": self.how(),
            "driver": {"sha256": self.driving.digest, "frames": len(self.driving.driver.times)},
            "asked": dict(self.asked),
            "suite": {role: self.suite.digest(role) for role in roles},
        }

    def shared_columns(self) -> dict[str, Any]:
        """See `Task`."""
        return {"settings": self._settings, "versions": versions()}

    @functools.cached_property
    def _settings(self) -> dict[str, Any]:
        return {
            "suite": self.suite.name,
            "method": self.name,
            **self.how(),
            "driver": self.driving.digest,
            **self.asked,
        }

    def networks(self) -> ReenactmentNetworks:
        """See `Task`."""
        return self._networks

    @functools.cached_property
    def _networks(self) -> ReenactmentNetworks:
        return ReenactmentNetworks(self.suite.generator, self.method.networks(self.suite))

    def signature(self) -> dict[str, Any]:
        """See `Task`: a latent code, and `abstract_inputs`."""
        w_plus = jax.ShapeDtypeStruct(self.w_plus_shape, np.float32)
        return {"w_plus": w_plus, **self.abstract_inputs()}

    def default_batch_size(self, inputs: int) -> int:
        """See `Task`."""
        most = CPU_BATCH if jax.default_backend() == "cpu" else BATCH
        return batch_over_devices(inputs, most)

    def batcher(self, size: int, mesh: Mesh) -> OnePassBatcher:
        """See `Task`."""
        program = functools.partial(
            driven_program, self.method.move, self.method.draw, self.keep_unedited
        )
        return OnePassBatcher(program, size, mesh=mesh, variants=("const",))

    def problem(self, case: LatentCase, saved: Snapshot) -> Problem:
        """See `Task`."""
        frame = self.frames.wanted[case.id]
        inputs = self.inputs(case.id, frame)
        return Problem(
            case.id,
            {"w_plus": case.latent.w_plus, **inputs},
            np.zeros(2, np.uint32),  # nothing is drawn at random
            saved,
            variant=case.latent.noise,
            networks=self.tuned.generator(frame.subject),
        )

    @functools.cached_property
    def tuned(self) -> "TunedGenerators":
        """Of the subjects."""
        return TunedGenerators(self)

    def result(self, case: LatentCase, outcome: Outcome, row: dict[str, Any]) -> Result:
        """See `Task`."""
        drawn, said = outcome.result, self.said(case.id)
        if not drawn["finite"]:
            reason = "the latent code or the image is not finite"
            return Result(row | {"status": NOT_FINITE, "reason": reason})
        row |= said
        row["seconds"] = round(outcome.seconds, 4)
        return self.stored(
            case, drawn, row, settings=self._settings, paste_back=self.paste_back, unpasted={}
        )

    def draw_sheet(self, items: Sequence[Item], results: ResultsFolder) -> None:
        """The contact sheet of a finished folder: of each subject its most prominent frame."""
        shown: dict[str, tuple[float, dict[str, Any]]] = {}
        for item in items:
            row = results.rows[item.id]
            much = self.prominence(row) if row["status"] == OK else -1.0
            shown[item.path] = max(
                shown.get(item.path, (-2.0, row)), (much, row), key=lambda pair: pair[0]
            )
        cells = []
        for path, (_, row) in list(shown.items())[:SHEET_CELLS]:
            if row["status"] != OK:
                cells.append(Cell(row["id"], row["status"], (None, None)))
                continue
            image = None
            with contextlib.suppress(LatentError):  # gone since it was driven
                subject = next(item for item in self.frames.subjects if item.path == path)
                latent = read_latent(subject, self.w_plus_shape)
                generator = self.own_generator(latent) or self.suite.generator
                codes = jnp.asarray(latent.w_plus)[None]
                image = _draw(generator, codes, method=self.method, noise=latent.noise)
                image = np.asarray(image[0])
            drawn = read_image(results.file_path("edited", row["id"])).pixels
            cells.append(Cell(row["id"], self.described(row), (image, drawn)))
        title = f"{self.name}, {len(self.frames.subjects)} subjects by {self.driving.driver.name}"
        labels = ("subject", "driven")
        write_contact_sheet(
            results.sheet_path, cells, title=title, columns=3, labels=labels, side=LARGE
        )


class TunedGenerators:
    """Generators that are a subject's own, one at a time as their frames come."""

    def __init__(self, task: DrivenTask):
        self._task = task
        self._tuned: tuple[int, dict[str, Any] | None] = (-1, None)

    def generator(self, place: int) -> dict[str, Any] | None:
        """The networks that are a subject's own; the same object for all of its frames.

        Raises:
          LatentError: they cannot be read, or are of another generator.
        """
        if self._tuned[0] != place:
            task = self._task
            latent = read_latent(task.frames.subjects[place], task.w_plus_shape)
            own = task.own_generator(latent)
            self._tuned = (place, None if own is None else {"generator": own})
        return self._tuned[1]


def driven_program(
    move: Callable[..., Moved], draw: Callable[..., Any], unedited: bool, variant: Hashable
) -> Sequence[Step]:
    """The step that draws frames.

    Its inputs are ``w_plus`` [N, L, w_dim] and what the method moves them by, N rows; its results
    ``w_plus``, ``pixels`` and ``unedited``, uint8 [N, R, R, 3], and ``finite`` [N].

    Args:
      move: of the method.
      draw: of the method.
      unedited: whether the image of ``w_plus`` as it came is among the results.
      variant: the generator's noise, "const" or "none".
    """
    return [functools.partial(_move, move, draw, unedited, variant)]


def _move(
    move: Callable[..., Moved],
    draw: Callable[..., Any],
    unedited: bool,
    noise: Any,
    networks: ReenactmentNetworks,
    inputs: dict[str, Any],
    keys: jax.Array,
) -> dict[str, Any]:
    moved = move(networks.method, networks.generator, **inputs, noise=noise)
    finite = jnp.isfinite(moved.w_plus).all((1, 2)) & jnp.isfinite(moved.images).all((1, 2, 3))
    before = {}
    if unedited:
        drawn = draw(networks.generator, inputs["w_plus"], noise=noise)
        before = {"unedited": to_uint8(drawn)}
    return before | {"w_plus": moved.w_plus, "pixels": to_uint8(moved.images), "finite": finite}


@functools.partial(jax.jit, static_argnames=("method", "noise"))
def _draw(generator: Generator, w_plus: Any, *, method: Any, noise: Any) -> jax.Array:
    return method.draw(generator, w_plus, noise=noise)
