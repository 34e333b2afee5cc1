"""Editing as a job: latent codes in, the same portraits with another pose, expression or light out.

An edit is a few programs, one for each group; see `jaxface.solving.one_pass`. What cannot be read,
or whose edit is not finite, gets a row that says so.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxface.jobs.edit_outcomes import IDENTITY, MISSED, described, identity_told, missed
from jaxface.jobs.edit_program import MOMENTS, EditNetworks, edit_program
from jaxface.jobs.inputs.clips import FrameReader
from jaxface.jobs.inputs.frames import frame_portrait
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.latents import Latent, LatentError, read_latent
from jaxface.jobs.inputs.portraits import shown_target
from jaxface.jobs.latent_task import AGAIN, NOT_FINITE, LatentCase, LatentTask
from jaxface.jobs.outputs.contact_sheet import LARGE, SHEET_CELLS, Cell, write_contact_sheet
from jaxface.jobs.outputs.outliers import outliers
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.outputs.rows import (
    FRAME_COLUMNS,
    OK,
    Column,
    Result,
    number,
    numbers,
    versions,
)
from jaxface.latents import interpolate
from jaxface.media.images import (
    MAX_PIXELS,
    decoding_bytes,
    read_image,
)
from jaxface.media.video import encode_gif, encode_mp4, enlarged, ping_pong
from jaxface.methods import pie
from jaxface.methods.direction_matrix import direction_sets
from jaxface.methods.latent_difference.redrawing import ROLES as LANDMARK_ROLES
from jaxface.methods.latent_difference.redrawing import Proportions, Seen, redrawing_of
from jaxface.methods.linear_directions import Move
from jaxface.methods.motion_directions import DIRECTIONS
from jaxface.methods.motion_editing import motion_networks
from jaxface.methods.motion_reading import ROLES as MOTION_ROLES
from jaxface.methods.pie.attributes import Attribute
from jaxface.methods.pie.editing import editing_networks
from jaxface.morphable import EDITABLE_GROUPS
from jaxface.nets import Generator
from jaxface.runtime.devices import batch_over_devices
from jaxface.runtime.iteration import Program
from jaxface.solving.continuous_batching import Outcome, Problem, Snapshot
from jaxface.solving.one_pass import OnePassBatcher
from jaxface.suite import identity_network
from jaxface.vocabulary import LANDMARKS

BATCH, CPU_BATCH = 16, 4  # latent codes edited together on each device, where there are that many
FEEDBACK, MOTION_FEEDBACK = 1, 2
"""Rounds of `jaxface edit`: of RigNets, as PIE has them, and along directions of motion."""
MOTION = DIRECTIONS
"""Beside the semantic groups, in a row's edits: pose and expression in users' units."""

_COLUMNS = {
    "source": Column("text"),
    "transform": Column("json"),
    "psnr": Column("number"),
    "ssim": Column("number"),
    "perceptual": Column("number"),
    "identity_distance": Column("number"),
    "edits": Column("json"),
    "seconds": Column("number"),
    "key": Column("text"),
    "latents": Column("file"),
    "edited": Column("file"),
    "pasted": Column("file"),
    "sequence": Column("files", ()),
    "weights": Column("text"),
}
"""Of an edit's row; those of frames have more."""


@dataclasses.dataclass(frozen=True)
class Animation:
    """A sequence from the inversion to its edit.

    Attributes:
      frames: at least 2.
      seconds: from the first to the last frame.
      mp4: an MP4 beside the GIF.
    """

    frames: int
    seconds: float
    mp4: bool


class Reference(NamedTuple):
    """A portrait that groups are taken from.

    Attributes:
      name: of its file.
      pixels: [R, R, 3] in [-1, 1].
    """

    name: str
    pixels: np.ndarray


class LandmarkWish(NamedTuple):
    """Landmarks that portraits are redrawn by.

    Attributes:
      name: of the file or portrait that they are of.
      like: the landmarks in the generator's pixels, and the face that has them.
      proportions: see `jaxface.methods.latent_difference.redrawing`.
    """

    name: str
    like: Seen
    proportions: Proportions


@dataclasses.dataclass(frozen=True)
class Editing(LatentTask):
    """What is done to each latent code; a `jaxface.jobs.task.Task`.

    Attributes:
      suite: has a generator; for targets, a reconstruction network and the RigNets of their groups;
        for moves, their directions; for motion, see `jaxface.methods.motion_editing`.
      targets: by semantic group.
      moves: made after them.
      asked: what the user asked for, JSON-like: with the suite, it decides the results.
      attributes: by group, the named parameters among the targets.
      feedback: rounds of feedback.
      animation: None for images alone.
      tuned: whether there may be codes with a generator of their own.
      motion: pose and expression of suites whose directions are fitted to motion; edited first.
      paste_back: whether edits are put back into the photographs that their crops were cut from.
      reference: the portrait that targets were taken from, for sheets and captions.
      frames: whether codes are of frames of clips.
      keep_unedited: whether the image that an edit starts from is stored beside it.
      driven: by id, then by group, what a latent code's target is: [P], in place of that of
        `targets`, which says whether it is added to what the portrait has.
      together: whether the groups are edited in one step, see `pie.edit_together`.
      landmarks: what portraits are redrawn by, before all other edits; None: nothing.
    """

    targets: Mapping[str, pie.Target]
    moves: Sequence[Move]
    asked: Mapping[str, Any]
    attributes: Mapping[str, Sequence[Attribute]]
    feedback: int
    animation: Animation | None = None
    tuned: bool = False
    motion: pie.Target | None = None
    paste_back: bool = False
    reference: Reference | None = None
    frames: bool = False
    keep_unedited: bool = False
    driven: Mapping[str, Mapping[str, np.ndarray]] | None = None
    together: bool = False
    landmarks: LandmarkWish | None = None

    expected = frozenset([OK])

    @property
    def columns(self) -> Mapping[str, Column]:
        """See `Task`."""
        found = [*FRAME_COLUMNS, AGAIN] if self.frames else []
        kept = {"unedited": Column("file")} if self.keep_unedited else {}
        return _COLUMNS | dict.fromkeys(found, Column("json")) | kept

    @property
    def reading_bytes(self) -> int:
        """See `Task`: photographs, where edits are pasted back."""
        return decoding_bytes(MAX_PIXELS) if self.paste_back else 0

    @property
    def files(self) -> tuple[str, ...]:
        """See `Task`."""
        found = ["edited", *(["pasted"] if self.paste_back else [])]
        found += ["unedited"] if self.keep_unedited else []
        if self.animation is not None:
            found += ["gif", "mp4"] if self.animation.mp4 else ["gif"]
        return tuple(found)

    @property
    def roles(self) -> tuple[str, ...]:
        """The suite's networks that decide the results."""
        rigs = [f"rignet_{group}" for group in self.targets]
        directions = [self._direction_role(move.directions) for move in self.moves]
        motion = [] if self.motion is None else [*MOTION_ROLES, f"direction_{DIRECTIONS}"]
        drawing = [] if self.landmarks is None else list(LANDMARK_ROLES)
        found = ("generator", *(["reconstruction", *rigs] if rigs else []), *directions, *motion)
        found += tuple(drawing)
        return tuple(dict.fromkeys(found))

    def _direction_role(self, name: str) -> str:
        """The suite's network that a set of directions is of."""
        own = f"direction_{name}"
        return own if own in self.suite.files else "direction_matrix"

    def description(self) -> dict[str, Any]:
        """See `Task`."""
        for role in self.roles:
            self.suite.metadata(role)  # raises SuiteError if it is missing
        return {
            "asked": dict(self.asked),
            "feedback": self.feedback,
            "sequence": None if self.animation is None else dataclasses.asdict(self.animation),
            "suite": {role: self.suite.digest(role) for role in self.roles},
        }

    def shared_columns(self) -> dict[str, Any]:
        """See `Task`."""
        settings = {"suite": self.suite.name, "feedback": self.feedback, **self.asked}
        return {"settings": settings, "versions": versions()}

    def networks(self) -> EditNetworks:
        """See `Task`."""
        return self._networks

    @functools.cached_property
    def _networks(self) -> EditNetworks:
        suite = self.suite
        named = {move.directions for move in self.moves}
        return EditNetworks(
            generator=suite.generator,
            groups={group: editing_networks(suite, group) for group in self.targets},
            targets=dict(self.targets),
            directions={name: direction_sets(suite)[name] for name in named},
            motion=None if self.motion is None else (motion_networks(suite), self.motion),
            recognition=identity_network(suite),
            landmarks=(
                None if self.landmarks is None else (redrawing_of(suite), self.landmarks.like)
            ),
        )

    def signature(self) -> dict[str, Any]:
        """See `Task`: a latent code."""
        some = next(iter(self.driven.values())) if self.driven else {}
        driven = {name: jax.ShapeDtypeStruct(each.shape, np.float32) for name, each in some.items()}
        return {"w_plus": jax.ShapeDtypeStruct(self.w_plus_shape, np.float32), "driven": driven}

    def default_batch_size(self, inputs: int) -> int:
        """See `Task`; a generator of its own is drawn with alone."""
        if self.tuned:
            return 1
        most = CPU_BATCH if jax.default_backend() == "cpu" else BATCH
        return batch_over_devices(inputs, most)

    def batcher(self, size: int, mesh: Mesh) -> OnePassBatcher:
        """See `Task`."""
        if self.animation is not None:
            shape = jax.ShapeDtypeStruct((1, *self.w_plus_shape), np.float32)
            _synthesis("const").prepare(self.suite.generator, shape)
        moves = self.motion is not None
        edit = (tuple(self.moves), tuple(self.targets), moves, self.feedback, self.keep_unedited)
        edit += (self.together, None if self.landmarks is None else self.landmarks.proportions)
        program = functools.partial(edit_program, *edit)
        return OnePassBatcher(program, size, mesh=mesh, variants=("const",))

    def problem(self, case: LatentCase, saved: Snapshot) -> Problem:
        """See `Task`."""
        generator = self.own_generator(case.latent)
        return Problem(
            case.id,
            {
                "w_plus": case.latent.w_plus,
                "driven": dict(self.driven[case.id]) if self.driven else {},
            },
            np.zeros(2, np.uint32),  # nothing is drawn at random
            saved,
            variant=case.latent.noise,
            networks=None if generator is None else {"generator": generator},
        )

    def result(self, case: LatentCase, outcome: Outcome, row: dict[str, Any]) -> Result:
        """See `Task`."""
        row["settings"] = {
            "suite": self.suite.name,
            "noise": case.latent.header.get("settings.noise"),
            "feedback": self.feedback,
            **self.asked,
        }
        edited = outcome.result
        if not edited["finite"]:
            reason = "the edited latent code or image is not finite"
            return Result(row | {"status": NOT_FINITE, "reason": reason, "edits": {}})
        row["edits"] = {
            group: {name: numbers(edited["edits"][group][name]) for name in MOMENTS}
            for group in (LANDMARKS, MOTION, *EDITABLE_GROUPS)
            if group in edited["edits"]
        }
        row["notes"] += missed(row["edits"], self.attributes)
        row["identity_distance"] = number(edited["distance"])
        row["seconds"] = round(outcome.seconds, 3)
        result = self.stored(
            case,
            edited,
            row,
            settings=row["settings"],
            paste_back=self.paste_back,
            unpasted={"edits": {}},
        )
        if self.animation is None or result.w_plus is None:
            return result
        files = self._sequence(case.latent, edited["w_plus"], self.animation)
        return dataclasses.replace(result, files={**result.files, **files})

    def _sequence(
        self, latent: Latent, w_plus: np.ndarray, animation: Animation
    ) -> dict[str, bytes]:
        """The files of the way from the inversion to its edit, and back."""
        codes = np.asarray(_interpolate(latent.w_plus, w_plus, animation.frames))
        generator = self.own_generator(latent) or self.suite.generator
        frames = ping_pong([_draw(generator, code, latent.noise) for code in codes])
        files = {"gif": encode_gif(enlarged(frames), seconds=2 * animation.seconds)}
        if animation.mp4:
            files["mp4"] = encode_mp4(frames, seconds=2 * animation.seconds)
        return files

    def described(self, row: Mapping[str, Any]) -> str:
        """What an edit asked for and gave; see `jaxface.jobs.edit_outcomes.described`."""
        return described(row["edits"], self.attributes, self._names, self.moves)

    @property
    def _names(self) -> dict[str, str]:
        """What the user named, by group: a light, or the portrait that groups are like."""
        like = "the reference" if self.reference is None else self.reference.name
        names = {group: f"{group} like {like}" for group in self.asked.get("groups", ())}
        if self.landmarks is not None:
            names[LANDMARKS] = f"landmarks of {self.landmarks.name}"
        if "light" in self.asked:
            names["illumination"] = f"light {self.asked['light']} {self.asked['strength']:g}"
        return names

    def draw_sheet(self, items: Sequence[Item], results: ResultsFolder) -> None:
        """The contact sheet of a finished folder: source, reconstruction and edit."""
        rows = [results.rows[item.id] for item in items]
        cells, remarks = [], outliers([row for row in rows if row["status"] == OK], IDENTITY)
        like = () if self.reference is None else (self.reference.pixels,)
        reader = FrameReader()
        for item, row in list(zip(items, rows, strict=True))[:SHEET_CELLS]:
            if row["status"] != OK:
                cells.append(Cell(row["id"], row["status"], (None, None, *like, None)))
                continue
            try:
                latent = read_latent(item, self.w_plus_shape)
                generator = self.own_generator(latent) or self.suite.generator
                image = _draw(generator, latent.w_plus, latent.noise)
            except LatentError:  # gone since it was edited
                image = None
            edited = read_image(results.file_path("edited", row["id"])).pixels
            shown = (_source(row, self.suite.generator.resolution, reader), image, *like, edited)
            warned = [note for note in row["notes"] if note.startswith(MISSED)]
            warned += [remarks[row["id"]]] if row["id"] in remarks else []
            text = self.described(row) + identity_told(row)
            cells.append(Cell(row["id"], text, shown, "; ".join(warned)))
        reader.close()
        count = f"first {len(cells)} of " if len(cells) < len(rows) else ""
        title = f"{self.suite.name}, {count}{len(rows)} embeddings"
        reference = () if self.reference is None else (f"like {self.reference.name}",)
        labels = ("source", "reconstruction", *reference, "edited")
        write_contact_sheet(
            results.sheet_path, cells, title=title, columns=2, labels=labels, side=LARGE
        )


def _source(row: Mapping[str, Any], size: int, reader: FrameReader) -> np.ndarray | None:
    """The portrait that was inverted, where its file can still be read."""
    if row["source"] is None:
        return None
    if row.get("frame") is not None and not row["frame"].get("still"):
        return frame_portrait(row, size, reader)
    load = functools.partial(read_image, row["source"])
    return shown_target(Item(row["id"], row["source"], load), dict(row), size)


_interpolate = jax.jit(interpolate, static_argnums=2)


def _draw(generator: Generator, code: jax.Array | np.ndarray, noise: Any) -> np.ndarray:
    """A code's image, [L, w_dim] -> [R, R, 3]: one program for sheets and all sequences."""
    return np.asarray(_synthesis(noise)(generator, jax.device_put(np.asarray(code)[None])))[0]


@functools.cache
def _synthesis(noise: Any) -> Program:
    return Program(lambda generator, w_plus: generator.synthesis(w_plus, noise=noise))
