"""FLAME's geometry against a float64 reference of its definitions: loops and 4 x 4 matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.morphable import FLAME, FLAMEConfig
from jaxface.morphable.mesh import surface_points, vertex_normals
from jaxface.morphable.rotations import (
    axis_angle_to_matrix,
    euler_to_axis_angle,
)
from jaxface.weights import build_network, network_names

CONFIG = FLAMEConfig(vertices=11, faces=8, shape=4, expression=3)
RNG = np.random.default_rng(0)


def seeded_arrays():
    """Random data of the model, its landmarks' weights positive and summing to one."""
    arrays = {}
    for name, spec in network_names(jax.eval_shape(lambda: FLAME(CONFIG, rngs=None))).items():
        if "coordinates" in name:
            arrays[name] = RNG.dirichlet((1, 1, 1), size=spec.shape[:-1])
        elif "faces" in name:
            most = CONFIG.vertices if name == "faces" else CONFIG.faces
            arrays[name] = RNG.integers(most, size=spec.shape)
        else:
            arrays[name] = 0.3 * RNG.normal(size=spec.shape)
    arrays["skinning"] = RNG.dirichlet(np.ones(5), size=CONFIG.vertices)
    return arrays


ARRAYS = seeded_arrays()


@pytest.fixture(scope="module", name="flame")
def seeded_flame():
    return build_network("FLAME", CONFIG, ARRAYS)


@jax.jit
def heads_of(model, given, rest):
    return model(*given, **rest)


to_matrix, to_vector = map(jax.jit, (axis_angle_to_matrix, euler_to_axis_angle))
matrix_jacobian, vector_jacobian = (
    jax.jit(jax.vmap(jax.jacobian(fn))) for fn in (axis_angle_to_matrix, euler_to_axis_angle)
)


def rotation(vector):
    """exp of the cross product's matrix, by its power series."""
    x, y, z = np.asarray(vector, np.float64)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    total, term = np.eye(3), np.eye(3)
    for n in range(1, 60):
        term = term @ cross / n
        total = total + term
    return total


def reference_head(shape, expression, turns):
    """Vertices, joints and both sets of landmarks of one head, float64."""
    a = {name: np.asarray(array, np.float64) for name, array in ARRAYS.items()}
    rest = a["template"].copy()
    for coefficient, mode in zip(shape, a["shape_basis"], strict=False):
        rest += coefficient * mode
    for coefficient, mode in zip(expression, a["expression_basis"], strict=False):
        rest += coefficient * mode
    joints = a["joint_regressor"] @ rest
    rotations = [rotation(turn) for turn in turns]
    posed = rest.copy()
    corrections = np.concatenate([(r - np.eye(3)).ravel() for r in rotations[1:]])
    for coefficient, mode in zip(corrections, a["pose_basis"], strict=True):
        posed += coefficient * mode
    world = []
    for joint, parent in enumerate(CONFIG.parents):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if joint else 0)
        world.append(world[parent] @ local if joint else local)
    away = [np.block([[np.eye(3), -j[:, None]], [np.zeros((1, 3)), 1]]) for j in joints]
    vertices = np.zeros_like(posed)
    for v, point in enumerate(posed):
        for joint in range(5):
            moved = world[joint] @ away[joint] @ np.append(point, 1)
            vertices[v] += a["skinning"][v, joint] * moved[:3]
    head = world[1][:3, :3]
    yaw = np.degrees(np.arctan2(-head[2, 0], np.hypot(head[0, 0], head[1, 0])))
    yaw = int(np.clip(np.round(yaw), -39, 39))
    view = yaw if yaw >= 0 else 39 - yaw

    def points(faces, coordinates):
        corners = ARRAYS["faces"][faces]
        return np.stack([c @ vertices[f] for f, c in zip(corners, coordinates, strict=True)])

    contour = points(ARRAYS["contour_faces"][view], a["contour_coordinates"][view])
    inner = points(ARRAYS["inner_faces"], a["inner_coordinates"])
    fixed = points(ARRAYS["landmark_faces"], a["landmark_coordinates"])
    return vertices, np.stack(world)[:, :3, 3], np.concatenate([contour, inner]), fixed


def parameters(count, *, turn=0.7):
    shape = RNG.normal(size=(count, 3)).astype(np.float32)  # one fewer than the model has
    expression = RNG.normal(size=(count, 3)).astype(np.float32)
    turns = (turn * RNG.normal(size=(count, 5, 3))).astype(np.float32)
    pose = np.concatenate([turns[:, 0], turns[:, 2]], axis=1)
    rest = {"neck": turns[:, 1], "eyes": turns[:, 3:].reshape(count, 6)}
    return (shape, expression, pose), rest, turns


def test_heads_match_the_reference(flame):
    given, rest, turns = parameters(6)
    heads = heads_of(flame, given, rest)
    for n in range(6):
        expected = reference_head(given[0][n], given[1][n], turns[n])
        found = (heads.vertices, heads.joints, heads.landmarks_2d, heads.landmarks_3d)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours[n], theirs, atol=1e-5)  # float32 of some 5 units


@pytest.mark.parametrize("degrees", [0, 0.4, 0.6, -0.6, 17, -17.2, 38.6, 39.4, 55, -39.6, -80])
def test_the_contour_follows_the_yaw(flame, degrees):
    pose = np.zeros((1, 6), np.float32)
    pose[0, 1] = np.radians(degrees)
    zeros = np.zeros((1, 4), np.float32), np.zeros((1, 3), np.float32)
    heads = heads_of(flame, (*zeros, pose), {})
    turns = np.zeros((5, 3))
    turns[0, 1] = np.radians(degrees)
    expected = reference_head(np.zeros(4), np.zeros(3), turns)[2]
    np.testing.assert_allclose(heads.landmarks_2d[0], expected, atol=1e-5)


def test_one_head_is_its_row_of_a_batch_and_nothing_is_compiled_twice(flame):
    count = []

    @jax.jit
    def run(model, given, rest):
        count.append(1)
        return model(*given, **rest)

    given, rest, _ = parameters(4)
    several = run(flame, given, rest)
    alone = run(flame, *jax.tree.map(lambda x: x[2:3], (given, rest)))
    for a, b in zip(jax.tree.leaves(several), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a[2:3], b, atol=1e-6)
    run(flame, given, rest)
    assert len(count) == 2  # one for each size


def test_gradients_are_differences_and_finite_at_rest(flame):
    given, rest, _ = parameters(1)
    weights = RNG.normal(size=(1, CONFIG.vertices, 3)).astype(np.float32)

    def loss(given, rest):
        heads = heads_of(flame, given, rest)
        return (heads.vertices * weights).sum() + (heads.landmarks_3d**2).sum()

    def loss_of_pictures(given, rest):  # has steps where the contour changes
        return (heads_of(flame, given, rest).landmarks_2d ** 2).sum()

    slope = jax.jit(jax.grad(loss, argnums=(0, 1)))
    picture_slope = jax.jit(jax.grad(loss_of_pictures, argnums=(0, 1)))
    loss = jax.jit(loss)
    for scale in (1.0, 1e-4, 0.0):
        at = jax.tree.map(lambda x, scale=scale: scale * jnp.asarray(x), (given, rest))
        gradient = slope(*at)
        every = jax.tree.leaves((gradient, picture_slope(*at)))
        assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in every)
        step = jax.tree.map(lambda x: RNG.normal(size=x.shape).astype(np.float32), at)
        expected = jax.tree.reduce(
            lambda a, b: a + b, jax.tree.map(lambda g, s: (g * s).sum(), gradient, step)
        )
        h = 1e-2  # float32: rounding 1e-6 over h, the difference's own error h^2
        plus, minus = (jax.tree.map(lambda x, s, k=k: x + k * s, at, step) for k in (h, -h))
        found = (loss(*plus) - loss(*minus)) / (2 * h)
        np.testing.assert_allclose(found, expected, rtol=3e-2, atol=5e-2)


def test_shapes_that_do_not_fit_are_refused(flame):
    def zeros(*shape):
        return np.zeros(shape, np.float32)

    shape, expression, pose = zeros(2, 4), zeros(2, 3), zeros(2, 6)
    for given, rest, reason in (
        ((zeros(2, 5), expression, pose), {}, r"shape \[2, at most 4\], got \[2, 5\]"),
        ((shape, zeros(1, 3), pose), {}, r"expression \[2, at most 3\], got \[1, 3\]"),
        ((shape, expression, zeros(2, 3)), {}, r"pose \[2, 6\], got \[2, 3\]"),
        ((shape, expression, pose), {"eyes": zeros(2, 3)}, r"eyes \[2, 6\], got \[2, 3\]"),
    ):
        with pytest.raises(ValueError, match=f"FLAME: expected {reason}"):
            flame(*given, **rest)
    with pytest.raises(ValueError, match="five joints"):
        FLAMEConfig(parents=(-1, 0))


@pytest.mark.parametrize("size", [0, 1e-6, 1e-3, 0.5, 3.1])
def test_rotations_match_the_power_series(size):
    vectors = RNG.normal(size=(20, 3))
    vectors = (size * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = to_matrix(vectors)
    expected = np.stack([rotation(vector) for vector in vectors])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    jacobian = matrix_jacobian(vectors)
    h = 1e-5
    for axis in range(3):
        step = h * np.eye(3)[axis]
        pairs = [(rotation(vector + step), rotation(vector - step)) for vector in vectors]
        expected = np.stack([(plus - minus) / (2 * h) for plus, minus in pairs])
        np.testing.assert_allclose(jacobian[..., axis], expected, atol=2e-6)


@pytest.mark.parametrize("size", [0, 1e-6, 1e-3, 1, 3])
def test_euler_angles_in_both_forms_are_one_rotation(size):
    angles = (size * RNG.normal(size=(20, 3))).astype(np.float32)
    axes = np.eye(3)
    expected = np.stack(
        [
            rotation(a * axes[0]) @ rotation(b * axes[1]) @ rotation(c * axes[2])
            for a, b, c in angles
        ]
    )
    vectors = to_vector(angles)
    np.testing.assert_allclose(to_matrix(vectors), expected, atol=2e-6)
    assert np.linalg.norm(vectors, axis=1).max() <= np.pi + 1e-6
    jacobian = vector_jacobian(angles)
    assert np.isfinite(jacobian).all()


def test_normals_and_points_of_an_octahedron():
    corners = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]])
    faces = [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
    vertices = np.concatenate([corners, [[9, 9, 9]]])[None].astype(np.float32)  # one of no face
    faces = jnp.asarray(faces)
    normals = jax.jit(vertex_normals)(vertices, faces)
    np.testing.assert_allclose(normals[0, :6], corners, atol=1e-6)
    np.testing.assert_array_equal(normals[0, 6], 0)
    gradient = jax.jit(jax.grad(lambda v: (vertex_normals(v, faces) ** 3).sum()))(vertices)
    assert np.isfinite(gradient).all()
    found = surface_points(
        jnp.asarray(vertices), faces, jnp.array([0, 7]), jnp.array([[1, 0, 0], [0, 0.5, 0.5]])
    )
    np.testing.assert_allclose(found[0], [[1, 0, 0], [0, -0.5, -0.5]], atol=1e-6)
