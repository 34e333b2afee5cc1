"""31: every setting of following, pasting and writing acts, by its own name."""

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from clips import moving

from jaxface.media.alignment import CropTransform
from jaxface.media.detection import NoFaceError
from jaxface.media.following.cuts import CutSettings, find_cuts
from jaxface.media.following.following import Following
from jaxface.media.following.pasting import FramePasting
from jaxface.media.following.smoothing import Smoothing
from jaxface.media.following.tracks import Matching
from jaxface.media.video.frames import Frame
from jaxface.media.video.writing import Encoding, VideoWriter

MARKS = np.random.default_rng(0).normal(size=(68, 2)) * 6
MARKS[36:42], MARKS[42:48] = (-6, -4), (6, -4)
MARKS[48], MARKS[54] = (-5, 7), (5, 7)


def others(settings: type, values: dict[str, Any]):
    """One case for each field, so that a new field without one fails."""
    assert values.keys() == {field.name for field in dataclasses.fields(settings)}
    return list(values.items())


def followed(who: Any = 0, **how):
    """Squares of a face that shakes, is away for two frames, jumps, and is seen after a cut."""
    following = Following(size=32, cuts=[12], **how)
    for index in range(16):
        jump = 14 * (index > 8)
        center = (40 + jump + index % 2, 30 + index % 3)
        points = MARKS * (1 + 0.05 * (index % 2)) + center
        seen = points[None][: 0 if index in (4, 5) else 1]
        known = np.array([[1.0, 0.0], [0.8, 0.6]])[[int(index >= 12)]][: len(seen)]
        frame = Frame(index, Fraction(index, 25), np.zeros((60, 80, 3), np.uint8))
        following.add(frame, seen, embeddings=known)
    try:
        return following.finish(who).squares
    except NoFaceError:
        return None


@pytest.mark.parametrize(
    ("name", "value"), others(Matching, {"overlap": 0.9, "likeness": 0.9, "max_gap": 0.04})
)
def test_31_matching(name, value):
    assert followed(matching=Matching(**{name: value})) != followed()


@pytest.mark.parametrize(("name", "value"), others(Smoothing, {"center": 0.2, "axes": 0.0}))
def test_31_smoothing(name, value):
    assert followed(smoothing=Smoothing(**{name: value})) != followed()


@pytest.mark.parametrize(
    ("name", "value"), others(CutSettings, {"threshold": 0.5, "times": 1.5, "around": 1})
)
def test_31_cuts(name, value):
    differences = [0, 0.01, 0.3, 0.1, 0.18, 0.01, 0.01, 0.4, 0.01]
    usual = find_cuts(differences)
    assert find_cuts(differences, CutSettings(**{name: value})) != usual


@pytest.mark.parametrize(
    ("name", "value"),
    others(FramePasting, {"feather": 0.3, "match_colour": False, "unchanged": 0.0}),
)
def test_31_pasting(name, value):
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)
    unedited = rng.uniform(-1, 1, (32, 32, 3)).astype(np.float32)
    edited = unedited * 0.9
    edited[:16] = unedited[:16]
    square = CropTransform((40.0, 30.0), (15.0, 2.0), 32, (80, 60))
    usual = FramePasting()(frame, edited, square, unedited=unedited)
    other = FramePasting(**{name: value})(frame, edited, square, unedited=unedited)
    assert (usual != other).any()


@pytest.mark.parametrize(
    ("name", "value", "suffix"),
    [
        (name, value, "webm" if name == "alpha" else "mp4")
        for name, value in others(
            Encoding,
            {
                "crf": 40,
                "odd": "444",
                "alpha": True,
                "lossless": True,
                "segment": 2,
                "kind": "composite",
            },
        )
    ],
)
def test_31_encoding(name, value, suffix, tmp_path):
    pytest.importorskip("av")

    def written(encoding, path):
        frames = moving(4, 35, 47)
        if encoding.alpha:
            frames = np.concatenate([frames, frames[..., :1]], -1)
        with VideoWriter(path, width=47, height=35, rate=25, encoding=encoding) as writer:
            for index, frame in enumerate(frames):
                writer.write(Fraction(index, 25), frame)
        return path.read_bytes()

    usual = written(Encoding(), tmp_path / f"usual.{suffix}")
    assert written(Encoding(**{name: value}), tmp_path / f"other.{suffix}") != usual
    assert written(Encoding(), tmp_path / f"again.{suffix}") == usual
