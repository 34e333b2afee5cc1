"""Edited faces, back into their clip, with its times and its sound; and the report beside it."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxface.media.alignment import CropTransform
from jaxface.media.following.following import FollowedFaces
from jaxface.media.following.pasting import FramePasting
from jaxface.media.video.frames import Frame, Seconds, Span
from jaxface.media.video.reading import open_clip
from jaxface.media.video.rewriting import rewrite_clip
from jaxface.media.video.writing import Encoding
from jaxface.runtime.files import atomic_writer

Edit = Callable[[int, int, np.ndarray, CropTransform], Any]
"""``edit(place, track, pixels, transform)``: a frame, uint8, to its crop [S, S, 3] in [-1, 1], or
None, which leaves the face as it is. `place` counts the frames that were followed."""


def paste_clip(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    faces: FollowedFaces,
    edit: Edit,
    *,
    pasting: FramePasting | None = None,
    encoding: Encoding | None = None,
    fps: Seconds | None = None,
    span: Span | None = None,
    sound: bool = True,
    resume: Mapping[str, Any] | None = None,
) -> list[str]:
    """Writes a clip in which only the faces changed.

    Args:
      source: the clip that was followed.
      path: the result.
      faces: what `Following.finish` gave for the same part of the clip.
      edit: makes the crops; not called for what an earlier run has stored.
      pasting, encoding: None for the defaults.
      fps, span: as the clip was opened with.
      sound: whether the source's sound goes with it.
      resume: see `VideoWriter`.

    Returns:
      Notes of reading and writing, one short sentence each.

    Raises:
      ValueError: the clip has more frames than were followed.
      VideoError: the clip cannot be read or written.
    """
    pasting = pasting or FramePasting()

    def change(place: int, frame: Frame) -> np.ndarray:
        if place >= len(faces.squares):
            raise ValueError(
                f"{source}: frame {place} was not followed; expected {len(faces.squares)} frames"
            )
        pixels = frame.pixels
        for track, square in faces.squares[place].items():
            edited = edit(place, track, pixels, square)
            if edited is not None:
                pixels = pasting(pixels, edited, square)
        return pixels

    with open_clip(source, fps=fps, span=span) as clip:
        written = rewrite_clip(
            clip,
            path,
            change,
            span=span,
            sound=source if sound and not os.path.isdir(source) else None,
            encoding=dataclasses.replace(encoding or Encoding(), kind="composite"),
            resume=resume,
        )
    return written.notes


def write_report(path: str | os.PathLike[str], faces: FollowedFaces):
    """Writes `report.jsonl`, a row for each frame, whole or not at all."""
    with atomic_writer(path) as file:
        for row in faces.rows:
            file.write(json.dumps(row).encode() + b"\n")
