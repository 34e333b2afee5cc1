"""Clips as frames; numbers are those of the requirements for video."""

import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from clips import PEAK, bars, moving, write_clip
from PIL import Image

from jaxface.errors import UsageError
from jaxface.media.video.errors import (
    DamagedVideoError,
    NotAVideoError,
    UnreadableVideoError,
    UnsupportedVideoError,
)
from jaxface.media.video.reading import Span, open_clip

pytest.importorskip("av", reason="PyAV, the extra video, is not installed")

CODECS = {"mp4": "libx264", "mov": "libx264", "mkv": "libx264", "webm": "libvpx-vp9"}
CODECS |= {"avi": "mpeg4", "gif": "gif"}


def read(path, **how):
    with open_clip(path, **how) as clip:
        return list(clip), clip.info


@pytest.mark.parametrize("suffix", CODECS)
def test_1_every_container_gives_indices_times_and_rgb(suffix, tmp_path):
    frames = moving(6)
    form = "rgb8" if suffix == "gif" else "yuv420p"
    path = write_clip(tmp_path / f"a.{suffix}", frames, codec=CODECS[suffix], pixel_format=form)
    found, info = read(path)
    assert [frame.index for frame in found] == list(range(6))
    assert all(isinstance(frame.time, Fraction) for frame in found)
    assert max(abs(f.time - found[0].time - f.index / Fraction(25)) for f in found) <= Fraction(
        1, 1000
    )
    assert (info.width, info.height, info.frames) == (64, 48, 6)
    for frame, truth in zip(found, frames, strict=True):
        assert frame.pixels.dtype == np.uint8
        assert np.abs(frame.pixels.astype(int) - truth).mean() < (40 if suffix == "gif" else 6)


def test_1_a_folder_is_read_in_natural_order_with_gaps_told(tmp_path):
    for number in (1, 2, 10, 4):
        Image.new("RGB", (32, 24), (number, 0, 0)).save(tmp_path / f"frame{number}.png")
    found, info = read(tmp_path, fps=Fraction(30000, 1001))
    assert [frame.pixels[0, 0, 0] for frame in found] == [1, 2, 4, 10]
    assert [frame.time for frame in found] == [i * Fraction(1001, 30000) for i in range(4)]
    assert any("3, 5-9" in note for note in info.notes)
    with pytest.raises(UsageError, match="how many fps"):
        read(tmp_path)
    times = ["0", "1/25", "1/5", "6/25"]
    (tmp_path / "times.json").write_text(json.dumps(times))
    assert [frame.time for frame in read(tmp_path)[0]] == [Fraction(time) for time in times]
    Image.new("RGB", (32, 26)).save(tmp_path / "frame11.png")
    with pytest.raises(DamagedVideoError, match=r"frame11.png: 32x26 px; expected 32x24"):
        read(tmp_path, fps=25)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_2_memory_does_not_grow_with_the_length(tmp_path):
    frames = moving(30, 240, 320)
    sizes = []
    for count in (300, 3000):
        path = write_clip(
            tmp_path / f"{count}.mp4",
            [frames[i % 30] for i in range(count)],
            options={"preset": "ultrafast"},
        )
        program = (
            f"{PEAK}\n"
            "import sys\n"
            "from jaxface.media.video.reading import open_clip\n"
            "with open_clip(sys.argv[1]) as clip:\n"
            "    count = sum(1 for _ in clip)\n"
            "print(count, peak())"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)], capture_output=True, check=True, text=True
        )
        told, size = map(int, done.stdout.split())
        assert told == count
        sizes.append(size / 1024)
    assert sizes[1] - sizes[0] < 30


@pytest.mark.parametrize("suffix", ["mp4", "webm", "folder"])
def test_29_how_much_is_read_is_known_without_a_header(suffix, tmp_path):
    noisy = moving(40) ^ np.random.default_rng(0).integers(0, 16, (40, 48, 64, 3), np.uint8)
    path, how = tmp_path / f"a.{suffix}", {}
    if suffix == "folder":
        path.mkdir()
        how = {"fps": 25}
        for index, frame in enumerate(noisy):
            Image.fromarray(frame).save(path / f"{index}.png")
    else:
        write_clip(path, noisy, codec=CODECS[suffix])
    with open_clip(path, **how) as clip:
        shares = [clip.info.share for _ in clip]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 0.5 < shares[-1] <= 1  # the index has its part of so small a file


def test_3_frames_are_counted_by_decoding(tmp_path):
    import av

    path = write_clip(tmp_path / "a.webm", moving(9), codec="libvpx-vp9")
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    assert read(path)[1].frames == 9


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_3_a_truncated_file_gives_its_good_frames_and_then_an_error(suffix, tmp_path):
    noisy = moving(40) ^ np.random.default_rng(0).integers(0, 16, (40, 48, 64, 3), np.uint8)
    path = write_clip(
        tmp_path / f"a.{suffix}",
        noisy,
        codec=CODECS[suffix],
        options={"g": "10", "bf": "0"} | ({"b": "4000000"} if suffix == "avi" else {}),
        container={"movflags": "+faststart"} if suffix == "mp4" else None,
    )
    whole, _ = read(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    found = []

    def take():
        with open_clip(path) as clip:
            found.extend(clip)

    with pytest.raises(DamagedVideoError, match=r"ends after \d+ good frames"):
        take()
    assert 5 < len(found) < 40
    for frame, truth in zip(found, whole, strict=False):
        np.testing.assert_array_equal(frame.pixels, truth.pixels)
    kept, info = read(path, allow_truncated=True)
    assert len(kept) == len(found)
    assert info.damage in info.notes


def test_3_what_is_no_video_says_so(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 100)
    with pytest.raises(NotAVideoError, match="not a video"):
        read(tmp_path / "a.mp4")
    with pytest.raises(UnreadableVideoError, match="No such file"):
        read(tmp_path / "b.mp4")
    (tmp_path / "c").mkdir()
    with pytest.raises(NotAVideoError, match="no images"):
        read(tmp_path / "c", fps=25)


def test_9_a_codec_without_a_decoder_is_told_and_no_program_is_called(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", moving(2))
    monkeypatch.setenv("PATH", "")
    assert len(read(path)[0]) == 2
    (tmp_path / "b.mp4").write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(UnsupportedVideoError, match="no decoder for its video codec"):
        read(tmp_path / "b.mp4")


# Degrees counter-clockwise of the display matrix, and where the mark of the top left goes.
@pytest.mark.parametrize(
    ("rotation", "turned", "mark"),
    [(0, 0, (0, 0)), (-90, 90, (0, -1)), (180, 180, (-1, -1)), (90, 270, (-1, 0))],
)
def test_4_frames_are_upright(rotation, turned, mark, tmp_path):
    frames = np.zeros((2, 48, 64, 3), np.uint8)
    frames[:, :24, :32] = 255
    path = write_clip(tmp_path / "a.mp4", frames, rotation=rotation or None)
    found, info = read(path)
    assert info.rotation == turned
    corners = found[0].pixels[[0, 0, -1, -1], [0, -1, 0, -1], 0].reshape(2, 2)
    assert corners[mark] > 200
    assert corners.sum() - corners[mark] < 100
    assert (info.height, info.width) == found[0].pixels.shape[:2]


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 6])
def test_5_and_6_matrix_range_and_depth_are_honoured(matrix, full, bits, tmp_path):
    path = write_clip(
        tmp_path / "a.mp4",
        bars()[None].repeat(2, 0),
        pixel_format="yuv444p" if bits == 8 else "yuv444p10le",
        matrix=matrix,
        full=full,
        options={"crf": "1"},
    )
    found, info = read(path)
    _near_bars(found[0].pixels, 3)
    assert any("10 bits" in note for note in info.notes) == (bits == 10)


@pytest.mark.parametrize(("height", "matrix"), [(96, 6), (720, 1)])
def test_5_an_unstated_matrix_goes_by_the_lines(height, matrix, tmp_path):
    # The matrix is used to convert, but the tag is not written.
    frames = bars(height)[None].repeat(1, 0)
    path = write_clip(
        tmp_path / "a.mp4", frames, matrix=matrix, options={"crf": "1", "colorspace": "unknown"}
    )
    found, info = read(path)
    if not any("not stated" in note for note in info.notes):
        pytest.skip("this PyAV writes the tag all the same")
    _near_bars(found[0].pixels, 3)


def _near_bars(pixels, tolerance):
    truth = bars(*pixels.shape[:2])
    inside = np.arange(pixels.shape[1]) % (pixels.shape[1] // 6)
    away = (inside > 8) & (inside < pixels.shape[1] // 6 - 8)
    error = np.abs(pixels.astype(int) - truth)[8:-8, away]
    assert error.max() <= tolerance


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_6_hdr_is_refused_by_name(transfer, name, tmp_path):
    path = write_clip(
        tmp_path / "a.mp4",
        moving(2),
        pixel_format="yuv420p10le",
        matrix=9,
        transfer=transfer,
    )
    with pytest.raises(UnsupportedVideoError, match=name):
        read(path)


def test_7_interlaced_is_told_and_can_be_undone(tmp_path):
    frames = np.zeros((6, 48, 64, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[::2, 8 * i : 8 * i + 8] = 255
        frame[1::2, 8 * i + 4 : 8 * i + 12] = 255
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1:log-level=none"}
    path = write_clip(tmp_path / "a.mp4", frames, options=options)
    combed, info = read(path)
    assert info.interlaced
    assert "interlaced" in info.notes
    smooth, info = read(path, deinterlace=True)
    assert "interlaced, deinterlaced" in info.notes
    assert [frame.time for frame in smooth] == [frame.time for frame in combed]

    def combs(found):
        return np.abs(np.diff(found[2].pixels[..., 0].astype(int), axis=0)).mean()

    assert combs(smooth) < combs(combed) / 4


def test_7_pixels_become_square(tmp_path):
    path = write_clip(tmp_path / "a.mp4", moving(2), aspect=Fraction(4, 3))
    found, info = read(path)
    assert found[0].pixels.shape == (48, 85, 3)
    assert any("pixel aspect 4/3" in note for note in info.notes)


def test_8_parts_keep_their_true_times(tmp_path):
    times = [0, 40, 80, 200, 240, 280, 290, 400]
    path = write_clip(
        tmp_path / "a.mp4", moving(8), times=times, base=Fraction(1, 1000), options={"bf": "2"}
    )

    def seen(**part):
        return [(f.index, int(f.time * 1000)) for f in read(path, span=Span(**part))[0]]

    assert seen() == list(enumerate(times))
    assert seen(start=0.08, end=Fraction(29, 100)) == [(2, 80), (3, 200), (4, 240), (5, 280)]
    assert seen(first=3, last=6) == [(3, 200), (4, 240), (5, 280)]
    assert seen(first=1, every=3) == [(1, 40), (4, 240), (7, 400)]
    with pytest.raises(ValueError, match="no part"):
        Span(start=2, end=1)
