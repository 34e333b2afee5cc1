"""Pairs of frames of two persons for Transfer, with the identity codes of their targets.

    data = TransferPairs("clips/...", suite="embedded")
    batch = next(data.batches(8, ("source", "identity", "other_identity"), seed=0))

A batch holds, of persons A and B, what a method asks for of

* ``source`` and ``other_source``: driving frames s_A and s_B, uint8 [N, R, R, 3];
* ``target`` and ``other_target``: t_A and t_B, likewise;
* ``identity`` and ``other_identity``: their codes E_i(t), float32 [N, L, w_dim];
* ``source_identity``: E_i(s_A), likewise.

As in the paper (Jahoda and Cech 2023, section 3.3) a clip gives a few frames, half a second apart,
and a person a few clips. Codes are encoded once, by the suite's encoder, and stay on disk. Some of
the training split's persons are kept apart for validation: a clip of each drives a frame of
another one of them.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxface.data.clip_view import ClipView, Place
from jaxface.data.identity_codes import IdentityCodes, encoded
from jaxface.data.pipelines import ArraySource, DataError, Item, batches
from jaxface.data.sources import DataIterator
from jaxface.errors import UsageError
from jaxface.methods import encoder
from jaxface.methods.transfer.drawing import head_angles
from jaxface.runtime.files import sha256
from jaxface.runtime.progress import note
from jaxface.suite import Suite, load_suite

IMAGES = ("source", "target", "other_source", "other_target")
CODES = {"identity": "target", "other_identity": "other_target", "source_identity": "source"}
"""Fields with codes, and the images that these are of."""

ANGLE_ROLES = ("pose", "reconstruction")
"""What head angles are read by: the first that the suite has."""


class Frames(NamedTuple):
    """The frames of a clip that are used.

    Attributes:
      person: whose.
      rows: their records, [K].
    """

    person: str
    rows: np.ndarray


@dataclasses.dataclass(frozen=True)
class TransferPairs:
    """A `jaxface.data.sources.DataSource` of such pairs; see the module's words.

    Attributes:
      path: of the data set of clips, `portrait_clips` or `synthetic_clips`.
      suite: name or folder of the suite whose encoder and generator encode identities.
      inversion: how; the paper's is ReStyle with five iterations.
      target_from: where t is taken from: "clip", another frame of the driving frame's clip, as the
        paper says; or "identity", any frame of the person, as in the code, perhaps s itself.
      every: takes each n-th frame of a clip; 12 are half a second at 25 a second.
      frames: of a clip at most; the paper's is 10.
      clips: of a person at most; the paper's is 5.
      max_yaw, max_pitch: degrees from frontal beyond which a frame is left out; None keeps all. The
        paper gives no number.
      num_validation: persons kept apart.
      window: frames of a validation clip at most, in their order, each of them.
      directory: of the codes, as many GB as 2,048 bytes times rows of W+ times frames.
      chunk: frames encoded together.
      seed: of who is kept apart, and of the validation's targets.
    """

    path: str
    suite: str = "embedded"
    inversion: encoder.Settings = dataclasses.field(default_factory=encoder.Settings)
    target_from: Literal["clip", "identity"] = "clip"
    every: int = 12
    frames: int = 10
    clips: int = 5
    max_yaw: float | None = 45.0
    max_pitch: float | None = 30.0
    num_validation: int = 16
    window: int = 50
    directory: str = "codes"
    chunk: int = 16
    seed: int = 0

    def __post_init__(self):
        numbers = {n: getattr(self, n) for n in ("every", "frames", "clips", "window", "chunk")}
        if min(numbers.values()) < 1 or self.num_validation < 0 or self.num_validation == 1:
            raise ValueError(
                f"TransferPairs: expected {', '.join(numbers)} >= 1 and num_validation 0 or >= 2, "
                f"got {', '.join(map(str, numbers.values()))} and {self.num_validation}."
            )
        if self.target_from not in ("clip", "identity"):
            raise ValueError(
                "TransferPairs: target_from must be 'clip' or 'identity', got "
                f"{self.target_from!r}."
            )

    @property
    def classes(self) -> Mapping[str, int]:
        """No labels."""
        return {}

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> DataIterator:
        """An epoch has every clip as A once; see `jaxface.data.sources.DataSource`.

        Raises:
          DataError: an unknown field, or too few persons or frames.
        """
        check_fields(fields)
        codes = self._codes
        clips = kept_frames(self, self._training, codes)
        draw = functools.partial(
            _pair,
            clips=clips,
            targets=clips if self.target_from == "clip" else _by_person(clips),
            source=self._view.source,
            codes=codes,
            fields=tuple(fields),
        )
        return batches(
            ArraySource({"clip": np.arange(len(clips))}),
            batch_size=size,
            seed=seed,
            transform=draw,
        )

    def held_out(self) -> dict[str, np.ndarray] | None:
        """``driving`` [C, T, R, R, 3], ``target`` [C, R, R, 3], ``identity`` [C, L, w_dim].

        One clip of each person that is kept apart drives a frame of the next one of them. T is the
        shortest clip's length, up to `window`.
        """
        training = self._training  # what is wrong with the data is told now
        if not training or not self.num_validation:
            return None
        drivers, targets = self._validation
        count = min(self.window, *(len(place.rows) for place in drivers))
        source, codes = self._view.source, self._codes
        driving = [[source[row]["image"] for row in place.rows[:count]] for place in drivers]
        return {
            "driving": np.array(driving),
            "target": np.stack([source[int(row)]["image"] for row in targets]),
            "identity": np.stack([codes.get("w_plus", int(row)) for row in targets]),
        }

    @functools.cached_property
    def _view(self) -> ClipView:
        return ClipView(self.path, split="train")

    @functools.cached_property
    def _persons(self) -> tuple[set[str], list[str]]:
        """Those that are trained on, and those kept apart, in order."""
        persons = sorted(self._view.persons)
        order = np.random.default_rng(self.seed).permutation(len(persons))
        apart = [persons[place] for place in sorted(order[: self.num_validation])]
        return set(persons) - set(apart), apart

    @functools.cached_property
    def _training(self) -> list[Frames]:
        """The clips that are trained on, before extreme angles are left out."""
        found = sampled_frames(self, self._view.places, self._persons[0])
        if len({clip.person for clip in found}) < 2:
            raise DataError(
                f"{self.path}: {len(self._view.persons)} persons, {self.num_validation} of them "
                "kept apart for validation; expected two or more others with clips of two frames."
            )
        return found

    @functools.cached_property
    def _validation(self) -> tuple[list[Place], np.ndarray]:
        """Driving clips, the first of each person kept apart, and the targets' records."""
        firsts: dict[str, Place] = {}
        for place in self._view.places:
            if place.person in self._persons[1]:
                firsts.setdefault(place.person, place)
        drivers = list(firsts.values())
        rng = np.random.default_rng([self.seed, 1])
        return drivers, np.array(
            [rng.choice(drivers[(n + 1) % len(drivers)].rows) for n in range(len(drivers))]
        )

    @functools.cached_property
    def _codes(self) -> IdentityCodes:
        """Of the frames that are trained on, and of the validation's targets."""
        rows = [clip.rows for clip in self._training]
        if self.num_validation:
            rows.append(self._validation[1])
        suite = load_suite(self.suite)
        suite.require(self.inversion.roles())
        reader = next((role for role in ANGLE_ROLES if role in suite), None)
        if reader is None and (self.max_yaw, self.max_pitch) != (None, None):
            raise UsageError(
                f"data: suite {suite.name!r} has neither {' nor '.join(ANGLE_ROLES)} to leave out "
                "extreme poses by; add one, or set data.max_yaw=None and data.max_pitch=None"
            )
        roles = [*self.inversion.roles(), *([] if reader is None else [reader])]
        origin = {
            "data": digest_of(self.path),
            "networks": {role: suite.digest(role) for role in roles},
            "inversion": dataclasses.asdict(self.inversion),
        }
        return encoded(
            self.directory,
            self._view.source,
            np.unique(np.concatenate(rows)),
            _encode(suite, self.inversion, reader),
            origin=origin,
            chunk=self.chunk,
        )


def check_fields(fields: Sequence[str]) -> None:
    """Refuses fields that pairs do not have.

    Raises:
      DataError: there are such.
    """
    known = (*IMAGES, *CODES)
    if absent := sorted(set(fields) - set(known)):
        raise DataError(
            f"TransferPairs: no field {', '.join(absent)}; there are {', '.join(known)}."
        )


def sampled_frames(
    settings: TransferPairs, places: Sequence[Place], persons: set[str]
) -> list[Frames]:
    """The frames that some persons' clips give, of clips that give two or more.

    Args:
      settings: every how many frames, and how many of clips and persons.
      places: all clips.
      persons: whose are taken.
    """
    taken: dict[str, int] = {}
    found = []
    for place in places:
        rows = np.asarray(place.rows[:: settings.every][: settings.frames])
        if place.person not in persons or len(rows) < 2:
            continue
        taken[place.person] = taken.get(place.person, 0) + 1
        if taken[place.person] <= settings.clips:
            found.append(Frames(place.person, rows))
    return found


def kept_frames(
    settings: TransferPairs, clips: Sequence[Frames], codes: IdentityCodes
) -> list[Frames]:
    """The clips without frames of extreme angles; how many these are is told.

    Raises:
      DataError: fewer than two persons are left.
    """
    limits = (settings.max_yaw, settings.max_pitch)
    if limits == (None, None):
        return list(clips)
    angles = np.abs(codes.column("angles"))
    limit = np.array([np.inf if each is None else each for each in limits])
    mild = set(codes.rows[(angles <= limit).all(axis=1)].tolist())
    found = [Frames(c.person, np.array([r for r in c.rows if r in mild], int)) for c in clips]
    found = [clip for clip in found if len(clip.rows) >= 2]
    before, after = (sum(len(clip.rows) for clip in each) for each in (clips, found))
    if after < before:
        note(
            f"Left out {before - after} of {before} frames: beyond {limits[0]} degrees of yaw or "
            f"{limits[1]} of pitch, or alone in their clip then."
        )
    if len({clip.person for clip in found}) < 2:
        raise DataError(
            "TransferPairs: extreme poses leave clips of fewer than two persons; raise "
            "data.max_yaw and data.max_pitch."
        )
    return found


def _by_person(clips: Sequence[Frames]) -> list[Frames]:
    """For each clip all frames of its person."""
    rows: dict[str, list[np.ndarray]] = {}
    for clip in clips:
        rows.setdefault(clip.person, []).append(clip.rows)
    every = {person: Frames(person, np.concatenate(parts)) for person, parts in rows.items()}
    return [every[clip.person] for clip in clips]


def _pair(
    item: Item,
    rng: np.random.Generator,
    *,
    clips: Sequence[Frames],
    targets: Sequence[Frames],
    source: Any,
    codes: IdentityCodes,
    fields: tuple[str, ...],
) -> Item:
    """Records of A and B, and of them what is asked for.

    Args:
      item: the number of A's clip.
      rng: of what is drawn.
      clips: driving frames come from.
      targets: for each clip where its targets come from; where that is the clip itself, they are
        other frames.
      source: of the records.
      codes: of the targets.
      fields: what is asked for.
    """
    own = int(item["clip"])
    while clips[other := int(rng.integers(len(clips)))].person == clips[own].person:
        pass
    rows = {}
    for prefix, clip in (("", own), ("other_", other)):
        if targets is clips:
            first, second = rng.choice(clips[clip].rows, 2, replace=False)
        else:
            first, second = (rng.choice(each[clip].rows) for each in (clips, targets))
        rows |= {f"{prefix}source": int(first), f"{prefix}target": int(second)}
    found = {name: source[rows[name]]["image"] for name in fields if name in IMAGES}
    for name in fields:
        if name in CODES:
            found[name] = codes.get("w_plus", rows[CODES[name]])
    return found


def digest_of(path: str) -> dict[str, str]:
    """What tells a data set from another of the same name: its descriptions and its report."""
    folder = pathlib.Path(path)
    names = ("dataset_info.json", "report.jsonl")
    return {name: sha256(folder / name) for name in names if (folder / name).is_file()}


def _encode(suite: Suite, inversion: encoder.Settings, reader: str | None) -> Any:
    networks = inversion.networks(suite, jax.random.key(0))
    compiled = jax.jit(encoder.encode, static_argnums=0)

    def encode(images: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
        del rows
        found = {"w_plus": compiled(inversion, networks, images)}
        if reader is not None:
            found["angles"] = head_angles(suite.network(reader), images)
        return found

    return encode
