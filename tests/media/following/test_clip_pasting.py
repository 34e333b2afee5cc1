"""A clip from its file back to a file; numbers are those of the requirements for video."""

import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from clips import PEAK, clicks, moving, packets, write_clip

from jaxface.media.alignment import crop_face
from jaxface.media.following.clip_pasting import paste_clip, write_report
from jaxface.media.following.following import Following
from jaxface.media.images import from_uint8
from jaxface.media.video.frames import Frame
from jaxface.media.video.reading import open_clip
from jaxface.media.video.timing import at_constant_rate, resampled
from jaxface.media.video.writing import Encoding

MARKS = np.random.default_rng(0).normal(size=(68, 2)) * 6
MARKS[36:42], MARKS[42:48] = (-6, -4), (6, -4)
MARKS[48], MARKS[54] = (-5, 7), (5, 7)


@pytest.fixture
def clip(tmp_path):
    """A clip of 12 frames with sound, turned by a quarter, and its faces; none in frame 0."""
    path = write_clip(
        tmp_path / "talk.mp4", moving(12, 96, 64), rotation=-90, sound=("aac", clicks(0.48))
    )
    following = Following(size=64)
    with open_clip(path) as opened:
        for frame in opened:
            place = MARKS[None] + (48 + frame.index, 34)
            following.add(frame, place[:0] if frame.index == 0 else place)
    return path, following.finish()


def test_17_18_25_an_identity_edit_gives_the_clip_with_its_sound(clip, tmp_path):
    source, faces = clip

    def same(place, track, pixels, square):
        return crop_face(from_uint8(pixels), square)

    out = tmp_path / "same.mkv"
    notes = paste_clip(source, out, faces, same, encoding=Encoding(lossless=True))
    assert "turned by 90 degrees clockwise" in notes
    with open_clip(source) as before, open_clip(out) as after:
        pairs = list(zip(before, after, strict=True))
    assert len(pairs) == 12
    for one, other in pairs:
        assert one.pixels.shape == (64, 96, 3)
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1
        assert abs(one.time - other.time) <= Fraction(1, 1000)
    np.testing.assert_array_equal(pairs[0][0].pixels, pairs[0][1].pixels)
    assert [d for _, d in packets(out, "audio")] == [d for _, d in packets(source, "audio")]
    write_report(tmp_path / "report.jsonl", faces)
    rows = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["no_face"] + ["ok"] * 11


def test_15_25_only_the_face_changes_and_an_interrupted_run_goes_on(clip, tmp_path):
    source, faces = clip
    called = []

    def grey(place, track, pixels, square):
        called.append(place)
        if len(called) == stop:
            raise KeyboardInterrupt
        return np.zeros((64, 64, 3), np.float32)

    how = {"encoding": Encoding(lossless=True, segment=5), "resume": {"edit": "grey"}}
    stop = None
    paste_clip(source, tmp_path / "whole.mkv", faces, grey, **how)
    called, stop = [], 8
    with pytest.raises(KeyboardInterrupt):
        paste_clip(source, tmp_path / "a.mkv", faces, grey, **how)
    called, stop = [], None
    paste_clip(source, tmp_path / "a.mkv", faces, grey, **how)
    assert called == list(range(5, 12))
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()
    y, x = np.mgrid[:64, :96]
    with open_clip(source) as before, open_clip(tmp_path / "a.mkv") as after:
        for one, other in zip(before, after, strict=True):
            changed = (one.pixels != other.pixels).any(-1)
            for square in faces.squares[one.index].values():
                away = np.abs(square.to_crop(np.stack([x, y], -1)) - 31.5).max(-1) >= 32
                assert changed.any()
                assert not changed[away].any()


WHOLE_PATH = f"""{PEAK}
import sys
import numpy as np
from jaxface.media.following.clip_pasting import paste_clip
from jaxface.media.following.following import Following
from jaxface.media.video.ahead import read_ahead
from jaxface.media.video.reading import open_clip

source, marks, out = sys.argv[1:]
marks, following = np.load(marks), Following(size=64)
with open_clip(source) as clip, read_ahead(clip) as frames:
    for frame in frames:
        following.add(frame, marks[None] + (160 + 40 * np.sin(frame.index / 20), 120))
faces = following.finish()
grey = np.zeros((64, 64, 3), np.float32)
paste_clip(source, out, faces, lambda place, track, pixels, square: grey)
print(len(faces.rows), peak() / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_2_memory_of_the_whole_path_does_not_grow_with_the_length(tmp_path):
    """Reading, following, pasting and writing of 3,000 frames: less than 30 MB over 300's."""
    np.save(tmp_path / "marks.npy", MARKS * 4)
    frames, sizes = moving(30, 240, 320), []
    for count in (300, 3000):
        many = [frames[i % 30] for i in range(count)]
        path = write_clip(
            tmp_path / f"{count}.mp4",
            many,
            sound=("aac", clicks(count / 25)),
            options={"preset": "ultrafast"},
        )
        done = subprocess.run(
            [sys.executable, "-c", WHOLE_PATH, path, tmp_path / "marks.npy", tmp_path / "out.mp4"],
            capture_output=True,
            check=True,
            text=True,
        )
        told, size = done.stdout.split()
        assert int(told) == count
        sizes.append(float(size))
    print(f"{sizes[0]:.0f} and {sizes[1]:.0f} MB")
    assert sizes[1] - sizes[0] < 30


def test_10_a_constant_rate_goes_by_time():
    times = [Fraction(t, 1000) for t in (0, 40, 80, 200, 240)]
    frames = [Frame(i, time, np.full((1, 1, 3), i)) for i, time in enumerate(times)]
    found = list(at_constant_rate(frames, 25))
    assert [frame.time for frame in found] == [Fraction(i, 25) for i in range(7)]
    assert [frame.pixels[0, 0, 0] for frame in found] == [0, 1, 2, 2, 3, 3, 4]
    assert [frame.pixels[0, 0, 0] for frame in at_constant_rate(frames, 10)] == [0, 2, 3]


def test_27_a_driver_of_another_rate_is_resampled_by_time():
    driver = [Fraction(i, 30) for i in range(31)]
    at = [Fraction(i * 1001, 24000) for i in range(24)]
    motion = np.array([[float(t), 2 * float(t)] for t in driver])
    found = resampled(driver, motion, at)
    np.testing.assert_allclose(found[:, 0], [float(t) for t in at], atol=1e-12)
    np.testing.assert_allclose(resampled(driver, motion, [2])[0], (1, 2))
