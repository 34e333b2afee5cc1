"""Frames of one clip at a time as avatars know them: codes, head poses and expressions.

    data = CodedClips("clips/...", suite="embedded")
    batch = next(data.batches(8, ("w_plus", "pose", "expression"), seed=0))

A batch holds, of K frames of each of N clips in no order, ``w_plus`` float32 [N, K, L, w_dim],
their codes by the suite's encoder; and ``pose`` [N, K, 3] and ``expression`` [N, K, E], what its
reader sees in them (`jaxface.methods.pvp.features.Features`). Frames are encoded and read once and
stay on disk (`jaxface.data.identity_codes`).
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data.clip_view import ClipView
from jaxface.data.identity_codes import IdentityCodes, encoded
from jaxface.data.pipelines import ArraySource, DataError, Item, batches
from jaxface.data.sources import DataIterator
from jaxface.data.transfer_pairs import digest_of
from jaxface.methods import encoder
from jaxface.methods.direction_matrix.faces import reading_roles, suite_faces
from jaxface.methods.pvp.features import ANGLES, features_of
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
      directory: of the codes, as many GB as 2,048 bytes times rows of W+ times frames.
      chunk: frames encoded together.
    """

    path: str
    suite: str = "embedded"
    frames: int = 80
    inversion: encoder.Settings = dataclasses.field(default_factory=encoder.Settings)
    directory: str = "codes"
    chunk: int = 16

    def __post_init__(self):
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
        suite.require(self.inversion.roles())
        roles = (*self.inversion.roles(), *reading_roles(suite))
        origin = {
            "data": digest_of(self.path),
            "split": split,
            "networks": {r: suite.digest(r) for r in roles},
            "inversion": dataclasses.asdict(self.inversion),
            "fields": FIELDS,
            "angles": ANGLES,
        }
        return encoded(
            self.directory,
            self._view(split).source,
            np.concatenate([np.asarray(rows) for rows in self._places(split)]),
            _encode(suite, self.inversion),
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


def _encode(suite: Suite, inversion: encoder.Settings) -> Any:
    faces = suite_faces(suite)
    networks = inversion.networks(suite, jax.random.key(0))

    @jax.jit
    def compiled(faces: Any, networks: Any, images: jax.Array) -> dict[str, jax.Array]:
        features = features_of(faces.motion(faces.read(images)))
        return {"w_plus": encoder.encode(inversion, networks, images), **features._asdict()}

    return lambda images: compiled(faces, networks, jnp.asarray(images))
