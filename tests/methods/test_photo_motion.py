"""Motion of photographs: how it is read, directions of it, and edits along them."""

import functools
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxface.errors import UsageError
from jaxface.methods import motion_directions, motion_editing
from jaxface.methods.motion_directions import MotionDirectionSettings
from jaxface.methods.motion_editing import MotionNetworks, apply_motion, motion_target
from jaxface.methods.ridge import ridge
from jaxface.morphable.arkit import ARKIT_UNITS, EXPRESSIONS
from jaxface.morphable.camera import rotation_matrix
from jaxface.morphable.motion import measured, motion_names, motion_of_arkit, pie_group
from jaxface.nets import CanonicalFaceConfig
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.nets.landmarks.blendshapes import NAMES
from jaxface.nets.landmarks.face_mesh import EYE_CORNERS, Mesh
from jaxface.nets.landmarks.portrait_mesh import Squares, points_in_squares, squares_around
from jaxface.vocabulary import EXPRESSION_NAMES
from jaxface.weights import load_network, save_network

ANGLES = jnp.deg2rad(jnp.array([[5.0, -20.0, 3.0], [0.0, 0.0, 0.0], [-12.0, 35.0, -8.0]]))


def test_the_canonical_face_gives_the_rotation(random_network):
    face = random_network("CanonicalFace", CanonicalFaceConfig(9))
    face.weights[...] = jnp.array([0.0] + [1.0] * 8)
    turned = jnp.einsum("nij,pj->npi", rotation_matrix(ANGLES), face.vertices[...])
    # Pixels: y down, z away from the camera, of any size and place; more points than it has.
    points = 37.0 * turned * jnp.array([1.0, -1.0, -1.0]) + jnp.array([200.0, 150.0, 4.0])
    points = jnp.pad(
        points.at[:, 0].add(50.0), ((0, 0), (0, 2), (0, 0))
    )  # the first is of no weight
    # float32, from coordinates of hundreds.
    np.testing.assert_allclose(face(points), rotation_matrix(ANGLES), atol=1e-4)
    mirrored = points * jnp.array([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(jnp.linalg.det(face(mirrored)), 1.0, atol=1e-5)
    with pytest.raises(ValueError, match=r"expected \[N, 9, 3\]"):
        face(points[:, :8])


@pytest.fixture(scope="module")
def motion():
    values = np.random.default_rng(0).uniform(size=(3, 52)).astype(np.float32)
    return motion_of_arkit(rotation_matrix(ANGLES), jnp.asarray(values)), values


def test_arkits_units_in_their_order(motion):
    found, values = motion
    assert NAMES[1:] == ARKIT_UNITS[:-1]
    assert (found.basis, found.jaw) == ("arkit", None)
    np.testing.assert_array_equal(found.expression[:, :-1], values[:, 1:])
    np.testing.assert_array_equal(found.expression[:, -1], 0)
    np.testing.assert_allclose(found.rotation, ANGLES, atol=1e-6)
    with pytest.raises(ValueError, match=r"expected \[T, 3, 3\] and \[T, 52\]"):
        motion_of_arkit(rotation_matrix(ANGLES), jnp.zeros((3, 51)))


def test_motion_in_the_numbers_that_users_name(motion):
    found, values = motion
    assert set(EXPRESSIONS) == set(EXPRESSION_NAMES)
    assert {unit for units in EXPRESSIONS.values() for unit in units} < set(ARKIT_UNITS)
    numbers = measured(found, ("yaw", "smile", "blink_left", "jawOpen", "roll"))
    smile = values[:, [NAMES.index("mouthSmileLeft"), NAMES.index("mouthSmileRight")]].mean(axis=1)
    # The image's left is the person's right.
    blink, jaw = values[:, NAMES.index("eyeBlinkRight")], values[:, NAMES.index("jawOpen")]
    wanted = np.stack([[-20, 0, 35], smile, blink, jaw, [3, 0, -8]], axis=1)
    np.testing.assert_allclose(numbers, wanted, atol=1e-4)
    assert len(motion_names()) == 3 + 14 + 52
    with pytest.raises(ValueError, match="did you mean 'smile'"):
        measured(found, ("smil",))


def test_a_motion_moves_what_reenactment_moves(motion):
    """The pose drives any face; expressions those of the same basis."""
    found, _ = motion
    np.testing.assert_allclose(pie_group(found, "pose")[:, :3], ANGLES, atol=1e-6)
    change = found.relative(to=found[1])
    np.testing.assert_allclose(found[1].plus(change).rotation, found.rotation, atol=1e-6)
    with pytest.raises(ValueError, match="'arkit'"):
        measured(found.replace(basis="flame"), ("yaw",))


# ---- Reading


class Brightest(NamedTuple):
    """A mesh network all of whose points are where its image is brightest, from its corner."""

    config: Any = types.SimpleNamespace(input_size=32)

    def __call__(self, images):
        count, size = len(images), self.config.input_size
        place = jnp.argmax(images.sum(-1).reshape(count, -1), axis=1)
        flat = jnp.stack([place % size, place // size], axis=-1) + 0.5
        points = jnp.broadcast_to(flat[:, None], (count, 478, 2))
        return Mesh(jnp.pad(points, ((0, 0), (0, 0), (0, 1)), constant_values=4.0), None)


def test_points_come_back_from_turned_squares():
    image = np.full((1, 64, 64, 3), -1.0, np.float32)
    image[0, 20:23, 40:43] = 1.0  # its middle at (41.5, 21.5) of 64
    for degrees in (0.0, 25.0, -70.0):
        axis = 0.35 * np.array([[np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))]])
        squares = Squares(jnp.array([[0.55, 0.4]]), jnp.asarray(axis, jnp.float32))
        points = points_in_squares(Brightest(), jnp.asarray(image), squares)  # pyright: ignore
        pixel = 0.7 / 32
        assert np.abs(points[0, 0, :2] - np.array([41.5, 21.5]) / 64).max() < 1.5 * pixel
        np.testing.assert_allclose(points[..., 2], 4.0 / 16 * 0.35, rtol=1e-5)  # z in x's scale


def test_the_square_around_known_points():
    points = np.zeros((1, 478, 3), np.float32)
    points[0, :, :2] = (0.5, 0.6)
    points[0, EYE_CORNERS[0], :2], points[0, EYE_CORNERS[1], :2] = (0.4, 0.5), (0.6, 0.6)
    points[0, 152, :2] = (0.5, 0.9)
    squares = squares_around(jnp.asarray(points))
    np.testing.assert_allclose(squares.centres, [[0.5, 0.7]], atol=1e-6)
    level = np.array([0.2, 0.1]) / np.hypot(0.2, 0.1)
    np.testing.assert_allclose(squares.axes[0], 1.5 / 2 * 0.4 * level, atol=1e-6)


# ---- Directions


@pytest.fixture(scope="module")
def world():
    """Latents of a known covariance, and motions that are linear in them but for some noise."""
    random = np.random.default_rng(0)
    mix = random.normal(size=(12, 12)) / 3
    latents = 1.0 + random.normal(size=(800, 12)) @ mix
    rows = random.normal(size=(2, 12)) * np.array([[6.0], [0.2]])
    motions = latents @ rows.T
    motions += 0.1 * motions.std(axis=0) * random.normal(size=motions.shape)
    return latents, motions, rows, mix.T @ mix


def test_a_direction_changes_its_motion_alone_by_one_unit(world):
    latents, motions, rows, covariance = world
    found = motion_directions.motion_directions(
        latents, motions, ("yaw", "smile"), covariance=covariance
    )
    assert found.config.unit_names == ("degree", "ARKit unit")
    moved = np.stack([found.move(jnp.zeros((1, 12)), name, 1.0)[0] for name in ("yaw", "smile")])
    changed = moved @ rows.T / motions.std(axis=0)
    # A tenth of noise over 800 samples, in deviations of the motions.
    np.testing.assert_allclose(changed, np.diag(1 / motions.std(axis=0)), atol=0.02)
    np.testing.assert_allclose(found.mean, latents.mean(0), atol=1e-5)
    # The shortest by the covariance: no change that leaves both motions makes it shorter.
    inverse = np.linalg.inv(covariance)
    free = np.linalg.svd(rows)[2][2:]
    exact = covariance @ rows.T @ np.linalg.inv(rows @ covariance @ rows.T)
    assert np.abs(free @ inverse @ exact).max() < 1e-8
    np.testing.assert_allclose(moved, exact.T, atol=0.03 * np.abs(exact).max())


def test_ridge_leaves_what_the_inputs_do_not_tell():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(60, 40))
    outputs = np.stack([inputs[:, 0] + 0.1 * random.normal(size=60), random.normal(size=60)], 1)
    outputs = (outputs - outputs.mean(0)) / outputs.std(0)
    rows, explained = ridge(inputs - inputs.mean(0), outputs)
    assert explained[0] > 0.8
    assert explained[1] < 0.2
    assert np.abs(rows[0, 0]) > 0.7
    assert np.abs(rows[1]).max() < 0.2


def test_directions_keep_the_names_of_their_units(tmp_path):
    found = directions_of(["yaw"], jnp.ones((1, 4)), unit_names=["degree"])
    save_network(tmp_path / "direction_motion.safetensors", found)
    again = load_network(tmp_path / "direction_motion.safetensors")
    assert again.config.unit_names == ("degree",)
    with pytest.raises(ValueError, match="unit_names: expected none or 1"):
        directions_of(["yaw"], jnp.ones((1, 4)), unit_names=["a", "b"])


def test_motions_without_a_direction_are_refused():
    values = np.random.default_rng(0).normal(size=(50, 2))
    latents = np.random.default_rng(1).normal(size=(50, 4))
    fit = functools.partial(motion_directions.motion_directions, covariance=np.eye(4))
    with pytest.raises(ValueError, match="smile does not vary"):
        fit(latents, values * [1, 0], ("yaw", "smile"))
    known = latents[:, :1] + 0.1 * values[:, :1]
    with pytest.raises(ValueError, match="do not vary independently"):
        fit(latents, known * [1, 2], ("yaw", "pitch"))
    noise = np.random.default_rng(2).normal(size=(50, 1))
    with pytest.raises(ValueError, match="50 samples tell nothing of smile"):
        fit(latents, np.concatenate([known, noise], 1), ("yaw", "smile"))
    with pytest.raises(ValueError, match=r"expected latents \[N, dim\] and values \[N, 3\]"):
        fit(latents, values, ("yaw", "pitch", "roll"))
    with pytest.raises(ValueError, match="names are out of"):
        MotionDirectionSettings(names=("yew",))
    with pytest.raises(ValueError, match="at least 6 samples"):
        MotionDirectionSettings(samples=5)
    recipe = MotionDirectionSettings().recipe
    with pytest.raises(UsageError, match="role 'generator'"):
        recipe(key=jax.random.key(0), networks={}, held_out=None)


# ---- Edits


@struct.dataclass
class Painter:
    """Draws the mean of W+'s rows, motions of which saturate: they gain 0.8 a unit."""

    gain: Any

    def synthesis(self, w_plus, noise="const"):
        return self.gain * w_plus.mean(1)[:, None, None, :]


@pytest.fixture(scope="module")
def painted():
    """Networks whose images say what their motion is."""
    names = ("yaw", "smile", "pitch")
    directions = directions_of(names, jnp.eye(3), units=jnp.array([2.0, 1.0, 1.0]))
    patch = pytest.MonkeyPatch()
    patch.setattr(motion_editing, "read_motion", lambda reader, images: images[:, 0, 0])
    patch.setattr(motion_editing, "measured", lambda motion, names: motion / jnp.array([2.0, 1, 1]))
    yield MotionNetworks(Painter(jnp.asarray(0.8)), None, directions)  # pyright: ignore
    patch.undo()


def test_feedback_makes_up_for_what_was_missed(painted):
    codes = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)), jnp.float32)
    target = motion_target(painted.directions.names, {"yaw": 10.0, "smile": 0.5})
    errors = []
    for rounds in (0, 2):
        edit = apply_motion(painted, codes, target, feedback=rounds, noise="const")
        np.testing.assert_allclose(edit.wanted[:, 0], 10.0)
        np.testing.assert_allclose(edit.wanted[:, 2], edit.before[:, 2])  # was not asked for
        np.testing.assert_allclose(edit.after[:, 2], edit.before[:, 2], atol=1e-5)
        np.testing.assert_allclose(edit.images[:, 0, 0, 0], 2 * edit.after[:, 0], rtol=1e-5)
        errors.append(float(np.abs(edit.after - edit.wanted).max()))
    # A gain of 0.8 at first; then the secant of a line is the line.
    assert errors[0] > 1.5
    assert errors[1] < 1e-3
    # Rows keep their differences.
    moved = edit.w_plus - codes
    np.testing.assert_allclose(moved, jnp.broadcast_to(moved[:, :1], moved.shape), atol=1e-5)


def test_corrections_follow_the_secant_within_limits():
    def correct(wanted, last, before_last):
        points = [
            tuple(jnp.array([[x]], jnp.float32) for x in each) for each in (last, before_last)
        ]
        return float(motion_editing.corrected(jnp.array([[wanted]]), *points)[0, 0])

    assert correct(0.6, (0.5, 0.9), (0.0, 0.1)) == pytest.approx(0.5 - 0.3 / 1.6)
    assert correct(0.5, (-0.1, 0.7), (-0.3, 0.1)) == pytest.approx(-0.1 - 0.2 / 3)
    # A reading that went the wrong way, or that leapt, counts as the nearest limit.
    assert correct(12.0, (10.0, 1.0), (0.0, 2.0)) == pytest.approx(10 + 11 / 0.5)
    assert correct(2.0, (1.0, 9.0), (0.0, 1.0)) == pytest.approx(1 - 7 / 5)
    assert correct(5.0, (0.0, 4.0), (0.0, 5.0)) == pytest.approx(1.0)  # nothing was changed yet


def test_relative_targets_add_to_what_is_there(painted):
    codes = jnp.ones((1, 5, 3))
    target = motion_target(painted.directions.names, {"yaw": 10.0}, relative=True)
    edit = apply_motion(painted, codes, target, feedback=4, noise="const")
    np.testing.assert_allclose(edit.after[0], edit.before[0] + np.array([10, 0, 0]), atol=0.01)


def test_a_motion_that_has_no_direction_is_named():
    with pytest.raises(UsageError, match=r"no direction of cheek_puff.*It has yaw, smile"):
        motion_target(("yaw", "smile"), {"cheek_puff": 1.0})


def test_suites_without_directions_of_motion_edit_as_before():
    assert not motion_editing.edits_motion({"reconstruction": 1})  # pyright: ignore
    assert motion_editing.edits_motion({"direction_motion": 1})  # pyright: ignore
    both = {"direction_motion": 1, "reconstruction": 1}
    assert not motion_editing.edits_motion(both)  # pyright: ignore
    generator = types.SimpleNamespace(num_ws=5, config=types.SimpleNamespace(w_dim=3))
    suite: Any = types.SimpleNamespace(generator=generator)
    target = motion_target(("yaw",), {"yaw": 1.0})
    with pytest.raises(ValueError, match="feedback must be >= 0"):
        motion_editing.edit_motion(suite, np.ones((1, 5, 3)), target, feedback=-1)
