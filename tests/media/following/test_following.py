"""Faces over time; numbers are those of the requirements for video."""

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from jaxface.errors import UsageError
from jaxface.media.alignment import CropTransform, crop_face
from jaxface.media.detection import NoFaceError
from jaxface.media.following.cuts import Differences, find_cuts
from jaxface.media.following.detecting import detect_ahead
from jaxface.media.following.following import Following
from jaxface.media.following.pasting import FramePasting
from jaxface.media.following.smoothing import (
    Smoothing,
    acceleration,
    between,
    jitter,
    smooth_squares,
)
from jaxface.media.images import from_uint8
from jaxface.media.video.frames import Frame

EMPTY = np.zeros((0, 68, 2))
MARKS = np.random.default_rng(0).normal(size=(68, 2)) * 12  # a face's, around its centre
MARKS[36:42], MARKS[42:48] = (-12, -8), (12, -8)
MARKS[48], MARKS[54] = (-9, 14), (9, 14)


def blank(value=90, height=120, width=160):
    return np.full((height, width, 3), value, np.uint8)


def face_at(*centers):
    return MARKS + np.array(centers, np.float64)[:, None]


def follow(seen, *, rate=25, pixels=None, who: Any = "largest", embeddings=None, **how):
    """`seen`: landmarks of each frame."""
    following = Following(size=64, **how)
    for place, landmarks in enumerate(seen):
        shown = blank() if pixels is None else pixels[place]
        given = None if embeddings is None else embeddings[place]
        following.add(Frame(place, Fraction(place) / rate, shown), landmarks, embeddings=given)
    return following.finish(who)


def bright(pixels):
    """A detector for the tests: a face where a frame's first pixel is not black."""
    return face_at((80, 60)) if pixels[0, 0, 0] > -1 else EMPTY


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_17_one_row_a_frame_and_order_kept_by_processes(workers):
    frames = [Frame(i, Fraction(i, 25), blank(0 if i in (2, 3) else 90)) for i in range(8)]
    following = Following(size=64)
    for frame, landmarks in detect_ahead(frames, bright, workers=workers, ahead=2):
        following.add(frame, landmarks)
    rows = following.finish().rows
    assert [row["index"] for row in rows] == list(range(8))
    assert [row["status"] for row in rows] == ["ok"] * 2 + ["interpolated"] * 2 + ["ok"] * 4
    assert [row["pts"] for row in rows[:3]] == ["0", "1/25", "2/25"]
    assert np.shape(rows[2]["faces"][0]["quad"]) == (4, 2)


def test_18_short_gaps_are_filled_and_long_ones_pass_through():
    path = [face_at((40 + i, 60)) for i in range(40)]
    path[0] = EMPTY
    path[10:12] = [EMPTY] * 2
    path[20:30] = [EMPTY] * 10
    found = follow(path, who="all", smoothing=Smoothing(0, 0))
    status = [row["status"] for row in found.rows]
    assert status[0] == "no_face"
    assert status[10:12] == ["interpolated"] * 2
    assert status[20:30] == ["no_face"] * 10
    assert found.squares[25] == {}
    (before,), (filled,) = found.squares[9].values(), found.squares[10].values()
    np.testing.assert_allclose(np.subtract(filled.center, before.center), (1, 0), atol=1e-9)
    with pytest.raises(NoFaceError, match="no face in any frame"):
        follow([EMPTY] * 3)


def test_19_who_is_meant():
    large = 1.5 * MARKS + (110, 60)
    small = face_at((40, 60))[0]
    # On one frame the small face is the larger one.
    seen = [np.stack([small, large])] * 9 + [np.stack([1.7 * MARKS + (40, 60), large])]
    embeddings = [np.eye(2)] * 10
    assert len(follow(seen, who="all").tracks) == 2
    assert follow(seen).tracks[0].faces[0].landmarks.mean() == pytest.approx(large.mean())
    assert follow(seen, who=0).tracks[0].faces[0].box[0] == small[:, 0].min()
    assert follow(seen, who=1).tracks[0].faces[0].box[0] == large[:, 0].min()
    like = follow(seen, who=np.array([0.1, 0.99]), embeddings=embeddings)
    assert like.tracks[0].faces[0].box[0] == large[:, 0].min()
    with pytest.raises(NoFaceError, match="like the reference"):
        follow(seen, who=np.array([-1.0, 0.0]), embeddings=embeddings)
    with pytest.raises(UsageError, match='"largest"'):
        follow(seen, who="smallest")


@pytest.mark.parametrize("known", [False, True])
def test_20_crossing_faces_keep_their_ids(known):
    steps = range(41)
    seen = [face_at((40 + 2 * i, 60), (120 - 2 * i, 62)) for i in steps]
    found = follow(seen, who="all", embeddings=[np.eye(2)] * 41 if known else None)
    assert len(found.tracks) == 2
    for track, sign in zip(found.tracks, (1, -1), strict=True):
        moves = np.diff([face.box[0] for face in track.faces])
        np.testing.assert_allclose(moves, 2 * sign)


def test_20_across_a_cut_only_the_identity_counts():
    left, right = face_at((50, 60)), face_at((110, 60))
    seen = [left] * 5 + [right] * 5 + [left] * 5
    who = [np.eye(2)[:1]] * 5 + [np.eye(2)[:1]] * 5 + [np.eye(2)[1:]] * 5
    found = follow(seen, who="all", embeddings=who, cuts=[5, 10])
    assert [len(track.faces) for track in found.tracks] == [10, 5]
    assert found.cuts == [5, 10]
    # Without embeddings every shot has its own, at the same place too.
    assert len(follow([left] * 10, who="all", cuts=[5]).tracks) == 2


def scene(seed, count):
    """Frames of one shot: blobs of one palette, that move a little."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:90, :400]
    image = np.zeros((90, 400, 3))
    for _ in range(40):
        cy, cx, size = generator.uniform((0, 0, 8), (90, 400, 30))
        color = generator.uniform(0, 255, 3) * (seed % 3 + 1) / 3
        image[(y - cy) ** 2 + (x - cx) ** 2 < size**2] = color
    return [image[:, i : i + 120].astype(np.uint8) for i in range(count)]


def cuts_of(frames):
    differences = Differences()
    for frame in frames:
        differences.add(frame)
    return find_cuts(differences.values)


def test_21_all_cuts_are_seen_and_nothing_else():
    shots = [scene(seed, 8) for seed in range(12)]
    assert cuts_of([frame for shot in shots for frame in shot]) == list(range(8, 96, 8))
    base = scene(3, 1)[0].astype(float)
    ramp = [(base * (1 - 0.2 * i / 5)).astype(np.uint8) for i in range(6)]
    assert cuts_of([*[ramp[0]] * 4, *ramp, *[ramp[-1]] * 4]) == []
    flash = [*[ramp[0]] * 4, *[ramp[-1]] * 4]
    assert cuts_of(flash) == []
    pan = scene(4, 281)[::14]  # a tenth of the width a frame
    assert cuts_of([*[pan[0]] * 4, *pan, *[pan[-1]] * 4]) == []


def wave(rate, noise=0.0):
    generator = np.random.default_rng(1)
    return [
        face_at((80 + 20 * np.sin(2 * i / rate), 60 + 10 * np.cos(3 * i / rate)))
        + generator.normal(size=(1, 1, 2)) * noise
        for i in range(2 * rate + 1)
    ]


def test_22_the_same_path_at_25_and_50_frames_a_second():
    slow, fast = follow(wave(25), rate=25), follow(wave(50), rate=50)
    one = np.array([square[0].corners for square in slow.squares])
    other = np.array([square[0].corners for square in fast.squares[::2]])
    assert np.abs(one - other).max() < 0.5
    raw = follow(wave(25), smoothing=Smoothing(0, 0))
    assert jitter([s[0] for s in follow(wave(25, 1.0)).squares]) < jitter(
        [s[0] for s in follow(wave(25, 1.0), smoothing=Smoothing(0, 0)).squares]
    )
    expected = np.array([p[0, 36:48].mean(0) for p in wave(25)])
    found = np.array([square[0].center for square in raw.squares])
    np.testing.assert_allclose(found - expected, np.full((51, 2), (0, 2.2)), atol=1e-9)


def test_22_directions_are_averaged_as_unit_vectors():
    angles = np.pi + 0.05 * np.array([-1, 1, -1, 1, -1, 1, -1])
    squares = [
        CropTransform((50.0, 50.0), (20 * np.cos(a), 20 * np.sin(a)), 64, (100, 100))
        for a in angles
    ]
    times = [Fraction(i, 25) for i in range(7)]
    for square in smooth_squares(times, squares, Smoothing()):
        assert square.right[0] < -19.9
        assert square.side == pytest.approx(40)
    middle = between(squares[0], squares[1], 0.5)
    np.testing.assert_allclose(middle.right, (-20, 0), atol=1e-9)


def test_22_smoothing_ends_at_a_cut():
    seen = [face_at((50, 60))] * 6 + [face_at((100, 60))] * 6
    found = follow(seen, who="all", cuts=[6])
    centers = [next(iter(square.values())).center[0] for square in found.squares]
    assert np.ptp(centers[:6]) < 1e-9
    assert np.ptp(centers[6:]) < 1e-9
    assert centers[6] - centers[5] == pytest.approx(50)


def test_23_a_still_clip_stays_still():
    assert jitter([square[0] for square in follow([face_at((80, 60))] * 25).squares]) < 1e-9


def test_23_measured_points_that_shake_are_told_and_squares_stay():
    rng = np.random.default_rng(5)
    seen = [face_at((80, 60)) + rng.normal(size=(1, 68, 2)) * 0.3 for _ in range(50)]
    squares = {i: square[0].corners for i, square in enumerate(follow(seen).squares)}
    assert acceleration(squares) < 0.1  # pixels
    shaking = acceleration({i: points[0] for i, points in enumerate(seen)})
    expected = 0.3 * np.sqrt(6 * np.pi / 2)  # a Rayleigh mean: the variance is 1 + 4 + 1
    assert shaking == pytest.approx(expected, rel=0.1)


def test_23_nothing_is_compared_across_gaps_and_cuts():
    places = {0: 0, 1: 1, 2: 2, 4: 40, 5: 41, 6: 42, 7: 90, 8: 91, 9: 92}
    points = {frame: np.full((1, 2), float(x)) for frame, x in places.items()}
    assert acceleration(points, cuts=[7]) == 0
    assert acceleration(points) > 0
    assert acceleration({0: points[0]}) == 0


def shown(center=(80.0, 60.0)):
    noise = np.random.default_rng(2).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    return noise, CropTransform(center, (30.0, 6.0), 96, (160, 120))


@pytest.mark.parametrize("center", [(80.0, 60.0), (10.0, 20.0)])
def test_25_an_identity_edit_gives_the_frame(center):
    frame, square = shown(center)
    result = FramePasting()(frame, crop_face(from_uint8(frame), square), square)
    assert np.abs(result.astype(int) - frame).max() <= 1


@pytest.mark.parametrize("center", [(80.0, 60.0), (10.0, 20.0)])
def test_25_outside_the_mask_every_bit_is_the_frames(center):
    frame, square = shown(center)
    edited = np.zeros((96, 96, 3), np.float32)
    result = FramePasting(match_colour=False)(frame, edited, square)
    y, x = np.mgrid[:120, :160]
    inside = np.abs(square.to_crop(np.stack([x, y], -1)) - 47.5).max(-1) < 48
    np.testing.assert_array_equal(result[~inside], frame[~inside])
    assert (result[inside] != frame[inside]).mean() > 0.5
    wide = FramePasting(match_colour=False, feather=0.4)(frame, edited, square)
    assert (wide != frame).sum() < (result != frame).sum()
    matte = np.zeros((96, 96), np.float32)
    none = FramePasting(match_colour=False)(frame, edited, square, matte=matte)
    np.testing.assert_array_equal(none, frame)


def test_25_colours_are_matched_in_the_ring():
    y, x = np.mgrid[:120, :160]
    frame = np.stack([100 + x // 4, 90 + y // 4, 120 + 0 * x], -1).astype(np.uint8)
    square = dataclasses.replace(shown()[1], size=64)
    edited = crop_face(from_uint8(frame), square) * 0.8 - 0.2  # darker and flatter
    plain = FramePasting(match_colour=False)(frame, edited, square)
    matched = FramePasting()(frame, edited, square)
    assert np.abs(plain.astype(int) - frame).max() > 20
    assert np.abs(matched.astype(int) - frame).max() <= 4


@pytest.mark.parametrize("size", [32, 64, 200])
def test_25_colours_are_matched_likewise_where_the_unedited_crop_is_known(size):
    y, x = np.mgrid[:120, :160]
    frame = np.stack([100 + x // 4, 90 + y // 4, 120 + 0 * x], -1).astype(np.uint8)
    square = dataclasses.replace(shown()[1], size=size)
    unedited = crop_face(from_uint8(frame), square)
    edited = unedited * 0.8 - 0.2
    known = FramePasting()(frame, edited, square, unedited=unedited)
    assert np.abs(known.astype(int) - frame).max() <= 4
    same = FramePasting()(frame, unedited, square, unedited=unedited)
    np.testing.assert_array_equal(same, frame)
