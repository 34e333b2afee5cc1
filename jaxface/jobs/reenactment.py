"""Reenactment as a job: embedded portraits in, frames in which they move as a driver does out.

A row is a frame of a subject. Rows of many subjects are drawn in one batch by one program; a
generator that was tuned to a person draws that person's rows alone. What cannot be read, or whose
image is not finite, gets a row that says so.
"""

import contextlib
import dataclasses
import functools
import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxface.jobs.editing import NOT_FINITE, LatentCase
from jaxface.jobs.inputs.drivers import Beyond, driven_items
from jaxface.jobs.inputs.driving import DrivingMotion, motion_of_values
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.latents import LatentError, read_latent
from jaxface.jobs.inputs.reading import read_ahead
from jaxface.jobs.outputs.contact_sheet import LARGE, SHEET_CELLS, Cell, write_contact_sheet
from jaxface.jobs.outputs.pasted import pasted_png
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.outputs.rows import FRAME_COLUMNS, OK, Column, Result, numbers, versions
from jaxface.jobs.outputs.tuned import tuned_generator
from jaxface.media.images import (
    MAX_PIXELS,
    ImageError,
    decoding_bytes,
    encode_png,
    read_image,
    to_uint8,
)
from jaxface.methods.reenactment import BatchReenactor
from jaxface.morphable.motion import Basis, Motion
from jaxface.morphable.retargeting import Retargeting
from jaxface.nets import Generator
from jaxface.solving.continuous_batching import Outcome, Problem, Snapshot
from jaxface.solving.one_pass import OnePassBatcher, Step
from jaxface.suite import Suite

BATCH, CPU_BATCH = 16, 8  # frames drawn together on each device, where there are that many
OWN_BATCH = 8  # subjects whose own motion is read together
NO_PHOTOGRAPH = "no_photograph"

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
    "edited_before": Column("json"),
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
      values: the driver's motion then, by field.
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


def frames_of(subjects: Sequence[Item], driving: DrivingMotion, beyond: Beyond) -> Frames:
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
class Reenactment:
    """How subjects are driven; a `jaxface.jobs.task.Task`.

    Attributes:
      suite: has a generator and what the method needs.
      name: of the method.
      method: with the groups that follow.
      retargeting: how the driver's motion becomes a subject's.
      driving: the driver.
      frames: what is drawn.
      asked: what the user asked for beside these, JSON-like.
      paste_back: whether single images are put back into their photographs.
      keep_unedited: whether the image that a frame starts from is stored beside it, for pasting.
    """

    suite: Suite
    name: str
    method: BatchReenactor
    retargeting: Retargeting
    driving: DrivingMotion
    frames: Frames
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    paste_back: bool = False
    keep_unedited: bool = False

    expected = frozenset([OK])

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
        roles = self.method.driving_roles()
        self.suite.require(roles)
        return {
            "reenactment": self.name,
            "settings": dataclasses.asdict(self.method),  # type: ignore
            "retargeting": dataclasses.asdict(self.retargeting),
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
            **dataclasses.asdict(self.retargeting),
            "driver": self.driving.digest,
            **self.asked,
        }

    def check_ids(self, ids: Sequence[str]) -> None:
        """See `Task`: all are told apart."""

    def prefetch(
        self, items: Sequence[Item], *, ahead: int
    ) -> contextlib.AbstractContextManager[Iterable[Any]]:
        """See `Task`."""

        def read(item: Item) -> list[LatentCase] | LatentError:
            try:
                return [LatentCase(item, read_latent(item, self.w_plus_shape))]
            except LatentError as error:
                return error

        return read_ahead(items, read, ahead=ahead)

    @property
    def w_plus_shape(self) -> tuple[int, int]:
        """[L, w_dim] of the suite's generator."""
        config = self.suite.generator.config
        return config.num_ws, config.w_dim

    def networks(self) -> ReenactmentNetworks:
        """See `Task`."""
        return self._networks

    @functools.cached_property
    def _networks(self) -> ReenactmentNetworks:
        return ReenactmentNetworks(self.suite.generator, self.method.networks(self.suite))

    def signature(self) -> dict[str, Any]:
        """See `Task`: a latent code, its motion, and the one that it is to have."""
        motion = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), self._abstract_motion
        )
        w_plus = jax.ShapeDtypeStruct(self.w_plus_shape, np.float32)
        return {"w_plus": w_plus, "own": motion, "wanted": motion}

    @functools.cached_property
    def _abstract_motion(self) -> Motion:
        return read_shapes(self.method, self._networks.method, self.suite.generator.resolution)

    def default_batch_size(self, inputs: int) -> int:
        """See `Task`."""
        most = CPU_BATCH if jax.default_backend() == "cpu" else BATCH
        devices = jax.local_device_count()
        return devices * min(most, math.ceil(inputs / devices))

    def batcher(self, size: int, mesh: Mesh) -> OnePassBatcher:
        """See `Task`."""
        program = functools.partial(reenactment_program, self.method, self.keep_unedited)
        return OnePassBatcher(program, size, mesh=mesh, variants=("const",))

    def problem(self, case: LatentCase, saved: Snapshot) -> Problem:
        """See `Task`."""
        frame = self.frames.wanted[case.id]
        own = self._subjects.motion(frame.subject)
        driver = motion_of_values(
            {name: value[None] for name, value in frame.values.items()}, self.driving.basis
        )
        wanted = self.retargeting(own, driver, self._neutral)
        self._wanted[case.id] = np.asarray(wanted.degrees)[0]
        inputs = jax.tree.map(
            lambda leaf: np.asarray(leaf, np.float32)[0], {"own": own, "wanted": wanted}
        )
        generator = self._subjects.generator(frame.subject)
        return Problem(
            case.id,
            {"w_plus": case.latent.w_plus, **inputs},
            np.zeros(2, np.uint32),  # nothing is drawn at random
            saved,
            variant=case.latent.noise,
            networks=generator,
        )

    @functools.cached_property
    def _neutral(self) -> Motion | None:
        return self.driving.neutral(self.retargeting)

    @functools.cached_property
    def _subjects(self) -> "_Subjects":
        return _Subjects(self)

    @functools.cached_property
    def _wanted(self) -> dict[str, np.ndarray]:
        """Of rows in flight, the degrees that they are to have."""
        return {}

    def result(self, case: LatentCase, outcome: Outcome, row: dict[str, Any]) -> Result:
        """See `Task`."""
        drawn, wanted = outcome.result, self._wanted.pop(case.id)
        if not drawn["finite"]:
            reason = "the latent code or the image is not finite"
            return Result(row | {"status": NOT_FINITE, "reason": reason})
        row["motion"] = {"degrees": numbers(wanted, 3)}
        row["seconds"] = round(outcome.seconds, 4)
        header = case.latent.header | {
            "id": case.id,
            "settings.suite": self.suite.name,
            "settings.generator": self.suite.digest("generator"),
            "edited": json.dumps(self._settings),
        }
        if isinstance(case.latent.weights, str):
            header["weights"] = case.latent.weights
        files = {"edited": encode_png(drawn["pixels"])}
        if self.keep_unedited:
            files["unedited"] = encode_png(drawn["unedited"])
        if self.paste_back and row.get("frame") is None:
            try:
                files["pasted"] = pasted_png(row, drawn["pixels"])
            except (ImageError, ValueError) as error:
                failed = {"status": NO_PHOTOGRAPH, "reason": f"not pasted back: {error}"}
                return Result(row | failed)
        return Result(row, drawn["w_plus"], files, header)

    def unloaded(self) -> "Reenactment":
        """See `Task`."""
        return dataclasses.replace(self, suite=dataclasses.replace(self.suite, _loaded={}))

    def draw_sheet(self, items: Sequence[Item], results: ResultsFolder) -> None:
        """The contact sheet of a finished folder: of each subject the frame that turns most."""
        shown: dict[str, tuple[float, dict[str, Any]]] = {}
        for item in items:
            row = results.rows[item.id]
            turn = max(map(abs, row["motion"]["degrees"])) if row["status"] == OK else -1.0
            shown[item.path] = max(
                shown.get(item.path, (-2.0, row)), (turn, row), key=lambda pair: pair[0]
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
                own = (
                    None if latent.weights is None else tuned_generator(latent.weights, self.suite)
                )
                codes = jnp.asarray(latent.w_plus)[None]
                generator = own or self.suite.generator
                image = _draw(generator, codes, method=self.method, noise=latent.noise)
                image = np.asarray(image[0])
            drawn = read_image(results.file_path("edited", row["id"])).pixels
            cells.append(Cell(row["id"], self.described(row), (image, drawn)))
        title = f"{self.name}, {len(self.frames.subjects)} subjects by {self.driving.driver.name}"
        labels = ("subject", "driven")
        write_contact_sheet(
            results.sheet_path, cells, title=title, columns=3, labels=labels, side=LARGE
        )

    def described(self, row: Mapping[str, Any]) -> str:
        """The pose that a frame was to have."""
        pitch, yaw, roll = row["motion"]["degrees"]
        return f"yaw {yaw:.0f}, pitch {pitch:.0f}, roll {roll:.0f}"


class _Subjects:
    """The subjects' own motion, read some at a time as their frames come; memory stays flat."""

    def __init__(self, task: Reenactment):
        self._task = task
        self._known: dict[int, Motion] = {}
        self._tuned: tuple[int, dict[str, Any] | None] = (-1, None)

    def motion(self, place: int) -> Motion:
        """Of one subject, one frame."""
        if place not in self._known:
            self._read(place)
        return self._known[place]

    def generator(self, place: int) -> dict[str, Any] | None:
        """The networks that are a subject's own; the same object for all of its frames."""
        if self._tuned[0] != place:
            task = self._task
            weights = read_latent(task.frames.subjects[place], task.w_plus_shape).weights
            own = None if weights is None else {"generator": tuned_generator(weights, task.suite)}
            self._tuned = (place, own)
        return self._tuned[1]

    def _read(self, place: int) -> None:
        task, networks = self._task, self._task.networks()
        first = read_latent(task.frames.subjects[place], task.w_plus_shape)
        latents, generator = {place: first}, networks.generator
        if first.weights is not None:
            generator = (self.generator(place) or {})["generator"]
        else:
            end = min(place + OWN_BATCH, len(task.frames.subjects))
            for other in range(place + 1, end):
                with contextlib.suppress(LatentError):  # which gets a row that says so
                    latent = read_latent(task.frames.subjects[other], task.w_plus_shape)
                    if latent.weights is None and latent.noise == first.noise:
                        latents[other] = latent
        codes = [latent.w_plus for latent in latents.values()]
        codes += codes[:1] * (OWN_BATCH - len(codes))
        motion = own_motion(
            networks.method, generator, np.stack(codes), method=task.method, noise=first.noise
        )
        motion = jax.tree.map(np.asarray, motion)
        self._known = {each: motion[row] for row, each in enumerate(latents)}


def reenactment_program(
    method: BatchReenactor, unedited: bool, variant: Hashable
) -> Sequence[Step]:
    """The step that draws frames.

    Its inputs are ``w_plus`` [N, L, w_dim] and the motions ``own`` and ``wanted`` of N rows; its
    results ``w_plus``, ``pixels`` and ``unedited``, uint8 [N, R, R, 3], and ``finite`` [N].

    Args:
      method: moves.
      unedited: whether the image of ``w_plus`` as it came is among the results.
      variant: the generator's noise, "const" or "none".
    """
    return [functools.partial(_move, method, unedited, variant)]


def _move(
    method: BatchReenactor,
    unedited: bool,
    noise: Any,
    networks: ReenactmentNetworks,
    inputs: dict[str, Any],
    keys: jax.Array,
) -> dict[str, Any]:
    moved = method.move(networks.method, networks.generator, **inputs, noise=noise)
    finite = jnp.isfinite(moved.w_plus).all((1, 2)) & jnp.isfinite(moved.images).all((1, 2, 3))
    before = {}
    if unedited:
        drawn = method.draw(networks.generator, inputs["w_plus"], noise=noise)
        before = {"unedited": to_uint8(drawn)}
    return before | {"w_plus": moved.w_plus, "pixels": to_uint8(moved.images), "finite": finite}


@functools.partial(jax.jit, static_argnames=("method", "noise"))
def own_motion(
    networks: Any, generator: Generator, w_plus: Any, *, method: BatchReenactor, noise: Any
) -> Motion:
    """The motion of what a method draws of latents [N, L, w_dim]."""
    return method.read(networks, method.draw(generator, w_plus, noise=noise))


def read_shapes(method: BatchReenactor, networks: Any, size: int) -> Motion:
    """What a method reads of one portrait of a size, as shapes, with its basis."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    return jax.eval_shape(method.read, networks, image)


def basis_of(method: BatchReenactor, networks: Any, size: int) -> Basis:
    """The basis of the motion that a method reads."""
    return read_shapes(method, networks, size).basis


@functools.partial(jax.jit, static_argnames=("method", "noise"))
def _draw(generator: Generator, w_plus: Any, *, method: BatchReenactor, noise: Any) -> jax.Array:
    return method.draw(generator, w_plus, noise=noise)
