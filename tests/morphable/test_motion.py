"""Motion from PIE's and DECA's parameters: signs and units, by where landmarks of both heads go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.morphable import (
    ARKIT_UNITS,
    EXPRESSION_NAMES,
    FLAME,
    NUM_FLAME_PARAMETERS,
    NUM_PARAMETERS,
    FaceParameters,
    FLAMEConfig,
    FlameParameters,
    landmarks,
    weak_perspective,
)
from jaxface.morphable.anatomical import anatomical_landmarks
from jaxface.morphable.anatomy import anatomy
from jaxface.morphable.annotation import landmark_model, project_landmarks
from jaxface.morphable.arkit import unit_index
from jaxface.morphable.camera import rotation_matrix
from jaxface.morphable.motion import (
    ARKIT_JAW_OPEN,
    ARKIT_JAW_SIDE,
    JAW_LEFT,
    JAW_OPEN,
    Motion,
    euler_angles,
    motion_of_deca,
    motion_of_pie,
    pie_group,
    pie_group_given,
)
from jaxface.morphable.rotations import axis_angle_to_matrix
from jaxface.weights import build_network, network_names

RNG = np.random.default_rng(0)
NOSE, CHIN, UPPER_LIP, LOWER_LIP = 30, 8, 62, 66
RIGHT_EAR = 16  # of the image
PITCH, YAW, ROLL = range(3)


def pie_faces(count: int = 1, **fields) -> FaceParameters:
    """Mean faces at rest but for some fields."""
    rest = FaceParameters.from_flat(jnp.zeros((count, NUM_PARAMETERS)))
    values = {name: jnp.asarray(value, jnp.float32) for name, value in fields.items()}
    return FaceParameters(**{**vars(rest), **values})


def deca_faces(pose) -> FlameParameters:
    pose = jnp.asarray(pose, jnp.float32)
    rest = FlameParameters.from_flat(jnp.zeros((len(pose), NUM_FLAME_PARAMETERS)))
    return FlameParameters(**{**vars(rest), "pose": pose})


@pytest.fixture(scope="module")
def flame():
    """A FLAME whose template is the embedded head's landmarks, about the line between its ears.

    The chin and the lower lip hang on the jaw, the rest on the root.
    """
    points = np.asarray(landmark_model().vertices)
    config = FLAMEConfig(vertices=68, faces=68, shape=1, expression=1)
    specs = network_names(jax.eval_shape(lambda: FLAME(config, rngs=None)))
    arrays = {name: np.zeros(spec.shape, spec.dtype) for name, spec in specs.items()}
    arrays["template"] = points - points[[0, 16]].mean(axis=0)
    arrays["skinning"][:, 0] = 1
    arrays["skinning"][[CHIN, LOWER_LIP]] = np.eye(5)[2]
    arrays["faces"] = np.repeat(np.arange(68)[:, None], 3, axis=1)
    for name, first in (("landmark", 0), ("inner", 17)):
        arrays[f"{name}_faces"] = np.arange(first, 68)
        arrays[f"{name}_coordinates"][:, 0] = 1
    return build_network("FLAME", config, arrays)


def flame_landmarks(flame, pose) -> np.ndarray:
    """In the image: x to the right and y down, [T, 68, 2]."""
    pose = jnp.asarray(pose, jnp.float32)
    return np.asarray(drawn_landmarks(flame, pose))


@jax.jit
def drawn_landmarks(flame, pose):
    heads = flame(jnp.zeros((len(pose), 1)), jnp.zeros((len(pose), 1)), pose)
    camera = jnp.tile(jnp.array([[0.5, 0.0, 0.0]]), (len(pose), 1))
    return weak_perspective(heads.landmarks_3d, camera)[..., :2]


def pose_of(axis: int, angle: float) -> np.ndarray:
    return angle * np.eye(6)[[axis]]


@pytest.mark.parametrize(
    ("axis", "point", "direction"),
    [
        (PITCH, NOSE, (0, 1)),  # looks down
        (YAW, NOSE, (1, 0)),  # looks to the image's right
        (ROLL, RIGHT_EAR, (0, -1)),  # anticlockwise: what is right goes up
    ],
)
def test_both_heads_turn_the_same_way(flame, axis, point, direction):
    """The sign is where a landmark of the drawn head goes, and the motion says that angle."""
    angle = 0.3
    rotation = angle * np.eye(3)[[axis]]
    pie, deca = pie_faces(rotation=rotation), deca_faces(pose_of(axis, angle))
    for motion in (motion_of_pie(pie), motion_of_deca(deca)):
        np.testing.assert_allclose(motion.rotation, rotation, atol=1e-6)  # float32
        np.testing.assert_allclose(motion.degrees, np.rad2deg(rotation), atol=1e-4)
        assert motion.degrees[0, axis] > 17
    gone = (
        landmarks(pie, 64) - landmarks(pie_faces(), 64),
        flame_landmarks(flame, deca.pose) - flame_landmarks(flame, np.zeros((1, 6))),
    )
    for moved, unit in zip(gone, (64, 2), strict=True):  # the image's side
        assert np.asarray(moved)[0, point] @ np.array(direction) > 0.03 * unit


def test_rotations_about_several_axes_are_the_same_matrix():
    """Euler angles of DECA's axis-angle vectors turn as the vectors do."""
    vectors = RNG.uniform(-0.8, 0.8, (40, 3)).astype(np.float32)
    motion = motion_of_deca(deca_faces(np.pad(vectors, ((0, 0), (0, 3)))))
    # Float32 sines and products of three matrices.
    np.testing.assert_allclose(
        rotation_matrix(motion.rotation), axis_angle_to_matrix(vectors), atol=2e-6
    )
    angles = RNG.uniform(-1.5, 1.5, (40, 3)).astype(np.float32)
    np.testing.assert_allclose(euler_angles(rotation_matrix(angles)), angles, atol=1e-5)


def test_the_angles_of_two_papers_follow():
    """Finding Directions' and PVP's angles, by their formulas from R, and from the motion."""
    vectors = RNG.uniform(-0.6, 0.6, (20, 3)).astype(np.float32)
    motion = motion_of_deca(deca_faces(np.pad(vectors, ((0, 0), (0, 3)))))
    pitch, yaw, roll = np.asarray(motion.rotation).T
    r = np.asarray(axis_angle_to_matrix(vectors), np.float64)
    directions = np.arcsin(r[:, 2, 0])
    cosine = np.cos(directions)
    np.testing.assert_allclose(yaw, -directions, atol=1e-5)
    np.testing.assert_allclose(
        pitch, np.arctan2(r[:, 2, 1] / cosine, r[:, 2, 2] / cosine), atol=1e-5
    )
    np.testing.assert_allclose(
        roll, np.arctan2(r[:, 1, 0] / cosine, r[:, 0, 0] / cosine), atol=1e-5
    )
    pvp = np.arctan2(r[:, 2, 0], r[:, 2, 2])
    np.testing.assert_allclose(np.tan(pvp), -np.tan(yaw) / np.cos(pitch), atol=1e-5)
    np.testing.assert_allclose(pitch, np.arctan2(r[:, 2, 1], r[:, 2, 2]), atol=1e-5)


def test_jaws_open_down_and_to_the_same_side(flame):
    """A positive first component parts the lips, a positive second moves the chin to the right."""
    rest = flame_landmarks(flame, np.zeros((1, 6)))
    right = flame_landmarks(flame, pose_of(4, 0.1)) - rest
    assert right[0, CHIN, 0] > 0.01
    coefficients = np.zeros((1, 64))
    coefficients[0, EXPRESSION_NAMES.index("jaw_open")] = 1
    motion = motion_of_pie(pie_faces(expression=coefficients))
    np.testing.assert_allclose(motion.jaw, [[JAW_OPEN, 0, 0]], atol=1e-6)
    deca = deca_faces(pose_of(3, 0.2))
    np.testing.assert_array_equal(motion_of_deca(deca).jaw, deca.pose[:, 3:])
    # A tenth of the opening, by FLAME's jaw and by the coefficient: the same lips part as far, but
    # for the 1.3% that a turn of 0.03 lifts the lip; the camera's scale is a half.
    opened = flame_landmarks(flame, pose_of(3, 0.1 * JAW_OPEN)) - rest
    parted = (opened[0, LOWER_LIP, 1] - opened[0, UPPER_LIP, 1]) / 0.5
    mode = np.asarray(landmark_model().expression_basis)[EXPRESSION_NAMES.index("jaw_open")]
    assert parted > 0.02
    np.testing.assert_allclose(parted, 0.1 * (mode[UPPER_LIP, 1] - mode[LOWER_LIP, 1]), rtol=0.02)

    coefficients = np.zeros((1, 64))
    coefficients[0, EXPRESSION_NAMES.index("jaw_left")] = 1
    left = pie_faces(expression=coefficients)
    assert (landmarks(left, 64) - landmarks(pie_faces(), 64))[0, CHIN, 0] < -1
    jaw = motion_of_pie(left).jaw
    np.testing.assert_allclose(jaw, [[0, JAW_LEFT, 0]], atol=1e-6)
    assert jaw[0, 1] < 0


def test_units_of_the_jaw_are_the_heads():
    """The two constants are those of their definitions, to the digits given."""
    model = landmark_model()
    points = np.asarray(model.vertices, np.float64)
    basis = np.asarray(model.expression_basis, np.float64)
    depth = points[:, 2] - points[[0, 16], 2].mean()
    opened = basis[EXPRESSION_NAMES.index("jaw_open")]
    fall = opened[UPPER_LIP, 1] - opened[LOWER_LIP, 1]
    np.testing.assert_allclose(fall / depth[LOWER_LIP], JAW_OPEN, atol=5e-5)
    across = basis[EXPRESSION_NAMES.index("jaw_left")][CHIN, 0]
    np.testing.assert_allclose(across / depth[CHIN], JAW_LEFT, atol=5e-5)


def random_motion(count: int, basis: str = "embedded", seed: int = 0) -> Motion:
    flat = np.random.default_rng(seed).normal(size=(count, NUM_PARAMETERS)).astype(np.float32)
    if basis == "flame":
        return motion_of_deca(
            FlameParameters.from_flat(jnp.asarray(flat[:, :NUM_FLAME_PARAMETERS]))
        )
    return motion_of_pie(FaceParameters.from_flat(jnp.asarray(flat)), basis=basis)


def test_pies_parameters_come_back():
    flat = RNG.normal(size=(5, NUM_PARAMETERS)).astype(np.float32)
    face = FaceParameters.from_flat(jnp.asarray(flat))
    for basis in ("embedded", "basel"):
        motion = motion_of_pie(face, basis=basis)
        assert (motion.jaw is None) == (basis == "basel")
        # A coefficient times the radians of 1 and divided by them again.
        np.testing.assert_allclose(pie_group(motion, "expression"), face.expression, rtol=1e-6)
        pose = pie_group(motion, "pose")
        np.testing.assert_array_equal(pose[:, :3], face.rotation)
        np.testing.assert_array_equal(pose[:, 3:], 0)
        given = pie_group_given("expression", driver=basis, face=basis)
        assert given.all()
        given = pie_group_given("pose", driver="flame", face=basis)
        np.testing.assert_array_equal(given, [True] * 3 + [False] * 3)


def arkit_faces(**units) -> FaceParameters:
    expression = np.zeros((1, 64))
    for name, amount in units.items():
        expression[0, unit_index(name)] = amount
    return pie_faces(expression=expression)


def test_units_of_version_3s_jaw_are_the_heads():
    points = anatomy().vertices[anatomy().landmarks]
    units = anatomy().expression[:, anatomy().landmarks]
    depth = points[:, 2] - points[[0, 16], 2].mean()
    opened = units[unit_index("jawOpen")]
    fall = opened[UPPER_LIP, 1] - opened[LOWER_LIP, 1]
    np.testing.assert_allclose(fall / depth[LOWER_LIP], ARKIT_JAW_OPEN, atol=5e-5)
    for name, sign in (("jawLeft", 1), ("jawRight", -1)):
        across = units[unit_index(name)][CHIN, 0]
        np.testing.assert_allclose(across / depth[CHIN], sign * ARKIT_JAW_SIDE, atol=5e-5)


def test_signs_of_version_3_are_where_its_landmarks_go():
    model = anatomical_landmarks()

    def moved(**units) -> np.ndarray:
        faces = arkit_faces(**units), pie_faces()
        marks = [np.asarray(project_landmarks(model, face, 64)) for face in faces]
        return marks[0][0] - marks[1][0]

    opened = motion_of_pie(arkit_faces(jawOpen=1), basis="anatomical")
    np.testing.assert_allclose(opened.jaw, [[ARKIT_JAW_OPEN, 0, 0]], atol=1e-6)
    assert opened.jaw[0, 0] > 0
    assert moved(jawOpen=1)[LOWER_LIP, 1] > 1  # pixels, down
    for name in ("jawLeft", "jawRight"):
        jaw = motion_of_pie(arkit_faces(**{name: 1}), basis="anatomical").jaw
        across = moved(**{name: 1})[CHIN, 0]
        assert abs(across) > 0.5
        assert np.sign(jaw[0, 1]) == np.sign(across)


def test_version_3s_gaze_is_in_degrees():
    right = motion_of_pie(arkit_faces(eyeLookOutLeft=0.5, eyeLookInRight=0.5), basis="anatomical")
    np.testing.assert_allclose(right.gaze, [[14.0, 0.0]], atol=1e-5)
    down = motion_of_pie(arkit_faces(eyeLookDownLeft=0.5, eyeLookDownRight=0.5), basis="anatomical")
    np.testing.assert_allclose(down.gaze, [[0.0, 11.0]], atol=1e-5)
    turned = right.replace(gaze=jnp.array([[-7.0, -9.0]]))
    values = np.asarray(pie_group(turned, "expression"))[0]
    names = {name for i, name in enumerate(ARKIT_UNITS) if values[i] > 0}
    assert names == {"eyeLookInLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"}
    still = right.relative(to=right)
    assert not np.any(still.gaze)
    np.testing.assert_allclose(right.plus(still).gaze, right.gaze)
    assert motion_of_pie(pie_faces()).gaze is None


def test_version_3s_parameters_come_back():
    """Within what they can be: of a pair that cancels, only the difference is kept."""
    rng = np.random.default_rng(3)
    expression = rng.uniform(0.0, 1.0, (5, 64)).astype(np.float32)
    expression[:, unit_index("jawRight")] = 0
    faces = pie_faces(5, expression=expression)
    motion = motion_of_pie(faces, basis="anatomical")
    np.testing.assert_allclose(pie_group(motion, "expression"), expression, rtol=1e-6)
    # FLAME's jaw becomes ARKit's, and so does that of version 2.
    opened = random_motion(3, "flame").replace(jaw=jnp.array([[0.2, -0.05, 0.0]] * 3))
    values = np.asarray(pie_group(opened, "expression", face="anatomical"))
    given = pie_group_given("expression", driver="flame", face="anatomical")
    assert {ARKIT_UNITS[i] for i in np.flatnonzero(given)} == {"jawOpen", "jawLeft", "jawRight"}
    np.testing.assert_array_equal(
        given, pie_group_given("expression", driver="embedded", face="anatomical")
    )
    np.testing.assert_allclose(values[:, unit_index("jawOpen")], 0.2 / ARKIT_JAW_OPEN, rtol=1e-6)
    np.testing.assert_allclose(values[:, unit_index("jawRight")], 0.05 / ARKIT_JAW_SIDE, rtol=1e-6)
    assert not values[:, ~given].any()


def test_flames_jaw_becomes_pies():
    motion = random_motion(3, "flame")
    values = np.asarray(pie_group(motion, "expression"))
    given = pie_group_given("expression", driver="flame", face="embedded")
    named = [EXPRESSION_NAMES.index(name) for name in ("jaw_open", "jaw_left")]
    np.testing.assert_array_equal(np.flatnonzero(given), np.sort(named))
    np.testing.assert_allclose(values[:, named[0]], motion.jaw[:, 0] / JAW_OPEN, rtol=1e-6)
    np.testing.assert_allclose(values[:, named[1]], motion.jaw[:, 1] / JAW_LEFT, rtol=1e-6)
    assert not values[:, ~given].any()


@pytest.mark.parametrize("basis", ["embedded", "basel", "flame"])
def test_differences(basis):
    motion, other = random_motion(4, basis), random_motion(4, basis, seed=1)
    still = motion.relative(to=motion)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(still))
    one = other[1]
    assert len(one) == 1
    again = one.plus(motion.relative(to=one))
    for leaf, wanted in zip(jax.tree.leaves(again), jax.tree.leaves(motion), strict=True):
        np.testing.assert_allclose(leaf, wanted, atol=1e-6)  # float32 of values around one
    np.testing.assert_allclose(motion.mean().rotation[0], motion.rotation.mean(0), atol=1e-6)
    np.testing.assert_array_equal(motion[1:3].expression, motion.expression[1:3])


def test_a_change_in_another_basis_moves_pose_and_jaw():
    subject, driver = random_motion(1), random_motion(4, "flame")
    change = driver.relative(to=driver[0])
    moved = subject.plus(change)
    assert moved.basis == "embedded"
    np.testing.assert_allclose(moved.rotation, subject.rotation + change.rotation)
    np.testing.assert_allclose(moved.jaw, subject.jaw + change.jaw)
    values = np.asarray(pie_group(moved, "expression"))
    given = pie_group_given("expression", driver="flame", face="embedded")
    own = np.repeat(subject.expression, 4, axis=0)
    np.testing.assert_array_equal(values[:, ~given], own[:, ~given])
    np.testing.assert_allclose(values[0], own[0], rtol=1e-6)
    assert np.all(np.abs(values[1:] - own[1:])[:, given] > 0)
    # A Basel Face Model has no jaw of its own.
    assert random_motion(1, "basel").plus(change).jaw is None


def test_rescaled_motion_has_the_subjects_mean_and_deviation():
    """PVP's appendix B in NumPy; a number that never changes becomes the subject's mean."""
    driver, subject = random_motion(50, "flame"), random_motion(80, "flame", seed=1)
    driver = driver.replace(jaw=driver.jaw.at[:, 2].set(0.7))
    clip = driver.rescaled(driver=driver, subject=subject)
    for name in ("rotation", "jaw", "expression"):
        given, own, got = (
            np.asarray(getattr(m, name), np.float64) for m in (driver, subject, clip)
        )
        deviation = np.maximum(given.std(0), 1e-6)
        wanted = (given - given.mean(0)) / deviation * own.std(0) + own.mean(0)
        changes = given.std(0) > 1e-3
        np.testing.assert_allclose(got[:, changes], wanted[:, changes], atol=1e-5)  # float32 sums
    # Rounding of the mean, 6e-8, over the floor of 1e-6.
    np.testing.assert_allclose(clip.jaw[:, 2], subject.jaw[:, 2].mean(), atol=0.3)
    part = driver[10:13].rescaled(driver=driver, subject=subject)
    np.testing.assert_allclose(part.rotation, clip.rotation[10:13], atol=1e-6)
    same = driver.rescaled(driver=driver, subject=driver)
    np.testing.assert_allclose(same.expression, driver.expression, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: motion_of_pie(pie_faces(), basis="flame"), "'embedded' or 'basel', got 'flame'"),
        (lambda: motion_of_deca(deca_faces(np.zeros((1, 3)))), r"\[T, 6\], got \[1, 3\]"),
        (
            lambda: random_motion(2).relative(to=random_motion(1, "flame")),
            "'embedded', got 'flame'",
        ),
        (
            lambda: random_motion(2).rescaled(
                driver=random_motion(2), subject=random_motion(2, "basel")
            ),
            "'embedded', got 'basel'",
        ),
        (
            lambda: pie_group(random_motion(1), "illumination"),
            "pose, expression; got 'illumination'",
        ),
        (
            lambda: pie_group_given("expression", driver="flame", face="basel"),
            "'flame' say nothing of 'basel'",
        ),
    ],
)
def test_mistakes_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()
