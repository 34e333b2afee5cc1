"""Inversion as a job: portraits in, latent codes out, by any method."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxface.jobs.inputs.clip_survey import ClipAlignment
from jaxface.jobs.inputs.clips import ClipReading
from jaxface.jobs.inputs.coherence import Coherence, Face
from jaxface.jobs.inputs.frames import are_frames, frame_targets, prefetch_frames
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.portraits import (
    Alignment,
    Portrait,
    prefetch_portraits,
    refuse_face_names,
    shown_target,
)
from jaxface.jobs.outputs.contact_sheet import LARGE, SHEET_CELLS, Cell, write_contact_sheet
from jaxface.jobs.outputs.outliers import distance_of, outliers
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.outputs.rows import (
    FRAME_COLUMNS,
    OK,
    Column,
    Result,
    number,
    photographs_of,
    versions,
)
from jaxface.jobs.outputs.tuned import tuned_weights
from jaxface.keys import item_keys, samples_key
from jaxface.media.detection import NoFaceError
from jaxface.media.images import MAX_PIXELS, decoding_bytes, encode_png, read_image, to_uint8
from jaxface.methods.coherent import Frames, coherent
from jaxface.methods.inversion import Inverted, Inverter
from jaxface.metrics import psnr, ssim
from jaxface.nets import GeneratorConfig
from jaxface.runtime.devices import batch_over_devices
from jaxface.solving.continuous_batching import Outcome, Problem, Snapshot
from jaxface.solving.procedure import Batcher, make_batcher
from jaxface.solving.solver import Status
from jaxface.suite import Suite

DIVERGED = "diverged"
NOT_FINITE = "not_finite"

COLUMNS = {
    "face": Column("face"),
    "transform": Column("json"),
    "psnr": Column("number"),
    "ssim": Column("number"),
    "perceptual": Column("number"),
    "loss": Column("number"),
    "steps": Column("integer"),
    "seconds": Column("number"),
    "key": Column("text"),
    "latents": Column("file"),
    "reconstruction": Column("file"),
}


@dataclasses.dataclass(frozen=True)
class Inversion:
    """What is done to each input; a `jaxface.jobs.task.Task`.

    Attributes:
      suite: has the networks that the method needs.
      preset: the name that `settings` go by.
      settings: how a portrait is inverted.
      seed: of the key that every portrait's key is derived from.
      alignment: how faces are found and cut out, of clips also followed; None where inputs count as
        aligned portraits.
      keep_images: whether results hold their reconstructions.
      max_pixels: of an image that are read.
      clips: how clips are read, whose frames are the inputs; None: inputs are images.
      coherence: codes near which frames of clips begin; None: they begin where the method does.
    """

    suite: Suite
    preset: str
    settings: Inverter
    seed: int
    alignment: Alignment | ClipAlignment | None = None
    keep_images: bool = True
    max_pixels: int = MAX_PIXELS
    clips: ClipReading | None = None
    coherence: Coherence | None = None

    @property
    def reading_bytes(self) -> int:
        """See `Task`."""
        return decoding_bytes(self.max_pixels)

    @property
    def columns(self) -> Mapping[str, Column]:
        """See `Task`; a method's own losses and tuned weights have columns of their own."""
        losses = [name for name in self.settings.row_losses if name not in COLUMNS]
        weights = ["weights"] if self.settings.tunes_generator else []
        return (
            COLUMNS
            | dict.fromkeys(losses, Column("number"))
            | dict.fromkeys(weights, Column("file"))
            | dict.fromkeys([] if self.clips is None else FRAME_COLUMNS, Column("json"))
        )

    @property
    def expected(self) -> frozenset[str]:
        """See `Task`: a frame without a face stays as it is."""
        return frozenset([OK] if self.clips is None else [OK, NoFaceError.status])

    @property
    def files(self) -> tuple[str, ...]:
        """See `Task`."""
        kept = ("reconstruction",) if self.keep_images else ()
        return (*kept, "weights") if self.settings.tunes_generator else kept

    def description(self) -> dict[str, Any]:
        """See `Task`."""
        self.suite.require(self.settings.roles())
        return {
            "preset": self.preset,
            "settings": dataclasses.asdict(self.settings),  # type: ignore
            "seed": self.seed,
            "suite": {role: self.suite.digest(role) for role in self.settings.roles()},
            "alignment": None if self.alignment is None else self.alignment.description(),
            **({} if self.clips is None else {"clips": {"frames": True} | self.clips.to_json()}),
            **self._coherence,
        }

    def shared_columns(self) -> dict[str, Any]:
        """See `Task`."""
        return {
            "settings": {
                "preset": self.preset,
                "suite": self.suite.name,
                "generator": self.suite.digest("generator"),
                "seed": self.seed,
                **dataclasses.asdict(self.settings),  # type: ignore
                **self._coherence,
            },
            "versions": versions(None if self.alignment is None else self.alignment.versions()),
        }

    def check_ids(self, ids: Sequence[str]) -> None:
        """See `Task`."""
        if self.alignment is not None:
            refuse_face_names(ids)

    def prefetch(
        self, items: Sequence[Item], *, ahead: int
    ) -> contextlib.AbstractContextManager[Iterable[Any]]:
        """See `Task`."""
        resolution, alignment = self._config.resolution, self.alignment
        if are_frames(items) or isinstance(alignment, ClipAlignment):
            return prefetch_frames(items, resolution, ahead=ahead)
        return prefetch_portraits(items, resolution, alignment, ahead=ahead)

    def networks(self) -> Any:
        """See `Task`; what a method samples for all portraits is drawn here, once."""
        return self._networks

    @functools.cached_property
    def _networks(self) -> Any:
        self._key_data("")  # small programs of its own, which `jaxface compile` is to compile
        return self.settings.networks(self.suite, samples_key(self._key))

    @property
    def _config(self) -> GeneratorConfig:
        return self.suite.generator.config

    @property
    def _coherence(self) -> dict[str, Any]:
        return {} if self.coherence is None else {"coherence": self.coherence.description()}

    def signature(self) -> Any:
        """See `Task`: a portrait, of coherent clips with two codes."""
        config = self._config
        image = jax.ShapeDtypeStruct((config.resolution, config.resolution, 3), np.float32)
        if self.coherence is None:
            return image
        code = jax.ShapeDtypeStruct((config.num_ws, config.w_dim), np.float32)
        return Frames(image, code, code)

    def default_batch_size(self, inputs: int) -> int:
        """See `Task`."""
        return default_batch_size(self._config.resolution, inputs)

    def batcher(self, size: int, mesh: Mesh) -> Batcher:
        """See `Task`."""
        smoothness = None if self.coherence is None else self.coherence.smoothness
        return _batcher(self.settings, self._config, size, mesh, self.keep_images, smoothness)

    def problem(self, case: Portrait, saved: Snapshot) -> Problem:
        """See `Task`."""
        face = _face_of(case)
        self._words[case.id] = words = self._key_data(case.id if face is None else _named(face))
        inputs: Any = case.image.pixels
        if self.coherence is not None:
            assert face is not None
            index = case.item.columns["frame"]["index"]
            inputs = Frames(inputs, *self.coherence.of(face, index))
        return Problem(case.id, inputs, words, saved)

    def result(self, case: Portrait, outcome: Outcome, row: dict[str, Any]) -> Result:
        """See `Task`."""
        row |= {
            "steps": outcome.steps,
            "seconds": round(outcome.seconds, 3),
            "key": "".join(f"{word:08x}" for word in self._words.pop(case.id)),
        }
        if outcome.status == Status.DIVERGED:
            reason = f"the energy or its gradient was not finite after {outcome.steps} steps"
            again = ", and not with half the step size either" if outcome.restarted else ""
            return Result(row | {"status": DIVERGED, "reason": reason + again})
        if outcome.restarted:
            row["notes"].append("diverged, and was done again with half the step size")
        w_plus, losses, measures = outcome.result[:3]
        if not np.isfinite(w_plus).all():
            return Result(row | {"status": NOT_FINITE, "reason": "the latent code is not finite"})
        row |= {name: number(measures[name]) for name in ("psnr", "ssim")}
        row |= {name: number(losses[name]) for name in self.settings.row_losses if name in losses}
        files = {}
        if self.keep_images:
            files["reconstruction"] = encode_png(measures["pixels"], sources=photographs_of(row))
        if self.settings.tunes_generator:
            weights = outcome.result[3]
            files["weights"] = tuned_weights(weights, self.suite, case.id)
        return Result(row, w_plus, files)

    def unloaded(self) -> "Inversion":
        """See `Task`."""
        return dataclasses.replace(self, suite=dataclasses.replace(self.suite, _loaded={}))

    def draw_sheet(self, items: Sequence[Item], results: ResultsFolder) -> None:
        """The contact sheet of a finished folder: portraits beside their reconstructions."""
        pairs = [
            (item, row)
            for item, rows in zip(items, results.finished(items), strict=True)
            for row in rows
        ]
        ok = [row for _, row in pairs if row["status"] == OK]
        distance = distance_of(ok)
        remarks = outliers(ok, distance)
        cells, shown = [], pairs[:SHEET_CELLS]
        resolution = self._config.resolution
        targets = frame_targets(shown, resolution)
        if self.clips is None:
            targets = (shown_target(item, row, resolution) for item, row in shown)
        for (_, row), target in zip(shown, targets, strict=True):
            if row["status"] == OK:
                image = read_image(results.file_path("reconstruction", row["id"])).pixels
                remark = remarks.get(row["id"], "")
                cells.append(Cell(row["id"], measured(row, distance), (target, image), remark))
            else:
                cells.append(Cell(row["id"], row["status"], (target, None)))
        first = f"first {len(cells)} of " if len(cells) < len(pairs) else ""
        title = f"{self.preset}, {first}{len(pairs)} portraits"
        labels = ("target", "reconstruction")
        write_contact_sheet(
            results.sheet_path, cells, title=title, columns=3, labels=labels, side=LARGE
        )

    @functools.cached_property
    def _key(self) -> jax.Array:
        return jax.random.key(self.seed)

    @functools.cached_property
    def _words(self) -> dict[str, np.ndarray]:
        """The words of the keys of portraits in flight."""
        return {}

    def _key_data(self, name: str) -> np.ndarray:
        """The words of a portrait's key."""
        return np.asarray(jax.random.key_data(item_keys(self._key, [name])))[0]


def _face_of(case: Portrait) -> Face | None:
    """The clip and the track that a frame's portrait belongs to; None for an image."""
    frame, track = case.item.columns.get("frame"), case.more.get("track")
    return None if frame is None else (frame["clip"], None if track is None else track["id"])


def _named(face: Face) -> str:
    """What the keys of a clip's frames come from: one for all, so that equal frames have equal
    codes and what a method draws does not change from frame to frame."""
    clip, track = face
    return clip if track is None else f"{clip}#track{track}"


def default_batch_size(resolution: int, inputs: int) -> int:
    """For each device 16, about 11 GB at 1024 px; on CPU 4, or above 256 px 1.

    Fewer where there are not that many inputs, but the same number for each device.
    """
    each = 16
    if jax.default_backend() == "cpu":
        each = 4 if resolution <= 256 else 1
    return batch_over_devices(inputs, each)


@functools.lru_cache(maxsize=8)
def _batcher(
    settings: Inverter,
    config: GeneratorConfig,
    size: int,
    mesh: Mesh,
    keep_images: bool,
    smoothness: float | None,
) -> Batcher:
    procedure = settings.procedure(config)
    if smoothness is not None:
        procedure = coherent(procedure, smoothness)

    def finish(networks: Any, targets: Any, variables: Any, keys: jax.Array) -> Any:
        inverted: Inverted = procedure.finish(networks, targets, variables, keys)
        measures = _measure(inverted.images, targets.images, keep_images=keep_images)
        return inverted.w_plus, inverted.losses, measures, inverted.weights

    return make_batcher(dataclasses.replace(procedure, finish=finish), size, mesh=mesh)


def _measure(images: jax.Array, targets: jax.Array, *, keep_images: bool) -> dict[str, jax.Array]:
    """The metrics of the image that is stored, whose pixels are clipped, and its 8 bits."""
    images = jnp.clip(images, -1, 1)
    measures = {"psnr": psnr(images, targets), "ssim": ssim(images, targets)}
    return measures | ({"pixels": to_uint8(images)} if keep_images else {})


def measured(row: Mapping[str, Any], distance: str) -> str:
    """Such as "31.2 dB, perceptual 0.012", with the column `distance`."""
    decibels = "exact" if row["psnr"] is None else f"{row['psnr']:.1f} dB"
    value = row.get(distance)
    return decibels if value is None else f"{decibels}, {distance} {value:.3f}"
