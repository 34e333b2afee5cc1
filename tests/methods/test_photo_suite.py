"""The real photo suite, where it is: motion that is read, edits that arrive, portraits that return.

`JAXFACE_PHOTO_SUITE` names its folder; the directions that edits need are those that
`configs/photo_motion.py` fits.
"""

import dataclasses
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface import load_suite
from jaxface.keys import item_keys
from jaxface.latents import broadcast_w
from jaxface.media.alignment import crop_face, ffhq_transform
from jaxface.methods import inversion, photo
from jaxface.methods.motion_editing import edit_motion, edits_motion, motion_target
from jaxface.methods.motion_reading import read_meshes, read_motion, reader_of
from jaxface.methods.presets import PRESETS
from jaxface.morphable.motion import measured
from jaxface.nets.landmarks.blendshapes import NAMES
from jaxface.nets.recognition.crops import portrait_embeddings
from tests.photographs import astronaut, astronaut_landmarks

FIXTURES = Path(
    os.environ.get("JAXFACE_FIXTURES") or Path(__file__).parents[2] / ".." / "shared" / "fixtures"
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def suite():
    folder = os.environ.get("JAXFACE_PHOTO_SUITE")
    if not folder:
        pytest.skip("JAXFACE_PHOTO_SUITE: not set to a suite of `jaxface convert photo`")
    return load_suite(folder)


@pytest.fixture(scope="module")
def portrait():
    """The astronaut, aligned as FFHQ's portraits are: [1, 512, 512, 3]."""
    image = astronaut()
    transform = ffhq_transform(astronaut_landmarks(), size=512, source=(512, 512))
    return crop_face(image, transform)[None]


def test_motion_of_the_astronaut(suite, portrait):
    """As MediaPipe reads her in the whole photograph: a broad smile, and she looks at us."""
    path = FIXTURES / "photo_suite" / "mediapipe_astronaut.npz"
    if not path.exists():
        pytest.skip(f"no parity fixtures in {FIXTURES} (set JAXFACE_FIXTURES)")
    expected = np.load(path)["blendshapes"]
    motion = jax.jit(read_motion)(reader_of(suite), jnp.asarray(portrait))
    known = [NAMES.index(name) for name in ("mouthSmileLeft", "jawOpen", "eyeBlinkLeft")]
    # Another crop, and points that are a pixel apart.
    np.testing.assert_allclose(
        motion.expression[0, [k - 1 for k in known]], expected[known], atol=0.1
    )
    pitch, yaw, roll = motion.degrees[0]
    assert abs(yaw) < 5
    assert abs(roll) < 5
    assert abs(pitch) < 20


def test_a_mirrored_face_turns_the_other_way(suite):
    """A sample of the generator and its mirror image: yaw and roll change sign, pitch stays."""
    w = suite.generator.mapping.to_w(jax.random.normal(jax.random.key(3), (1, 512)))
    w_plus = broadcast_w(w, suite.generator.num_ws)
    image = suite.generator.synthesis(w_plus, resolution=512)
    both = jnp.concatenate([image, image[:, :, ::-1]])
    reader = reader_of(suite)
    one, other = measured(jax.jit(read_motion)(reader, both), ("pitch", "yaw", "roll"))
    np.testing.assert_allclose(other, one * jnp.array([1, -1, -1]), atol=2.0)
    points = jax.jit(read_meshes)(reader, both)
    assert (points[..., :2] > -0.2).all()
    assert (points[..., :2] < 1.2).all()


def test_edits_arrive_where_they_were_sent(suite):
    """Yaw within 3 degrees and smile within 0.15, as MediaPipe reads them."""
    if not edits_motion(suite):
        pytest.skip("the suite has no direction_motion; configs/photo_motion.py makes it")
    names = suite.directions["motion"].names
    z = jax.random.normal(jax.random.key(5), (2, 512))
    w_plus = suite.generator.mapping(z, truncation=0.7)
    edits = {
        name: edit_motion(suite, w_plus, motion_target(names, {name: value}), feedback=2)
        for name, value in (("yaw", 15.0), ("smile", 0.9))
    }
    for name, value, error in (("yaw", 15.0, 3.0), ("smile", 0.9, 0.15)):
        after = edits[name].after[:, names.index(name)]
        np.testing.assert_allclose(after, value, atol=error)
    if "descriptor" in suite:
        first = portrait_embeddings(suite.descriptor, suite.generator.synthesis(w_plus))
        last = portrait_embeddings(suite.descriptor, edits["yaw"].images)
        cosines = jnp.sum(first * last, axis=1)
        cosines /= jnp.linalg.norm(first, axis=1) * jnp.linalg.norm(last, axis=1)
        assert (cosines > 0.85).all()


def test_a_portrait_comes_back_better_with_every_stage(suite, portrait):
    """The presets' stages, each a few steps, at the generator's full size."""
    assert PRESETS["photo"] == photo.PHOTO
    pivot = dataclasses.replace(photo.PIVOT, w_steps=4, w_plus_steps=4)
    few = dataclasses.replace(
        photo.PHOTO_FAST, pivot=pivot, tuning=dataclasses.replace(photo.TUNING, steps=4)
    )
    images = np.repeat(np.repeat(portrait, 2, axis=1), 2, axis=2)
    found = inversion.invert(
        few,
        suite,
        images,
        keys=item_keys(jax.random.key(0), ["astronaut"]),
        networks_key=jax.random.key(1),
    )
    first, second, third = (found.traces[name]["loss"][:, 0] for name in ("w", "w_plus", "tune"))
    assert first[0] > first[-1] > second[-1]
    assert third[0] > third[-1]
    assert found.w_plus.shape == (1, 23, 512)
