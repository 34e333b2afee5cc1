"""`jaxface reenact --method transfer`, with networks of random weights: driven by images."""

import shutil
from fractions import Fraction

import jax
import numpy as np
import pytest
from clips import clicks, packets, write_clip
from flax import nnx
from PIL import Image

from jaxface.cli import main
from jaxface.keys import item_keys
from jaxface.media.images import from_uint8, read_image
from jaxface.media.video.reading import open_clip
from jaxface.methods.reenactment import Driving, reenact
from jaxface.methods.transfer import TransferReenactment
from jaxface.morphable import NUM_PARAMETERS, FaceParameters
from jaxface.morphable.motion import motion_of_pie
from jaxface.nets import EncoderConfig, TransferConfig
from jaxface.suite import load_suite
from jaxface.weights import save_network
from tests.cli.test_edit_clips import LOSSLESS, embedding, rows_in

SIDE, ROWS, WIDTH = 16, 6, 32
TOLERANCE = 2 / 255  # the 8 bits of the results, and programs of other batch sizes
BODY = {"channels": (2, 2, 4, 4), "units": (1, 1, 1, 1), "reduction": None}


@pytest.fixture(scope="module")
def suite(tiny_suite, tmp_path_factory, random_network):
    """The tiny suite with an encoder of identity and Transfer's networks."""
    folder = tmp_path_factory.mktemp("images") / "suite"
    shutil.copytree(tiny_suite, folder)
    made = {
        "encoder": ("WEncoder", EncoderConfig(**BODY, num_ws=ROWS, w_dim=WIDTH, resolution=32)),
        "transfer": (
            "TransferNetwork",
            TransferConfig(**BODY, num_ws=ROWS, w_dim=WIDTH, resolution=16, pool=1, hidden=8),
        ),
    }
    for role, (name, config) in made.items():
        network = random_network(name, config)
        for _, module in nnx.iter_modules(network):
            if hasattr(module, "variance"):
                module.variance[...] = abs(module.variance[...]) + 0.5
        save_network(folder / f"{role}.safetensors", network)
    return folder


def frames_of(count, seed):
    return np.random.default_rng(seed).integers(0, 255, (count, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A clip of five portraits with sound."""
    folder, frames = tmp_path_factory.mktemp("driver"), frames_of(5, 3)
    sound = ("aac", clicks(0.5))
    return write_clip(folder / "nod.mp4", frames, rate=10, sound=sound, **LOSSLESS), frames


@pytest.fixture(scope="module")
def portrait(tmp_path_factory):
    path = tmp_path_factory.mktemp("portrait") / "anna.png"
    pixels = frames_of(1, 7)[0]
    Image.fromarray(pixels).save(path)
    return path, pixels


def run(capsys, *arguments):
    status = main([str(each) for each in ("reenact", "--method", "transfer", *arguments)])
    return status, capsys.readouterr()


def expected(suite, portrait, frames):
    """By the seam of Python: [T, R, R, 3], not clipped."""
    keys = item_keys(jax.random.key(0), ["anna"])
    driving = Driving(images=np.asarray(from_uint8(frames)))
    subject = np.asarray(from_uint8(portrait))[None]
    return reenact(load_suite(suite), TransferReenactment(), subject, driving, keys=keys, chunk=5)


def assert_shows(got, drawn):
    """Images in [-1, 1] are what was drawn, to 8 bits and the rounding of programs of other batch
    sizes: images of random weights reach 1e5, and a float32 of that size is rounded by 1e-2."""
    rounding = np.abs(drawn).max() * np.finfo(np.float32).eps
    np.testing.assert_allclose(got, drawn.clip(-1, 1), atol=1 / 255 + max(1 / 255, rounding))


def images_of(out, rows):
    return np.stack([read_image(out / row["edited"]).pixels for row in rows])


def test_a_portrait_moves_as_the_clips_images_do(suite, portrait, driver, tmp_path, capsys):
    (path, pixels), (clip, frames), out = portrait, driver, tmp_path / "out"
    call = (path, "--driving", clip, "--suite", suite, "--out", out, "--clip-format", "mp4")
    status, printed = run(capsys, *call, "--lossless", "--batch-size", 4)
    assert status == 0, printed.err
    assert "anna.png  ok  5 frames\n" in printed.out
    rows = sorted(rows_in(out), key=lambda row: row["frame"]["index"])
    got = images_of(out, rows)
    assert_shows(got, expected(suite, pixels, frames))
    assert np.abs(got[0] - got[1]).max() > 4 * TOLERANCE
    (made,) = (out / "clips").rglob("*.mp4")
    with open_clip(made) as opened:
        assert [frame.time for frame in opened] == [Fraction(i, 10) for i in range(5)]
    heard, sound = ([data for _, data in packets(each, "audio")] for each in (made, clip))
    assert heard == sound[: len(heard)]
    assert len(heard) >= len(sound) - 1
    # The same again has nothing left to do.
    status, printed = run(capsys, *call, "--lossless", "--batch-size", 4)
    assert status == 0, printed.err


def test_a_folder_and_one_image_drive_too(suite, portrait, tmp_path, capsys):
    """Their rate is the user's; a driver in grey is one as any."""
    people, frames = tmp_path / "people", frames_of(3, 11)
    embedding(people, {"id": "in/anna.png"}, seed=5, suite=suite, source=portrait[0])
    grey = frames[..., :1].repeat(3, axis=-1)
    numbered = tmp_path / "numbered"
    numbered.mkdir()
    for place, image in enumerate(grey):
        Image.fromarray(image[..., 0]).save(numbered / f"{place:03}.png")
    out = tmp_path / "folder"
    status, printed = run(
        capsys, people, "--driving", numbered, "--fps", 5, "--out", out, "--clip-format", "png"
    )
    assert status == 0, printed.err
    rows = sorted(rows_in(out), key=lambda row: row["frame"]["index"])
    assert [Fraction(row["frame"]["time"]) for row in rows] == [Fraction(i, 5) for i in range(3)]
    method, loaded = TransferReenactment(), load_suite(suite)
    w_plus = np.random.default_rng(5).normal(size=(1, ROWS, WIDTH)).astype(np.float32)
    subject = method.subject(loaded, w_plus)
    wanted = np.asarray(method.drive(subject, Driving(images=np.asarray(from_uint8(grey)))))
    assert_shows(images_of(out, rows), wanted)

    alone = tmp_path / "alone"
    status, printed = run(capsys, people, "--driving", numbered / "001.png", "--out", alone)
    assert status == 0, printed.err
    assert_shows(images_of(alone, rows_in(alone)), wanted[1:2])


def test_nobody_is_sampled_and_embedded(suite, driver, tmp_path, capsys):
    (clip, frames), out = driver, tmp_path / "out"
    call = ("--identity", "random", "--seed", 4, "--driving", clip, "--suite", suite, "--out", out)
    status, printed = run(capsys, *call, "--clip-format", "png")
    assert status == 0, printed.err
    rows = sorted(rows_in(out), key=lambda row: row["frame"]["index"])
    portrait = read_image(out / "random" / "seed-4.png").pixels
    sampled = TransferReenactment().random_portrait(load_suite(suite), key=jax.random.key(4))[1]
    np.testing.assert_allclose(portrait, np.asarray(sampled[0]), atol=TOLERANCE)
    pixels = np.asarray(Image.open(out / "random" / "seed-4.png"))
    assert_shows(images_of(out, rows), expected(suite, pixels, frames))
    status, printed = run(capsys, "x.png", *call)
    assert status == 2
    assert "in place of a SOURCE, and x.png is named too" in printed.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--motion", "relative"], "--motion relative: is of methods that are driven by motion"),
        (["--gain", "pose=2"], "--gain: is of methods"),
        (["--regions", "pose"], "--regions: is of methods"),
        (["--save-motion", "x.safetensors"], "--save-motion: is of methods"),
        (["--suite", "embedded-128"], "transfer"),
        ([], "holds motion and no images, and the method is driven by images"),
    ],
)
def test_what_only_motion_can_do_is_refused(suite, portrait, tmp_path, capsys, options, message):
    from jaxface.jobs.inputs.motion_files import write_motion

    face = FaceParameters.from_flat(np.zeros((2, NUM_PARAMETERS), np.float32))
    template = tmp_path / "nod.safetensors"
    write_motion(template, motion_of_pie(face), (Fraction(0), Fraction(1, 10)))
    out = tmp_path / "out"
    call = [portrait[0], "--driving", template, "--out", out, "--suite", suite, *options]
    status, printed = run(capsys, *call)
    assert status == 2
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
