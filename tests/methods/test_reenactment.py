"""Reenactment: chunks and checks with toy methods; PIE's RigNets with the shipped suite."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.errors import SuiteError
from jaxface.losses.identity import similarity
from jaxface.methods import pie
from jaxface.methods.direction_matrix.reenactment import MatrixReenactment
from jaxface.methods.pie import editing
from jaxface.methods.pie.reenactment import RigNetReenactment
from jaxface.methods.reenactment import (
    Driving,
    Subject,
    drive_chunks,
    read_motion,
    reenact,
)
from jaxface.methods.reenactment_presets import REENACTMENT_PRESETS
from jaxface.morphable import (
    EXPRESSION_NAMES,
    NUM_FACTORS,
    NUM_FLAME_PARAMETERS,
    NUM_PARAMETERS,
    FaceParameters,
    FlameParameters,
    render,
    scene_from_gaussian,
)
from jaxface.morphable.attributes import group_places
from jaxface.morphable.motion import JAW_OPEN, motion_of_deca, motion_of_pie
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.nets.variables import Buffer
from jaxface.suite import Suite, load_suite

SIDE = 16  # 768 pixel values hold the 257 parameters
POSE, EXPRESSION = group_places("pose"), group_places("expression")


class Generator(nnx.Module):
    """The latent's numbers are the image's first pixel values."""

    def __init__(self, offset: float = 0.0):
        self.num_ws, self.resolution = 2, SIDE
        self.config = types.SimpleNamespace(w_dim=SIDE * SIDE * 3 // 2)
        self.offset = nnx.Param(jnp.asarray(offset))

    def synthesis(self, w_plus, noise):
        assert noise == "const"
        return w_plus.reshape(-1, SIDE, SIDE, 3) + self.offset[...]


class Reconstruction(nnx.Module):
    def __init__(self):
        self.unused = nnx.Param(jnp.zeros(()))

    def __call__(self, images):
        return images.reshape(len(images), -1)[:, :NUM_PARAMETERS]


class RigNet(nnx.Module):
    """Gives the group the very parameters that are asked for."""

    def __init__(self, group: str):
        self.places = Buffer(jnp.asarray(group_places(group)))

    def __call__(self, w_plus, parameters):
        flat = w_plus.reshape(len(w_plus), -1)
        return flat.at[:, self.places[...]].set(parameters).reshape(w_plus.shape)


class Toy(dict):
    """A suite by its attributes; `in` asks for a role."""

    def __init__(self, **networks):
        super().__init__(networks)
        self.__dict__.update(networks, name="toy", files=sorted(networks))

    def require(self, roles):
        Suite.require(self, roles)

    def metadata(self, role):
        if role not in self:
            raise SuiteError(f"suite 'toy' has no {role}; it has {', '.join(self.files)}")


@pytest.fixture(scope="module")
def toy():
    rignets = {group: RigNet(group) for group in ("pose", "expression")}
    named = {f"rignet_{group}": network for group, network in rignets.items()}
    return Toy(generator=Generator(), reconstruction=Reconstruction(), rignets=rignets, **named)


def parameters(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, NUM_PARAMETERS)).astype(np.float32)


def latents(theta: np.ndarray) -> np.ndarray:
    return np.pad(theta, ((0, 0), (0, SIDE * SIDE * 3 - theta.shape[1]))).reshape(len(theta), 2, -1)


def shown(images) -> np.ndarray:
    return np.asarray(images).reshape(len(images), -1)[:, :NUM_PARAMETERS]


@dataclasses.dataclass(frozen=True)
class Copy:
    """A toy method: the subject's first frame, brightened by the driver's pitch."""

    requires = ("motion",)

    def roles(self):
        return {"generator": "drawing"}

    def adapt(self, suite, frames, *, keys):
        motion = motion_of_pie(FaceParameters.from_flat(jnp.zeros((1, NUM_PARAMETERS))))
        return Subject(suite, frames.reshape(len(frames), 2, -1), motion, suite.generator)

    def drive(self, subject, driving):
        assert len(driving) == 4
        assert len(driving.whole) == 6
        images = subject.generator.synthesis(subject.w_plus[:1], "const")
        return images + driving.motion.rotation[:, :1, None, None]


def test_a_method_of_a_few_lines_draws_a_clip_in_chunks(toy):
    motion = motion_of_pie(FaceParameters.from_flat(jnp.asarray(parameters(0, 6))))
    frames = np.random.default_rng(1).normal(size=(1, SIDE, SIDE, 3)).astype(np.float32)
    keys, told = jax.random.split(jax.random.key(0), 1), []

    def progress(done, total):
        told.append((done, total))

    clip = reenact(
        toy, Copy(), frames, Driving(motion=motion), keys=keys, chunk=4, progress=progress
    )
    expected = frames + np.asarray(motion.rotation)[:, :1, None, None]
    np.testing.assert_allclose(clip, expected, atol=1e-6)
    assert told == [(4, 6), (6, 6)]


@pytest.fixture(scope="module")
def subject(toy):
    return RigNetReenactment().subject(toy, latents(parameters(2, 1)))


def driven(method, subject, motion, chunk=4):
    drawn = drive_chunks(method, subject, Driving(motion=motion), chunk=chunk)
    return shown(np.concatenate(list(drawn)))


def test_absolute_motion_is_the_drivers(subject):
    """Rotation and expression become the driver's; place, person and light stay the subject's."""
    theta, own = parameters(3, 6), parameters(2, 1)
    got = driven(RigNetReenactment(), subject, motion_of_pie(FaceParameters.from_flat(theta)))
    expected = np.repeat(own, 6, axis=0)
    expected[:, POSE[:3]] = theta[:, POSE[:3]]
    expected[:, EXPRESSION] = theta[:, EXPRESSION]
    np.testing.assert_allclose(got, expected, atol=1e-5)  # feedback adds and subtracts float32
    posed = driven(
        RigNetReenactment(groups=("pose",)), subject, motion_of_pie(FaceParameters.from_flat(theta))
    )
    expected[:, EXPRESSION] = own[:, EXPRESSION]
    np.testing.assert_allclose(posed, expected, atol=1e-5)


@pytest.mark.parametrize("neutral", [0, 2, "mean"])
def test_relative_motion_is_added_to_the_subjects(subject, neutral):
    """The neutral is of the whole clip, also for the frames of a later chunk."""
    theta, own = parameters(3, 6), parameters(2, 1)
    got = driven(
        RigNetReenactment(relative_to=neutral),
        subject,
        motion_of_pie(FaceParameters.from_flat(theta)),
    )
    rest = theta.mean(axis=0) if neutral == "mean" else theta[neutral]
    expected = np.repeat(own, 6, axis=0)
    for places in (POSE[:3], EXPRESSION):
        expected[:, places] += (theta - rest)[:, places]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_decas_motion_turns_the_head_and_opens_the_jaw(subject):
    flat = 0.1 * np.random.default_rng(4).normal(size=(3, NUM_FLAME_PARAMETERS))
    face = FlameParameters.from_flat(jnp.asarray(flat, jnp.float32))
    motion = motion_of_deca(face)
    own = parameters(2, 1)
    expected = np.repeat(own, 3, axis=0)
    expected[:, POSE[:3]] = motion.rotation
    jaw = EXPRESSION[EXPRESSION_NAMES.index("jaw_open")]
    left = EXPRESSION[EXPRESSION_NAMES.index("jaw_left")]
    got = driven(RigNetReenactment(), subject, motion)
    expected[:, jaw] = np.asarray(face.pose)[:, 3] / JAW_OPEN
    expected[:, left] = got[:, left]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    got = driven(RigNetReenactment(relative_to=0), subject, motion)
    change = np.asarray(face.pose - face.pose[:1])[:, 3] / JAW_OPEN
    np.testing.assert_allclose(got[:, jaw], own[0, jaw] + change, atol=1e-5)


def test_a_tuned_generator_draws_and_is_read(toy):
    """The subject's own parameters are read from what its generator draws."""
    tuned = Generator(offset=0.25)
    method = RigNetReenactment(groups=("pose",), relative_to=0)
    theta = parameters(3, 2)
    motion = motion_of_pie(FaceParameters.from_flat(theta))
    suite = load_suite("embedded")
    suite = dataclasses.replace(suite, _loaded=dict(toy))
    subject = RigNetReenactment().subject(toy, latents(parameters(2, 1)), generator=tuned)
    np.testing.assert_allclose(subject.motion.rotation, parameters(2, 1)[:, :3] + 0.25, atol=1e-6)
    subject = dataclasses.replace(subject, suite=suite)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(editing, "rignet_of", lambda _, group: toy.rignets[group])
        got = driven(method, subject, motion)
    expected = parameters(2, 1)[0, :3] + 0.25 + theta[:, :3] - theta[0, :3]
    np.testing.assert_allclose(got[:, POSE[:3]], expected, atol=1e-5)
    assert suite.generator is toy.generator


def test_nothing_compiles_for_another_clip(subject):
    """Clips of 6, 9 and 3 frames and other values run the programs of the first."""
    method = RigNetReenactment()
    motion = motion_of_pie(FaceParameters.from_flat(jnp.asarray(parameters(5, 9))))
    first = driven(method, subject, motion[:6])
    programs = editing.apply_together._cache_size()
    whole = driven(method, subject, motion)
    np.testing.assert_array_equal(driven(method, subject, motion[6:]), whole[6:])
    np.testing.assert_array_equal(whole[:6], first)
    assert editing.apply_together._cache_size() == programs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "got none"),
        ({"images": np.zeros((2, 4, 4, 3)), "landmarks": np.zeros((3, 68, 2))}, "landmarks of 3"),
        ({"landmarks": np.zeros((2, 5, 2))}, r"\[T, 68, 2\], got \[2, 5, 2\]"),
        ({"images": np.zeros((2, 4, 4))}, r"\[T, R, R, 3\], got \[2, 4, 4\]"),
        ({"images": np.zeros((0, 4, 4, 3))}, "one frame or more"),
    ],
)
def test_wrong_driving_frames_are_told(given, message):
    with pytest.raises(ValueError, match=message):
        Driving(**given)


def test_mistakes_are_told(toy, subject):
    images = Driving(images=np.zeros((2, SIDE, SIDE, 3)))
    frames, keys = np.zeros((1, SIDE, SIDE, 3)), jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ValueError, match="need motion; got image without motion"):
        reenact(toy, Copy(), frames, images, keys=keys)
    motion = motion_of_pie(FaceParameters.from_flat(jnp.asarray(parameters(0, 2))))
    driving = Driving(motion=motion)
    with pytest.raises(ValueError, match=r"\[K, 16, 16, 3\], got \[1, 8, 16, 3\]"):
        reenact(toy, Copy(), frames[:, :8], driving, keys=keys[:1])
    with pytest.raises(ValueError, match="a key for each of 1"):
        reenact(toy, Copy(), frames, driving, keys=keys)
    with pytest.raises(ValueError, match="chunk must be >= 1"):
        next(drive_chunks(Copy(), subject, driving, chunk=0))
    with pytest.raises(SuiteError, match=r"no perceptual;.*term .synthesis. needs it"):
        toy.require(RigNetReenactment(inversion=pie.EMBEDDED).roles())
    with pytest.raises(ValueError, match="one frame, got 2"):
        RigNetReenactment().adapt(toy, np.repeat(frames, 2, axis=0), keys=keys)
    with pytest.raises(ValueError, match=r"\[1, 2, 384\], got \[2, 2, 384\]"):
        RigNetReenactment().subject(toy, latents(parameters(0, 2)))
    with pytest.raises(ValueError, match="frame 2, and the clip has 2"):
        RigNetReenactment(relative_to=2).drive(subject, driving)
    basel = Driving(motion=motion_of_pie(FaceParameters.from_flat(parameters(0, 2)), basis="basel"))
    with pytest.raises(ValueError, match="'basel' say nothing of 'embedded'"):
        RigNetReenactment().drive(subject, basel)
    for wrong, message in (
        ({"groups": ("light",)}, "pose, expression"),
        ({"groups": ()}, "one or more"),
        ({"relative_to": "first"}, "'mean' or None, got 'first'"),
        ({"feedback": -1}, "got -1"),
        ({"inversion": dataclasses.replace(pie.EMBEDDED, noise="random")}, "flicker"),
    ):
        with pytest.raises(ValueError, match=message):
            RigNetReenactment(**wrong)


def test_presets_are_hashable_settings():
    assert len({hash(method) for method in REENACTMENT_PRESETS.values()}) == len(
        REENACTMENT_PRESETS
    )
    for name, method in REENACTMENT_PRESETS.items():
        if name not in ("direction_matrix_paper", "direction_matrix_code"):  # LPIPS on AlexNet
            load_suite("embedded").require(method.roles())


def test_presets_correct_columns_that_the_shipped_matrix_has():
    names = set(load_suite("embedded").direction_matrix.names)
    for name in ("direction_matrix", "direction_matrix_relative", "direction_matrix_encoder"):
        method = REENACTMENT_PRESETS[name]
        assert isinstance(method, MatrixReenactment)
        assert method.corrected is not None
        assert set(method.corrected) <= names


@pytest.fixture(scope="module")
def suite():
    return load_suite("embedded")


@pytest.fixture(scope="module")
def people():
    """Factors of three people, the first two driven in the tests, and their scenes."""
    return jax.random.normal(jax.random.key(11), (3, NUM_FACTORS))


YAWS = np.linspace(-30, 30, 7)


@pytest.fixture(scope="module")
def sweep(people):
    """Renders of the second person, who turns from the left to the right, and their faces."""
    scene = jax.tree.map(
        lambda leaf: jnp.repeat(leaf[1:2], len(YAWS), axis=0), scene_from_gaussian(people)
    )
    rotation = jnp.zeros((len(YAWS), 3)).at[:, 1].set(jnp.deg2rad(YAWS))
    scene = dataclasses.replace(scene, face=dataclasses.replace(scene.face, rotation=rotation))
    return np.asarray(render(scene, 64)), scene.face


@jax.jit
def likeness(network, images, wanted):
    return similarity(portrait_embeddings(network, images), portrait_embeddings(network, wanted))


def check_sweep(suite, clip, yaws, portrait, sweep):
    """The clip turns as asked, and shows the subject rather than the driver."""
    read = read_motion(suite, clip, chunk=4).degrees[:, 1]
    assert np.all(np.diff(read) > 0)
    # Degrees; the readings are at most 0.9 off, and the network's own error is some 1.7.
    np.testing.assert_allclose(read, yaws, atol=3)
    subject = likeness(suite.recognition, clip, np.repeat(portrait, len(clip), axis=0))
    driver = likeness(suite.recognition, clip, sweep)
    assert np.all(np.asarray(subject) > np.asarray(driver) + 0.1)


@pytest.mark.slow
def test_a_head_turns_as_the_driver_does(suite, people, sweep):
    """A generated person is driven by renders that the suite reads: the pose is the driver's."""
    images, face = sweep
    motion = read_motion(suite, images, chunk=4)
    # The network reads the true yaws within 1.5 degrees.
    np.testing.assert_allclose(motion.degrees[:, 1], YAWS, atol=2.5)
    z = jnp.pad(people[:1], ((0, 0), (0, suite.generator.config.z_dim - NUM_FACTORS)))
    w_plus = jax.jit(lambda generator, z: generator.mapping(z))(suite.generator, z)
    method = RigNetReenactment(groups=("pose",))
    subject = method.subject(suite, w_plus)
    portrait = jax.jit(lambda generator, w: generator.synthesis(w, noise="const"))(
        suite.generator, w_plus
    )
    clip = np.concatenate(list(drive_chunks(method, subject, Driving(motion=motion), chunk=4)))
    assert clip.shape == (7, 64, 64, 3)
    check_sweep(suite, clip, np.rad2deg(face.rotation[:, 1]), portrait, images)


@pytest.mark.slow
def test_a_portrait_is_embedded_and_driven(suite, people, sweep):
    """From a render of a person nobody generated, with the terms that make it editable."""
    images, face = sweep
    scene = jax.tree.map(lambda leaf: leaf[2:3], scene_from_gaussian(people))
    portrait = np.asarray(render(scene, 64))
    inversion = dataclasses.replace(pie.EMBEDDED_ALL, w_steps=100, w_plus_steps=100, bank=32)
    clip = reenact(
        suite,
        RigNetReenactment(groups=("pose",), inversion=inversion),
        portrait,
        Driving(motion=motion_of_pie(face)),
        keys=jax.random.split(jax.random.key(0), 1),
        chunk=4,
    )
    check_sweep(suite, clip, YAWS, portrait, images)
