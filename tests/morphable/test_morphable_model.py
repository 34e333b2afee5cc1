"""The procedural head: parameters, modes, pose, camera and light."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import factorial, lpmv

from jaxface.morphable import (
    EXPRESSION_NAMES,
    FACTORS,
    NUM_FACTORS,
    NUM_PARAMETERS,
    SEMANTIC_GROUPS,
    FaceParameters,
    group_width,
    sample_scenes,
    scene_from_gaussian,
)
from jaxface.morphable.camera import (
    CAMERA_DISTANCE,
    CENTRE_HEIGHT,
    FOCAL_LENGTH,
    project,
    rotation_matrix,
    transform,
)
from jaxface.morphable.head import build_head
from jaxface.morphable.illumination import (
    ambient_light,
    directional_light,
    shade,
    spherical_harmonics,
)
from jaxface.morphable.model import face_geometry, face_model, face_normals
from jaxface.morphable.parameters import WIDTHS


def neutral(count: int = 1) -> FaceParameters:
    return FaceParameters.from_flat(jnp.zeros((count, NUM_PARAMETERS)))


def test_layout_is_pies():
    assert list(WIDTHS.items()) == [
        ("rotation", 3),
        ("translation", 3),
        ("identity", 80),
        ("reflectance", 80),
        ("expression", 64),
        ("illumination", 27),
    ]
    assert NUM_PARAMETERS == 257
    assert sorted(name for group in SEMANTIC_GROUPS.values() for name in group) == sorted(WIDTHS)


def test_flat_round_trip():
    flat = jax.random.normal(jax.random.key(0), (3, NUM_PARAMETERS))
    face = FaceParameters.from_flat(flat)
    np.testing.assert_array_equal(face.flat, flat)
    np.testing.assert_array_equal(face.rotation, flat[:, :3])
    np.testing.assert_array_equal(face.expression, flat[:, 166:230])


def test_from_flat_refuses_another_width():
    with pytest.raises(ValueError, match=r"257.*got shape \(2, 256\)"):
        FaceParameters.from_flat(jnp.zeros((2, 256)))


@pytest.mark.parametrize("group", list(SEMANTIC_GROUPS))
def test_with_group_changes_that_group_only(group):
    mine, other = neutral(), FaceParameters.from_flat(jnp.ones((1, NUM_PARAMETERS)))
    edited = mine.with_group(group, other)
    for name in WIDTHS:
        expected = 1.0 if name in SEMANTIC_GROUPS[group] else 0.0
        np.testing.assert_array_equal(getattr(edited, name), expected)
    assert edited.group(group).shape == (1, group_width(group))
    np.testing.assert_array_equal(edited.group(group), 1.0)


def test_with_group_names_the_groups():
    with pytest.raises(ValueError, match=r"'hair'.*pose, identity, expression, illumination"):
        neutral().with_group("hair", neutral())


@pytest.mark.parametrize("name", ["identity_basis", "reflectance_basis"])
def test_modes_are_orthonormal(name):
    basis = np.asarray(getattr(face_model(), name), np.float64)
    # 1e-5: stored in float32, 15,000 products a row.
    np.testing.assert_allclose(basis @ basis.T, np.eye(80), atol=1e-5)


def test_identity_modes_are_smooth():
    """Neighbouring vertices move alike: no mode tears the surface."""
    model = face_model()
    head = build_head()
    fields = np.asarray(model.identity_basis) * np.asarray(model.identity_deviation)[:, None]
    fields = fields.reshape(80, -1, 3)
    grid = fields.reshape(80, 76, 65, 3)
    steps = np.abs(np.diff(grid, axis=1)).max(axis=(1, 2, 3))
    # At one standard deviation no two neighbours in a column part by more than 0.02 (1.8 mm).
    assert steps.max() < 0.02
    assert np.abs(fields).max() < 0.05
    assert head.vertices.shape == fields.shape[1:]


def test_at_least_a_dozen_named_expressions_move_what_they_name():
    model = face_model()
    head = build_head()
    fields = np.asarray(model.expression_basis).reshape(64, -1, 3)
    assert len(EXPRESSION_NAMES) == len(set(EXPRESSION_NAMES)) >= 14

    def moved(name, where):
        return fields[EXPRESSION_NAMES.index(name)][where]

    chin = (head.front > 0.9) & (np.abs(head.x) < 0.2) & (np.abs(head.y + 0.95) < 0.1)
    left_eye = (head.masks["eye"] > 0.9) & (head.x < 0)
    right_eye = (head.masks["eye"] > 0.9) & (head.x > 0)
    brows = head.masks["brow"] > 0.9
    assert moved("jaw_open", chin)[:, 1].max() < -0.15
    assert moved("brow_raise", brows)[:, 1].min() > 0.02
    assert moved("blink_left", left_eye)[:, 1].mean() < -0.02
    np.testing.assert_array_equal(moved("blink_left", right_eye), 0.0)
    assert moved("blink_right", right_eye)[:, 1].mean() < -0.02
    corners = (np.abs(np.abs(head.x) - 0.27) < 0.03) & (np.abs(head.y + 0.56) < 0.03)
    assert moved("smile", corners)[:, 1].min() > 0.02 > -0.02 > moved("frown", corners)[:, 1].max()
    assert moved("mouth_left", corners)[:, 0].max() < 0


def test_rotation_matrix_against_numpy():
    angles = np.array([[0.3, -0.5, 0.2], [-0.1, 0.4, 1.0]])
    for (pitch, yaw, roll), got in zip(angles, rotation_matrix(jnp.asarray(angles)), strict=True):
        c, s = np.cos, np.sin
        rx = np.array([[1, 0, 0], [0, c(pitch), -s(pitch)], [0, s(pitch), c(pitch)]])
        ry = np.array([[c(yaw), 0, s(yaw)], [0, 1, 0], [-s(yaw), 0, c(yaw)]])
        rz = np.array([[c(roll), -s(roll), 0], [s(roll), c(roll), 0], [0, 0, 1]])
        # 1e-6: float32 products of three matrices of order one.
        np.testing.assert_allclose(got, rz @ ry @ rx, atol=1e-6)


def test_pose_signs():
    """Documented directions: yaw to the image's right, pitch down, roll anticlockwise."""
    nose = jnp.array([[[0.0, 0.0, 1.0]]])
    still = jnp.zeros((1, 3))

    def seen(rotation, point=nose):
        return np.asarray(project(transform(point, jnp.array([rotation]), still), 64))[0, 0]

    assert seen([0.0, 0.3, 0.0])[0] > 32 + 3
    assert seen([0.3, 0.0, 0.0])[1] > seen([0.0, 0.0, 0.0])[1] + 3
    right_ear = jnp.array([[[1.0, 0.0, 0.0]]])
    assert seen([0.0, 0.0, 0.3], right_ear)[1] < seen([0.0, 0.0, 0.0], right_ear)[1] - 3


def test_camera_against_numpy():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (2, 5, 3))
    rotation, translation = rng.uniform(-0.5, 0.5, (2, 3)), rng.uniform(-0.1, 0.1, (2, 3))
    to32 = [jnp.asarray(a, jnp.float32) for a in (points, rotation, translation)]
    got = project(transform(*to32), 100)
    matrix = np.asarray(rotation_matrix(to32[1]), np.float64)
    world = np.stack([p @ m.T + t for p, m, t in zip(points, matrix, translation, strict=True)])
    depth = CAMERA_DISTANCE - world[..., 2]
    x = 50 + 100 * FOCAL_LENGTH * world[..., 0] / depth
    y = 50 - 100 * FOCAL_LENGTH * (world[..., 1] - CENTRE_HEIGHT) / depth
    # 1e-4 of a pixel in an image of 100: float32.
    np.testing.assert_allclose(got, np.stack([x, y, depth], -1), rtol=1e-6, atol=1e-4)


def test_harmonics_against_float64():
    """Real harmonics in float64 from Legendre functions, Condon-Shortley phase removed."""
    rng = np.random.default_rng(1)
    n = rng.normal(size=(50, 3))
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    # The polar axis is z, towards the camera.
    azimuth = np.arctan2(n[:, 1], n[:, 0])
    expected = []
    for degree in range(3):
        for order in range(-degree, degree + 1):
            m = abs(order)
            ratio = factorial(degree - m) / factorial(degree + m)
            scale = np.sqrt((2 * degree + 1) / (4 * np.pi) * ratio) * (-1.0) ** m
            around = np.sin(m * azimuth) if order < 0 else np.cos(m * azimuth)
            value = scale * lpmv(m, degree, n[:, 2]) * around
            expected.append(value * (np.sqrt(2) if m else 1.0))
    got = spherical_harmonics(jnp.asarray(n, jnp.float32))
    # 1e-6: constants are given to 8 digits, the rest is float32.
    np.testing.assert_allclose(got, np.stack(expected, -1), atol=1e-6)


def test_shade_against_float64():
    rng = np.random.default_rng(2)
    n = rng.normal(size=(2, 7, 3))
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    reflectance, gamma = rng.uniform(0, 1, (2, 7, 3)), rng.normal(size=(2, 27))
    h = np.asarray(spherical_harmonics(jnp.asarray(n, jnp.float32)), np.float64)
    expected = reflectance * np.maximum(h @ gamma.reshape(2, 9, 3), 0.0)
    got = shade(*(jnp.asarray(a, jnp.float32) for a in (reflectance, n, gamma)))
    np.testing.assert_allclose(got, expected, atol=3e-6)  # nine float32 products


def test_lights_give_what_they_promise():
    towards = jnp.array([[0.0, 0.6, 0.8]])
    lamp = directional_light(towards, jnp.array([[1.0, 0.5, 0.25]])).reshape(1, 27)
    white = jnp.ones((1, 1, 3))
    facing = shade(white, towards[None], lamp)[0, 0]
    # The second-order expansion of a clamped cosine overshoots its peak by 1/16.
    np.testing.assert_allclose(facing, 1.0625 * np.array([1.0, 0.5, 0.25]), rtol=1e-5)
    assert float(jnp.abs(shade(white, -towards[None], lamp)).max()) < 0.07
    soft = ambient_light(jnp.array([[0.2, 0.3, 0.4]])).reshape(1, 27)
    np.testing.assert_allclose(shade(white, towards[None], soft)[0, 0], [0.2, 0.3, 0.4], rtol=1e-6)


def test_normals_point_outwards():
    model = face_model()
    vertices = face_geometry(model, neutral())
    normals = np.asarray(face_normals(model, vertices))[0]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-4)
    outward = (normals * (np.asarray(vertices)[0] - np.array([0.0, 0.1, -0.1]))).sum(axis=1)
    # The inside of nostrils, lips and ears may face elsewhere.
    assert (outward > 0).mean() > 0.97
    tip = int(np.argmax(np.asarray(vertices)[0, :, 2]))
    assert normals[tip, 2] > 0.8


def test_scenes_are_deterministic_and_independent_of_the_batch():
    u = jax.random.normal(jax.random.key(3), (4, NUM_FACTORS))
    together = scene_from_gaussian(u)
    for i in range(4):
        alone = scene_from_gaussian(u[i : i + 1])
        # 1e-6: the compiler may order float32 sums differently for another batch size.
        np.testing.assert_allclose(alone.face.flat[0], together.face.flat[i], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(
            alone.nuisance.flat[0], together.nuisance.flat[i], rtol=1e-6, atol=1e-6
        )
    first, second = (sample_scenes(jax.random.key(5), 4).face.flat for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_factors_tile_the_vector():
    covered = np.concatenate([np.arange(NUM_FACTORS)[where] for where in FACTORS.values()])
    np.testing.assert_array_equal(covered, np.arange(NUM_FACTORS))
    assert NUM_FACTORS <= 512


@pytest.mark.slow
def test_every_factor_changes_the_scene():
    """No dead coordinate: each of the factors moves the parameters or the nuisance."""
    # At 0.3 nobody wears glasses, and a frame that is not there has no shape.
    u = jnp.full((1, NUM_FACTORS), 0.3).at[:, FACTORS["glasses"].start].set(1.0)

    def flat(u):
        scene = scene_from_gaussian(u[None])
        return jnp.concatenate([scene.face.flat[0], scene.nuisance.flat[0]])

    jacobian = jax.jit(jax.jacobian(flat))(u[0])
    assert bool((jnp.abs(jacobian).max(axis=0) > 1e-4).all())


def test_scene_refuses_another_width():
    with pytest.raises(ValueError, match=rf"\[N, {NUM_FACTORS}\], got \(2, 3\)"):
        scene_from_gaussian(jnp.zeros((2, 3)))


def test_pose_distribution_is_that_of_aligned_portraits():
    face = sample_scenes(jax.random.key(1), 2000).face
    rotation = np.asarray(face.rotation)
    # Radians, by quadrature of limit * tanh(slope * u); 2000 samples know them to 2%.
    np.testing.assert_allclose(rotation.std(axis=0), [0.128, 0.339, 0.062], rtol=0.08)
    extremes = np.rad2deg(np.abs(rotation).max(axis=0))
    assert (extremes <= [30, 60, 15]).all()
    assert (extremes > [20, 45, 9]).all()
    assert np.abs(np.asarray(face.translation)[:, :2]).max() < 0.06
    assert np.isfinite(np.asarray(face.flat)).all()
