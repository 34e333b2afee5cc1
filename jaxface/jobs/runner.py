"""Portraits in, results out: compiled slots that are refilled, and the row of each portrait.

All batches have one size, chosen to fit the memory. ContinuousBatcher that nothing waits for are
masked out, so nothing recompiles and an item's result does not depend on its neighbours; its random
key comes from its id alone. An input that cannot be read, or whose embedding diverges at half the
step size too, gets a row that says so, and the others go on.
"""

import dataclasses
import functools
import importlib.metadata
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from jaxface import __version__
from jaxface.errors import JaxfaceError, SuiteError, UsageError
from jaxface.jobs.bar import Bar
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.portraits import Alignment, Portrait, Prepared
from jaxface.jobs.outputs.results import OK, Result
from jaxface.keys import item_keys
from jaxface.media.images import ImageError, encode_png, to_uint8
from jaxface.methods import pie
from jaxface.metrics import psnr, ssim
from jaxface.runtime.devices import divisor_mesh, memory_bytes
from jaxface.runtime.stopping import Stopped
from jaxface.solving.continuous_batching import ContinuousBatcher, Outcome, Problem, Snapshot
from jaxface.solving.solver import Status
from jaxface.suite import Suite

PREFETCH = 64  # inputs that are read before a slot is free for them: a few batches
DIVERGED = "diverged"
_InFlight = tuple[Portrait, np.ndarray]  # a portrait under way and the words of its key
_BANK = 0x62616E6B  # folded into the seed's key, apart from every item's


@dataclasses.dataclass(frozen=True)
class Inversion:
    """What is done to each input.

    Attributes:
      suite: has the networks that the settings' terms need.
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
        roles = pie.required_roles(self.settings)
        for role, term in roles.items():
            try:
                self.suite.metadata(role)
            except SuiteError as error:
                raise pie.missing(term, error) from error
        return {
            "preset": self.preset,
            "settings": dataclasses.asdict(self.settings),
            "seed": self.seed,
            "suite": {role: self.suite.digest(role) for role in roles},
            "alignment": None if self.alignment is None else self.alignment.description(),
        }

    @functools.cached_property
    def networks(self) -> pie.Networks:
        """What the energy needs of the suite; a bank of latents is drawn here, once."""
        settings, bank = self.settings, None
        if settings.bank and settings.editing_terms:
            key = jax.random.fold_in(jax.random.key(self.seed), _BANK)
            bank = pie.draw_bank(self.suite, settings, key)
        return pie.networks_of(self.suite, settings, models=None, bank=bank)


def default_batch_size(resolution: int, inputs: int) -> int:
    """For each device 16, about 11 GB at 1024 px; on CPU 4, or above 256 px 1.

    Fewer where there are not that many inputs, but the same number for each device.
    """
    each = 16
    if jax.default_backend() == "cpu":
        each = 4 if resolution <= 256 else 1
    devices = jax.local_device_count()
    return devices * min(each, math.ceil(inputs / devices))


class Embedder:
    """Embeds portraits for a job; its compiled programs serve all shards.

    Args:
      inversion: what to do.
      batch_size: portraits that are embedded together, >= 1, split over as many devices as divide
        it; None: `default_batch_size`, or as many as fit the memory. No influence on results beyond
        rounding.
      inputs: how many there are to be done, for the default.
      bar: is moved.
      keep_images: whether results hold their reconstructions.
      stop: asked between chunks; see `results`.
    """

    def __init__(
        self,
        inversion: Inversion,
        *,
        batch_size: int | None,
        inputs: int,
        bar: Bar,
        keep_images: bool = True,
        stop: Callable[[], bool] = lambda: False,
    ):
        self._inversion, self._asked, self._bar = inversion, batch_size, bar
        self._keep_images, self._stop = keep_images, stop
        resolution = inversion.suite.generator.resolution
        self._image = jax.ShapeDtypeStruct((resolution, resolution, 3), np.float32)
        self.size = batch_size or default_batch_size(resolution, inputs)
        self._slots: ContinuousBatcher | None = None
        self._halved = False
        self._key = jax.random.key(inversion.seed)
        # Looked up once: they are in every row, and take longer than a row.
        self._shared = {
            "settings": {
                "preset": inversion.preset,
                "suite": inversion.suite.name,
                "generator": inversion.suite.digest("generator"),
                "seed": inversion.seed,
                **dataclasses.asdict(inversion.settings),
            },
            "versions": versions(inversion.alignment),
        }

    def results(
        self,
        found: Iterable[Prepared],
        *,
        known: Callable[[Portrait], bool] = lambda portrait: False,
        saved: Mapping[str, Snapshot] | None = None,
    ) -> Iterator[list[Result]]:
        """Embeds what was prepared; yields results as they are finished, failures
        included.

        Args:
          found: inputs with their portraits; read as slots become free.
          known: whether a portrait is finished already and is passed over.
          saved: portraits that go on where they were stopped, by id.

        Raises:
          Stopped: it was asked to; the portraits under way are in its argument `rows`.
          UsageError: `batch_size` does not fit the devices' memory.
          JaxfaceError: the memory ran out, at half the batch size too.
        """
        failed: list[Result] = []
        flying: dict[str, _InFlight] = {}
        problems = self._problems(found, known, saved or {}, failed, flying)
        first = next(problems, None)
        if first is not None:
            problems = itertools.chain([first], problems)
            self._slots = self._slots or self._fitting_slots()
        while first is not None and (slots := self._slots) is not None:
            try:
                for ended in slots.run(
                    self._inversion.networks, problems, stop=self._stop, progress=self._bar.advance
                ):
                    yield self._finished(ended, flying) + _taken(failed)
                break
            except jax.errors.JaxRuntimeError as error:
                ended, under_way = slots.ended(), slots.in_flight()
                self._slots = self._halve(error)
                problems = itertools.chain(under_way, problems)
            yield self._finished(ended, flying)
        if failed:
            yield _taken(failed)
        if self._stop():
            rows = {} if self._slots is None else self._slots.saved()
            raise Stopped("stopped", {name: row for name, row in rows.items() if row != Snapshot()})

    def compile(self) -> int:
        """Compiles what `results` would run, ahead of time; nothing is embedded.

        Returns:
          How many programs there are.

        Raises:
          UsageError: `batch_size` does not fit the devices' memory.
        """
        self._slots = self._slots or self._fitting_slots()
        self._key_words("any")  # small programs of their own
        return self._slots.compile(self._inversion.networks, self._image)

    def _problems(
        self,
        found: Iterable[Prepared],
        known: Callable[[Portrait], bool],
        saved: Mapping[str, Snapshot],
        failed: list[Result],
        flying: dict[str, _InFlight],
    ) -> Iterator[Problem]:
        """Portraits as problems; inputs without any go to `failed`."""
        for item, portraits in found:
            if isinstance(portraits, ImageError):
                row = self._row(item.id, item, portraits.status, str(portraits))
                failed.append(Result(row))
                self._bar.update(1)
                continue
            self._bar.add_total(len(portraits) - 1)
            for portrait in portraits:
                if known(portrait):
                    self._bar.update(1)
                    continue
                words = self._key_words(portrait.id)
                flying[portrait.id] = portrait, words
                yield Problem(
                    portrait.id,
                    portrait.image.pixels,
                    words,
                    saved.get(portrait.id, Snapshot()),
                )

    def _finished(self, ended: list[Outcome], flying: dict[str, _InFlight]) -> list[Result]:
        self._bar.update(len(ended))
        return [self._result(outcome, *flying.pop(outcome.name)) for outcome in ended]

    def _result(self, outcome: Outcome, portrait: Portrait, words: np.ndarray) -> Result:
        row = self._row(portrait.id, portrait.item, OK, None) | {
            "notes": list(portrait.image.notes),
            **face_columns(portrait),
            "steps": outcome.steps,
            "seconds": round(outcome.seconds, 3),
            "key": "".join(f"{word:08x}" for word in words),
        }
        if outcome.status == Status.DIVERGED:
            reason = f"the energy or its gradient was not finite after {outcome.steps} steps"
            again = ", and not with half the step size either" if outcome.restarted else ""
            return Result(row | {"status": DIVERGED, "reason": reason + again})
        if outcome.restarted:
            row["notes"].append("diverged, and was done again with half the step size")
        w_plus, losses, measures = outcome.result
        row |= {name: _number(measures[name]) for name in ("psnr", "ssim")}
        row |= {name: _number(losses[name]) for name in {"perceptual", "loss"} & set(losses)}
        png = encode_png(measures["pixels"]) if self._keep_images else None
        return Result(row, w_plus, png)

    def _key_words(self, portrait_id: str) -> np.ndarray:
        """The words of a portrait's key."""
        return np.asarray(jax.random.key_data(item_keys(self._key, [portrait_id])))[0]

    def _row(self, row_id: str, item: Item, status: str, reason: str | None) -> dict[str, Any]:
        """A row of `results.jsonl` with every column; those that a failed input lacks are null."""
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
            **self._shared,
        }

    def _fitting_slots(self) -> ContinuousBatcher:
        """ContinuousBatcher that fit the memory, by the analysis of the programs that will run."""
        self._bar.compiling()
        limit = memory_bytes()
        # An explicit size is taken at its word; a chosen one leaves room for what an allocator
        # loses between its blocks.
        usable = limit if self._asked else 0.9 * limit
        while True:
            slots = self._slots_of(self.size)
            need = slots.device_bytes(self._inversion.networks, self._image)
            devices = divisor_mesh(self.size).size
            numbers = f"{_gigabytes(need)} of {_gigabytes(limit)} on each of {devices} devices"
            if need <= usable:
                _say(f"batch size {self.size}: {numbers}")
                return slots
            if self._asked or self.size <= jax.local_device_count():
                raise UsageError(
                    f"a batch of {self.size} does not fit: it needs {numbers}"
                    + ("; choose a smaller --batch-size, or none" if self.size > 1 else "")
                )
            smaller = _half(self.size)
            while smaller > jax.local_device_count() and need * smaller / self.size > usable:
                smaller = _half(smaller)
            self.size = smaller

    def _halve(self, error: Exception) -> ContinuousBatcher:
        """ContinuousBatcher for half the batch, after the memory ran out for the first time."""
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise error
        if self._halved or self.size == 1:
            raise JaxfaceError(
                f"out of memory with a batch of {self.size}; what is finished is kept, and the "
                "same command with a smaller --batch-size goes on from there"
            ) from error
        _say(
            f"out of memory with a batch of {self.size}; going on with {_half(self.size)}, and the "
            "portraits under way begin again"
        )
        self._halved, self.size = True, _half(self.size)
        return self._slots_of(self.size)

    def _slots_of(self, size: int) -> ContinuousBatcher:
        generator = self._inversion.suite.generator
        return _compiled_slots(
            self._inversion.settings, generator.num_ws, size, divisor_mesh(size), self._keep_images
        )


@functools.lru_cache(maxsize=8)
def _compiled_slots(
    settings: pie.Settings, num_ws: int, size: int, mesh: Mesh, keep_images: bool
) -> ContinuousBatcher:
    measure = functools.partial(_measure, keep_images=keep_images)
    return pie.slots(settings, num_ws, size, mesh=mesh, measure=measure)


def _measure(images: jax.Array, targets: jax.Array, *, keep_images: bool) -> dict[str, jax.Array]:
    """The metrics of the picture that is stored, whose pixels are clipped, and its 8 bits."""
    images = jnp.clip(images, -1, 1)
    measures = {"psnr": psnr(images, targets), "ssim": ssim(images, targets)}
    return measures | ({"pixels": to_uint8(images)} if keep_images else {})


def _half(size: int) -> int:
    """Half a batch, or less where that keeps all devices at work."""
    devices = jax.local_device_count()
    return size // 2 // devices * devices or size // 2


def _taken(results: list[Result]) -> list[Result]:
    """What is in the list, which is empty afterwards."""
    taken = results[:]
    results.clear()
    return taken


def _say(text: str) -> None:
    tqdm.write(f"jaxface: {text}", file=sys.stderr)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB"


def face_columns(portrait: Portrait) -> dict[str, Any]:
    """Which face of its input a portrait is, and where it was cut out."""
    if (face := portrait.face) is None:
        return {}
    return {
        "face": {"number": face.number, "of": face.of},
        "transform": face.transform.to_json(),
    }


def versions(alignment: Alignment | None = None) -> dict[str, str]:
    """Versions of what makes a result, for its row."""
    others = {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")}
    others |= {} if alignment is None else alignment.versions()
    return {"jaxface": __version__, **others, "platform": jax.default_backend()}


def _number(value: Any) -> float | None:
    """A JSON number; null where it is not finite."""
    return float(value) if math.isfinite(value) else None
