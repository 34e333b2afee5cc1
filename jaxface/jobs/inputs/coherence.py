"""Codes of an earlier inversion of the same clips, near which their frames begin.

See `jaxface.methods.coherent`. A face is known again by its clip and track.
"""

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.inputs.latents import LatentError, find_latents, read_latent
from jaxface.media.following.smoothing import smooth_values

WINDOW = 0.12
"""Seconds: the standard deviation of the Gaussian over which codes are averaged, which is that of
the axes of a face's square."""

Face = tuple[str, int | None]
"""A clip's id, and the number of a track in it; None where frames are portraits."""


@dataclasses.dataclass(frozen=True)
class Codes:
    """A face's codes over a clip.

    Attributes:
      mean: [L, w_dim], of all its frames.
      indices: [T] of the frames, increasing.
      smooth: [T, L, w_dim], averaged over time within each shot.
    """

    mean: np.ndarray
    indices: np.ndarray
    smooth: np.ndarray


@dataclasses.dataclass(frozen=True)
class Coherence:
    """How frames of clips are kept coherent.

    Attributes:
      codes: by face.
      digest: of the codes.
      smoothness: see `jaxface.methods.coherent.coherent`.
    """

    codes: Mapping[Face, Codes]
    digest: str
    smoothness: float = 0.0

    def description(self) -> dict[str, Any]:
        """Everything that decides a frame's start and pull, JSON-like."""
        return {"codes": self.digest, "smoothness": self.smoothness, "window": WINDOW}

    def of(self, face: Face, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Where a frame begins, and what it is pulled to: [L, w_dim] each.

        A frame without a code there has its nearest one's; a face that was not there, any face's
        of its clip.

        Args:
          face: whose frame it is.
          index: of the frame in the clip.
        """
        known = self.codes.get(face)
        if known is None:
            known = next(codes for (clip, _), codes in self.codes.items() if clip == face[0])
        nearest = np.abs(known.indices - index).argmin()
        return known.mean, known.smooth[nearest]

    def check(self, clips: set[str]) -> None:
        """Insists on codes of each clip.

        Raises:
          UsageError: there is none of one.
        """
        there = {clip for clip, _ in self.codes}
        if missing := sorted(clips - there):
            raise UsageError(
                f"--coherent: has no frame of {missing[0]}; it has those of "
                f"{', '.join(sorted(there)[:3])}"
            )


def read_coherence(folder: str, shape: tuple[int, int], smoothness: float) -> Coherence:
    """Reads the output folder of an earlier `jaxface invert` of clips.

    Args:
      folder: of it.
      shape: [L, w_dim] of the generator's W+.
      smoothness: see `Coherence`.

    Raises:
      UsageError: it is none, or holds no code of a clip's frame that the generator takes.
    """
    found: dict[Face, dict[int, tuple[Fraction, np.ndarray]]] = defaultdict(dict)
    digest = hashlib.sha256()
    for item in find_latents([folder]).items:
        try:
            latent = read_latent(item, shape)
        except LatentError as error:
            raise UsageError(f"--coherent: {error}") from error
        if "frame" not in latent.header:
            raise UsageError(f"--coherent {folder}: {item.id} is no frame of a clip")
        frame, track = (json.loads(latent.header.get(name, "null")) for name in ("frame", "track"))
        face = frame["clip"], None if track is None else track["id"]
        found[face][frame["index"]] = Fraction(frame["time"]), latent.w_plus
        digest.update(item.id.encode() + latent.w_plus.tobytes())
    codes = {face: _codes(frames, _cuts(folder, face[0])) for face, frames in found.items()}
    return Coherence(codes, digest.hexdigest(), smoothness)


def _codes(frames: Mapping[int, tuple[Fraction, np.ndarray]], cuts: list[int]) -> Codes:
    indices = np.array(sorted(frames))
    times, codes = zip(*(frames[index] for index in indices), strict=True)
    codes = np.stack(codes)
    shots = np.searchsorted(np.sort(cuts), indices, side="right")
    smooth = np.concatenate(
        [
            smooth_values(np.array(times)[shots == shot], codes[shots == shot], WINDOW)
            for shot in np.unique(shots)
        ]
    )
    return Codes(codes.mean(0), indices, smooth.astype(np.float32))


def _cuts(folder: str, clip: str) -> list[int]:
    """Frames with which a clip's shots begin, as its survey says."""
    from jaxface.jobs.inputs.clip_survey import CLIPS, HEADER

    try:
        return json.loads((Path(folder) / CLIPS / clip / HEADER).read_text())["cuts"]
    except FileNotFoundError:
        return []
