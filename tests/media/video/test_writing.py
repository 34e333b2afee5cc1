"""The writer of clips; numbers are those of the requirements for video."""

from fractions import Fraction

import numpy as np
import pytest
from clips import TICKS, clicks, heard, moving, packets, write_clip
from PIL import Image

from jaxface.errors import UsageError
from jaxface.media.video.errors import UnsupportedVideoError
from jaxface.media.video.folder_writing import FolderWriter
from jaxface.media.video.reading import Span, open_clip
from jaxface.media.video.sound import Sound
from jaxface.media.video.writing import Encoding, VideoWriter
from tests.photographs import painted

av = pytest.importorskip("av", reason="PyAV, the extra video, is not installed")

NTSC = Fraction(30000, 1001)
MILLISECOND = Fraction(1, 1000)


def copy(source, path, *, span=None, sound=None, **how):
    """Writes what it reads, with the source's times and rate."""
    with open_clip(source, span=span) as clip:
        info = clip.info
        how = {"rate": info.rate, "time_base": info.time_base, **how}
        with VideoWriter(path, width=info.width, height=info.height, sound=sound, **how) as writer:
            for _, time, pixels in clip:
                writer.write(time, pixels)
    return writer


def written(path, frames, rate=NTSC, **how):
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width=width, height=height, rate=rate, **how) as writer:
        for place, frame in enumerate(frames):
            writer.write(place / Fraction(rate), frame)
    return writer


def times(path):
    with open_clip(path) as clip:
        return [time for _, time, _ in clip]


def images(path):
    with open_clip(path) as clip:
        return np.stack([pixels for _, _, pixels in clip])


@pytest.mark.parametrize("rate", [NTSC, Fraction(24000, 1001)])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
def test_10_times_are_those_given(suffix, rate, tmp_path):
    path = tmp_path / f"a.{suffix}"
    written(path, moving(14), rate, encoding=Encoding(segment=6))
    found = times(path)
    assert len(found) == 14
    off = max(abs(time - place / rate) for place, time in enumerate(found))
    assert off == 0 if suffix in ("mp4", "mov") else off <= MILLISECOND


def test_10_varying_rates_and_late_starts_are_kept(tmp_path):
    ticks = [70, 110, 150, 270, 310, 350, 351, 500]
    source = write_clip(tmp_path / "a.mkv", moving(8), times=ticks, base=MILLISECOND)
    copy(source, tmp_path / "b.mp4", encoding=Encoding(segment=3))
    assert times(tmp_path / "b.mp4") == [tick * MILLISECOND for tick in ticks]


def test_10_what_is_no_time_of_the_clip_is_refused(tmp_path):
    def write(*times):
        with VideoWriter(tmp_path / "a.mp4", width=64, height=48, rate=25) as writer:
            for time in times:
                writer.write(time, moving(1)[0])

    with pytest.raises(ValueError, match="not after the frame"):
        write(Fraction(1, 25), Fraction(1, 25))
    with pytest.raises(ValueError, match="no multiple"):
        write(Fraction(1, 30))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_11_sound_is_copied_bit_for_bit(suffix, first, tmp_path):
    source = write_clip(tmp_path / "a.mp4", moving(50), sound=("aac", clicks(2)), sound_first=first)
    writer = copy(source, tmp_path / f"b.{suffix}", sound=Sound(source))
    before, after = packets(source, "audio"), packets(tmp_path / f"b.{suffix}", "audio")
    assert [data for _, data in after] == [data for _, data in before]
    assert max(abs(a - b) for (a, _), (b, _) in zip(before, after, strict=True)) <= MILLISECOND
    assert writer.notes == []
    with av.open(str(tmp_path / f"b.{suffix}")) as container:
        assert container.streams[0].type == ("audio" if first else "video")


@pytest.mark.parametrize(
    ("source", "codec", "suffix"),
    [("a.mp4", "aac", "webm"), ("a.webm", "libopus", "mov")],
)
def test_11_sound_that_does_not_fit_is_encoded_again_in_step(source, codec, suffix, tmp_path):
    video = "libvpx-vp9" if source.endswith("webm") else "libx264"
    source = write_clip(tmp_path / source, moving(75), codec=video, sound=(codec, clicks(3)))
    writer = copy(source, tmp_path / f"b.{suffix}", sound=Sound(source))
    assert any("sound encoded again" in note for note in writer.notes)
    assert abs(_lag(source, tmp_path / f"b.{suffix}")) < 1 / 50  # half a frame


def test_11_no_sound_is_fine_and_can_be_asked_for(tmp_path):
    silent = write_clip(tmp_path / "a.mp4", moving(5))
    copy(silent, tmp_path / "b.mp4", sound=Sound(silent))
    loud = write_clip(tmp_path / "c.mp4", moving(25), sound=("aac", clicks(1)))
    copy(loud, tmp_path / "d.mp4")
    for name in ("b.mp4", "d.mp4"):
        with av.open(str(tmp_path / name)) as container:
            assert [stream.type for stream in container.streams] == ["video"]


def test_11_a_part_of_a_clip_takes_its_sound_along(tmp_path):
    source = write_clip(tmp_path / "a.mp4", moving(75), sound=("aac", clicks(3)))
    sound = Sound(source, end=Fraction(2))
    copy(source, tmp_path / "b.mp4", span=Span(start=1, end=2), sound=sound)
    assert times(tmp_path / "b.mp4")[0] == 1
    assert packets(tmp_path / "b.mp4", "audio")[-1][0] < 2


@pytest.mark.slow
def test_11_a_minute_at_29_97_stays_in_step(tmp_path):
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    long = [frames[place % 3] for place in range(1798)]
    source = write_clip(
        tmp_path / "a.mp4",
        long,
        rate=NTSC,
        sound=("aac", clicks(60)),
        options={"preset": "ultrafast"},
    )
    copy(source, tmp_path / "b.mp4", sound=Sound(source))
    assert times(tmp_path / "b.mp4")[-1] == 1797 / NTSC
    assert packets(tmp_path / "b.mp4", "audio") == packets(source, "audio")


def _lag(one, other):
    """Seconds by which the second file's sound is late, by cross-correlation."""
    (a, begins_a), (b, begins_b) = heard(one), heard(other)
    size = 1 << (len(a) + len(b)).bit_length()
    product = np.fft.irfft(np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size))
    place = int(product.argmax())
    return (place - size * (place > size // 2)) / TICKS + begins_b - begins_a


def test_12_odd_sizes_are_padded_and_told_or_kept(tmp_path):
    frames = moving(3, 31, 33)
    assert written(tmp_path / "a.mp4", frames).notes == ["33x31 padded to 34x32"]
    found = images(tmp_path / "a.mp4")
    assert found.shape == (3, 32, 34, 3)
    assert np.abs(found[:, :31, :33].astype(int) - frames).mean() < 6
    kept = written(tmp_path / "b.mp4", frames, encoding=Encoding(odd="444"))
    assert kept.notes == []
    assert images(tmp_path / "b.mp4").shape == (3, 31, 33, 3)
    assert written(tmp_path / "c.mp4", moving(2)).notes == []


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
def test_13_colours_are_bt709_and_say_so(suffix, tmp_path):
    y, x = np.mgrid[:128, :192] / 30
    natural = [130 + 60 * np.sin(x + y) + 20 * np.cos(3 * x), 120 + 70 * np.sin(y), 90 + 40 * x / 4]
    frames = np.rint(np.stack(natural, -1))[None].repeat(3, 0).clip(0, 255).astype(np.uint8)
    path = tmp_path / f"a.{suffix}"
    written(path, frames)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        tags = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
        assert tuple(map(int, tags)) == (1, 1, 1, 1)
        assert frame.format.name == "yuv420p"
    error = images(path).astype(float) - frames
    assert 10 * np.log10(255**2 / (error**2).mean()) > 40
    assert np.abs(error.mean((0, 1, 2))).max() < 1
    if suffix in ("mp4", "mov"):  # the index before the frames
        data = path.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")


def test_14_a_file_appears_whole_or_not_at_all(tmp_path):
    def stopped():
        yield moving(1)[0]
        raise RuntimeError("stopped")

    def write(frames):
        with VideoWriter(tmp_path / "a.mp4", width=64, height=48, rate=25) as writer:
            for place, frame in enumerate(frames):
                writer.write(Fraction(place, 25), frame)

    with pytest.raises(RuntimeError, match="stopped"):
        write(stopped())
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no frame"):
        write([])
    written(tmp_path / "a.mp4", moving(2))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("size", [(80, 60), (144, 60), (96, 400)])
def test_15_narrow_frames_give_the_same_bytes_from_one_run_to_the_next(size, tmp_path):
    random = np.random.default_rng(0)
    noise = random.integers(0, 20, (size[1], size[0], 3), np.uint8)
    frames = [painted(*size, face1=(6 + 2 * i, 16, 28)) // 2 + noise for i in range(8)]
    for place, frame in enumerate(frames):  # nothing that a frame before or behind foretells
        frame[16:44, 6 + 2 * place :][:, :28] = random.integers(0, 255, (28, 28, 3), np.uint8)
    written_bytes = set()
    for place in range(8):
        sizes = random.integers(1000, 600000, 30)
        held = [random.integers(0, 255, each, np.uint8) for each in sizes]
        del held[::2]  # what the encoder is given next was used before
        written(tmp_path / f"{place}.mp4", frames)
        written_bytes.add((tmp_path / f"{place}.mp4").read_bytes())
    assert len(written_bytes) == 1


@pytest.mark.parametrize("stop", [5, 8, 19])
def test_15_an_interrupted_clip_goes_on_and_is_the_same(stop, tmp_path):
    frames, sound = (
        moving(20),
        write_clip(tmp_path / "sound.mp4", moving(20), sound=("aac", clicks(0.8))),
    )
    how = {"width": 64, "height": 48, "rate": NTSC, "encoding": Encoding(segment=4)}

    def run(path, stop=None):
        with VideoWriter(path, resume={"input": 1}, sound=Sound(sound), **how) as writer:
            for place in range(writer.done, 20):
                if place == stop:
                    raise KeyboardInterrupt
                writer.write(place / NTSC, frames[place])
        return writer

    run(tmp_path / "whole.mp4")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a.mp4", stop)
    assert not (tmp_path / "a.mp4").exists()
    assert run(tmp_path / "a.mp4").done == stop // 4 * 4
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "sound.mp4", "whole.mp4"]


def test_15_other_settings_do_not_go_on(tmp_path):
    def run(resume):
        with VideoWriter(tmp_path / "a.mp4", width=64, height=48, rate=25, resume=resume) as writer:
            writer.write(Fraction(0), moving(1)[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run({"smile": 1})
    with pytest.raises(UsageError, match="other settings; use the same, or remove"):
        run({"smile": 2})


def test_16_alpha_is_kept_by_webm_alone(tmp_path):
    alpha = np.full((3, 48, 64, 1), 255, np.uint8)
    alpha[:, :, 32:] = 0
    frames = np.concatenate([moving(3), alpha], -1)
    written(tmp_path / "a.webm", frames, encoding=Encoding(alpha=True, segment=2))
    codec = av.CodecContext.create("libvpx-vp9", "r")
    with av.open(str(tmp_path / "a.webm")) as container:
        for packet in container.demux(video=0):
            for frame in codec.decode(packet if packet.size else None):
                found = frame.to_ndarray(format="rgba")[..., 3]
                assert found[:, :30].min() > 245
                assert found[:, 34:].max() < 10
    with pytest.raises(UsageError, match="alpha needs WebM"):
        written(tmp_path / "a.mp4", frames, encoding=Encoding(alpha=True))


def test_16_folders_of_images_keep_alpha_and_gifs_are_previews_only(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 4), np.uint8)
    with FolderWriter(tmp_path / "pngs", width=6, height=8) as writer:
        for place, pixels in enumerate(frames):
            writer.write(Fraction(place, 25), pixels)
    for place, pixels in enumerate(frames):
        with Image.open(tmp_path / "pngs" / f"{place:06d}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), pixels)
    with pytest.raises(UsageError, match=r"ends in .mp4, .mov"):
        written(tmp_path / "a.gif", moving(1))


def test_a_lossless_clip_gives_the_frames_back(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (5, 31, 33, 3), np.uint8)
    written(tmp_path / "a.mkv", noise, encoding=Encoding(lossless=True))
    np.testing.assert_array_equal(images(tmp_path / "a.mkv"), noise)


def test_9_a_missing_encoder_and_a_foreign_suffix_are_named(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"ends in .mp4, .mov"):
        written(tmp_path / "a.wmv", moving(1))
    monkeypatch.setattr(
        VideoWriter, "_chosen", lambda self, width, height: ("nocodec", "yuv420p", {})
    )
    with pytest.raises(UnsupportedVideoError, match="the encoder nocodec is not"):
        written(tmp_path / "a.mp4", moving(1))
