"""Frames of one clip at a time as avatars know them: codes, head poses and expressions.

    data = CodedClips("clips/...", suite="embedded")
    batch = next(data.batches(8, ("w_plus", "pose", "expression"), seed=0))

A batch holds, of K frames of each of N clips in no order, ``w_plus`` float32 [N, K, L, w_dim],
their codes by the suite's encoder, or one frame's moved to all; and ``pose`` [N, K, 3] and
``expression`` [N, K, E], what its reader sees in them (`jaxface.methods.pvp.features.Features`).
Frames are encoded and read once and stay on disk (`jaxface.data.identity_codes`).
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data.clip_view import ClipView
from jaxface.data.identity_codes import Encode, IdentityCodes, encoded
from jaxface.data.pipelines import ArraySource, DataError, Item, Source, batches
from jaxface.data.sources import DataIterator
from jaxface.data.transfer_pairs import digest_of
from jaxface.media.images import from_uint8
from jaxface.methods import encoder
from jaxface.methods.direction_matrix.faces import reading_roles, suite_faces
from jaxface.methods.pvp.features import ANGLES, features_of
from jaxface.methods.pvp.pivots import MOVING_ROLES, moved
from jaxface.runtime.chunks import by_chunks
from jaxface.settings import check_words
from jaxface.suite import Suite, load_suite

FIELDS = ("w_plus", "pose", "expression")


@dataclasses.dataclass(frozen=True)
class CodedClips:
    """A `jaxface.data.sources.DataSource` of such frames; see the module's words.

    Attributes:
      path: of the data set of clips, `portrait_clips` or `synthetic_clips`; its test split is held
        out.
      suite: name or folder of the suite whose encoder and reader are asked.
      frames: K.
      inversion: how frames are encoded.
      pivots: "inverted": each frame's code is its own; "moved": it is that of the frame in the
        middle of its clip, moved to the frame's pose and expression. As avatars have their key
        frames (`jaxface.methods.pvp.PVPSettings.pivots`).
      directory: of the codes, as many GB as 2,048 bytes times rows of W+ times frames.
      chunk: frames encoded together.
    """

    path: str
    suite: str = "embedded"
    frames: int = 80
    inversion: encoder.Settings = dataclasses.field(default_factory=encoder.Settings)
    pivots: Literal["inverted", "moved"] = "inverted"
    directory: str = "codes"
    chunk: int = 16

    def __post_init__(self):
        check_words(self)
        if min(self.frames, self.chunk) < 1:
            raise ValueError(
                f"CodedClips: expected frames and chunk >= 1, got {self.frames} and {self.chunk}."
            )

    @property
    def classes(self) -> Mapping[str, int]:
        """No labels."""
        return {}

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> DataIterator:
        """An epoch has every clip once; see `jaxface.data.sources.DataSource`.

        Raises:
          DataError: an unknown field, or no clip has so many frames.
        """
        if absent := sorted(set(fields) - set(FIELDS)):
            raise DataError(f"CodedClips: no field {', '.join(absent)}; expected of {FIELDS}.")
        places, codes = self._places("train"), self._codes("train")
        draw = functools.partial(
            _drawn, places=places, codes=codes, fields=tuple(fields), count=self.frames
        )
        numbers = ArraySource({"clip": np.arange(len(places))})
        return batches(numbers, batch_size=size, seed=seed, transform=draw)

    def held_out(self) -> dict[str, np.ndarray] | None:
        """Frames of every clip of the test split that is long enough, drawn once; every field."""
        self._places("train")  # what is wrong with the data is told now
        places, codes = self._places("test"), self._codes("test")
        rows = [
            _drawn(
                {"clip": number},
                np.random.default_rng([0, number]),
                places=places,
                codes=codes,
                fields=FIELDS,
                count=self.frames,
            )
            for number in range(len(places))
        ]
        return {name: np.stack([row[name] for row in rows]) for name in FIELDS}

    def _view(self, split: str) -> ClipView:
        return ClipView(self.path, split=split)

    def _places(self, split: str) -> list[range]:
        """The records of each clip that is long enough."""
        found = [place.rows for place in self._view(split).places]
        enough = [rows for rows in found if len(rows) >= self.frames]
        if not enough:
            raise DataError(
                f"{self.path}: no clip of {split} has {self.frames} frames; lower data.frames."
            )
        return enough

    def _codes(self, split: str) -> IdentityCodes:
        suite = load_suite(self.suite)
        places, source = self._places(split), self._view(split).source
        needed = self.inversion.roles()
        moves = self.pivots == "moved"
        suite.require({**needed, **MOVING_ROLES} if moves else needed)
        roles = sorted({*needed, *reading_roles(suite), *(MOVING_ROLES if moves else ())})
        origin = {
            "data": digest_of(self.path),
            "split": split,
            "networks": {r: suite.digest(r) for r in roles},
            "inversion": dataclasses.asdict(self.inversion),
            "fields": FIELDS,
            "angles": ANGLES,
            "pivots": self.pivots,
        }
        return encoded(
            self.directory,
            source,
            np.concatenate([np.asarray(rows) for rows in places]),
            _moving(suite, self.inversion, source, places, self.chunk)
            if moves
            else _encode(suite, self.inversion),
            origin=origin,
            chunk=self.chunk,
        )


def _drawn(
    item: Item,
    rng: np.random.Generator,
    *,
    places: Sequence[range],
    codes: IdentityCodes,
    fields: tuple[str, ...],
    count: int,
) -> Item:
    rows = rng.choice(places[int(item["clip"])], count, replace=False)
    return {name: np.stack([codes.get(name, int(row)) for row in rows]) for name in fields}


def _encode(suite: Suite, inversion: encoder.Settings) -> Encode:
    """A code, and what is read, of each frame."""
    faces = suite_faces(suite)
    networks = inversion.networks(suite, jax.random.key(0))

    @jax.jit
    def compiled(faces: Any, networks: Any, images: jax.Array) -> dict[str, jax.Array]:
        features = features_of(faces.motion(faces.read(images)))
        return {"w_plus": encoder.encode(inversion, networks, images), **features._asdict()}

    return lambda images, rows: compiled(faces, networks, jnp.asarray(images))


def _moving(
    suite: Suite,
    inversion: encoder.Settings,
    source: Source,
    places: Sequence[range],
    chunk: int,
) -> Encode:
    """The code of each clip's middle, moved to its frames, and what is read of these."""
    faces = suite_faces(suite)
    networks = inversion.networks(suite, jax.random.key(0))
    compiled = jax.jit(encoder.encode, static_argnums=0)
    read = jax.jit(lambda faces, images: faces.motion(faces.read(images)))
    middles = np.stack([source[rows[len(rows) // 2]]["image"] for rows in places])
    begin = by_chunks(
        lambda part: compiled(inversion, networks, from_uint8(part)), middles, size=chunk
    )
    firsts = np.array([rows.start for rows in places])

    def encode(images: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
        motion = read(faces, jnp.asarray(images))
        clips = np.searchsorted(firsts, rows, side="right") - 1
        return {"w_plus": moved(suite, begin[clips], motion), **features_of(motion)._asdict()}

    return encode
