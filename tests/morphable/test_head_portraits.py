"""Version 3's scenes and images, and its flow; the older world beside it."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.morphable import rendering, scenes
from jaxface.morphable.anatomical import anatomical_landmarks, anatomical_model
from jaxface.morphable.anatomy import anatomy
from jaxface.morphable.annotation import project_landmarks
from jaxface.morphable.arkit import ARKIT_UNITS, unit_index
from jaxface.morphable.camera import rotation_matrix
from jaxface.morphable.finish import light_in_head, main_light
from jaxface.morphable.flow import optical_flow
from jaxface.morphable.gaze import gaze_degrees, looking
from jaxface.morphable.illumination import directional_light, spherical_harmonics
from jaxface.morphable.parameters import PortraitNuisance
from jaxface.morphable.people import (
    FACTORS,
    NUM_FACTORS,
    PERSON_FACTORS,
    portrait_from_gaussian,
    sample_portraits,
)
from jaxface.morphable.portrait_sheets import neutral_scenes
from jaxface.morphable.portraits import (
    portrait_capacity,
    portrait_model,
    render_portraits,
    shaded_vertices,
)
from jaxface.morphable.rasterise import blocks_needed
from jaxface.morphable.worlds import world

RESOLUTION = 48


def draw(expression):
    """Pictures of four expressions of the mean person, always in one shape."""
    padded = jnp.concatenate([expression, jnp.zeros((4 - len(expression), 64))])
    return np.asarray(render_portraits(neutral_scenes(padded), RESOLUTION))[: len(expression)]


def unit(**amounts):
    found = jnp.zeros((1, 64))
    for name, amount in amounts.items():
        found = found.at[0, unit_index(name)].set(amount)
    return found


@pytest.fixture(scope="module")
def people():
    return sample_portraits(jax.random.key(7), 4)


@pytest.fixture(scope="module")
def pictures(people):
    return np.asarray(render_portraits(people, RESOLUTION))


@pytest.mark.slow
def test_pictures_are_images(pictures):
    assert pictures.shape == (4, RESOLUTION, RESOLUTION, 3)
    assert np.isfinite(pictures).all()
    assert np.abs(pictures).max() <= 1.0
    assert pictures.std(axis=(1, 2)).min() > 0.05


def test_pictures_are_the_same_every_time_and_alone(people, pictures):
    np.testing.assert_array_equal(render_portraits(people, RESOLUTION), pictures)
    swapped = jax.tree.map(lambda leaf: leaf[::-1], people)
    difference = np.abs(np.asarray(render_portraits(swapped, RESOLUTION))[::-1] - pictures)
    assert np.median(difference) == 0.0
    assert difference.mean() < 1e-4


@pytest.mark.slow
def test_the_work_list_has_room():
    model = portrait_model()
    scenes = sample_portraits(jax.random.key(2), 8)
    points, _, cover = jax.jit(shaded_vertices, static_argnums=2)(model, scenes, 128)
    needed = blocks_needed(points, cover, model.triangles, model.two_sided, 128)
    assert int(needed.max()) < portrait_capacity(len(model.triangles), 128)


def test_eyes_change_with_gaze_and_little_else_does():
    rest = jnp.zeros((2, 64))
    left, right = draw(looking(rest, jnp.array([[-24.0, 0.0], [24.0, 0.0]])))
    change = np.abs(left - right).max(axis=-1)
    rows, columns = np.nonzero(change > 0.15)
    assert len(rows) > 4
    marks = project_landmarks(anatomical_landmarks(), neutral_scenes(rest[:1]).face, RESOLUTION)
    eyes = np.asarray(marks)[0, 36:48]
    assert rows.min() > eyes[:, 1].min() - 3
    assert rows.max() < eyes[:, 1].max() + 3
    assert columns.min() > eyes[:, 0].min() - 3
    assert columns.max() < eyes[:, 0].max() + 3


def test_an_open_mouth_shows_its_inside():
    closed, opened = draw(jnp.concatenate([unit(), unit(jawOpen=1.0)]))
    face = neutral_scenes(unit(jawOpen=1.0)).face
    marks = np.asarray(project_landmarks(anatomical_landmarks(), face, RESOLUTION))[0]
    x, y = marks[60:68].mean(axis=0).astype(int)
    assert opened[y, x].mean() < closed[y, x].mean() - 0.3
    # Both rows of teeth: the mouth is not one dark hole.
    column = opened[int(marks[62, 1]) : int(marks[66, 1]) + 1, x].mean(axis=-1)
    assert column.max() > column.min() + 0.15


def test_light_turns_with_the_head():
    rotation = jnp.array([[0.3, -0.7, 0.2]])
    towards = jnp.array([[0.3, 0.5, 0.8]]) / jnp.linalg.norm(jnp.array([0.3, 0.5, 0.8]))
    light = directional_light(towards, jnp.array([[1.0, 0.8, 0.5]])).reshape(1, 27)
    normals = jax.random.normal(jax.random.key(0), (1, 20, 3))
    normals = normals / jnp.linalg.norm(normals, axis=-1, keepdims=True)
    turned = jnp.einsum("nvj,nij->nvi", normals, rotation_matrix(rotation))
    outside = spherical_harmonics(turned) @ light.reshape(1, 9, 3)
    inside = spherical_harmonics(normals) @ light_in_head(light, rotation)
    np.testing.assert_allclose(inside, outside, atol=2e-4)
    direction, colour = main_light(light)
    np.testing.assert_allclose(direction, towards, atol=1e-5)
    np.testing.assert_allclose(colour, [[1.0, 0.8, 0.5]], atol=1e-4)


@pytest.mark.parametrize("name", ["gloss", "shadow_depth", "brow_thickness", "glasses_thickness"])
def test_nuisance_has_an_effect(people, pictures, name):
    style = people.nuisance
    assert isinstance(style, PortraitNuisance)
    other = np.where(getattr(style, name) > 0.03, 0.0, 0.03 if "glasses" in name else 1.0)
    other = jnp.asarray(other, jnp.float32)  # of a weak type it would compile once more
    changed = replace(people, nuisance=replace(style, **{name: other}))
    assert np.abs(np.asarray(render_portraits(changed, RESOLUTION)) - pictures).max() > 0.02


def test_factors_fill_the_vector_and_a_person_keeps_their_own():
    ends = sorted((where.start, where.stop) for where in FACTORS.values())
    assert ends[0][0] == 0
    assert ends[-1][1] == NUM_FACTORS
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ends))
    u = jax.random.normal(jax.random.key(1), (2, NUM_FACTORS))
    occasion = jnp.where(PERSON_FACTORS, u[0], u[1])
    drawn = portrait_from_gaussian(jnp.stack([u[0], occasion] * 2)).face  # four, as above
    one, two = (jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], drawn) for i in range(2))
    np.testing.assert_array_equal(one.identity, two.identity)
    np.testing.assert_array_equal(one.reflectance, two.reflectance)
    for name in ("rotation", "expression", "illumination"):
        assert np.abs(getattr(one, name) - getattr(two, name)).max() > 0.01


def test_scenes_stay_in_range():
    found = sample_portraits(jax.random.key(3), 2000)
    units = np.asarray(found.face.expression[:, :52])
    assert units.min() >= 0.0
    assert units.max() <= 1.2
    open_jaws = units[:, unit_index("jawOpen")]
    assert 0.1 < (open_jaws > 0.2).mean() < 0.6
    blinks = units[:, unit_index("eyeBlinkLeft")]
    assert 0.02 < (blinks > 0.5).mean() < 0.1
    gaze = np.asarray(gaze_degrees(found.face.expression))
    assert (np.abs(gaze).max(axis=0) < [26.0, 16.0]).all()
    assert (gaze.std(axis=0) > [7.0, 4.0]).all()
    assert np.rad2deg(np.abs(np.asarray(found.face.rotation[:, 1])).max()) < 60.0
    worn = np.asarray(found.nuisance.glasses_thickness[:, 0]) > 0.012
    assert 0.1 < worn.mean() < 0.35


def test_the_scenes_width_is_checked():
    with pytest.raises(ValueError, match=rf"\[N, {NUM_FACTORS}\], got \(2, 5\)"):
        portrait_from_gaussian(jnp.zeros((2, 5)))


@pytest.mark.slow
def test_flow_is_the_vertices_own(people):
    face = people.face
    later = replace(
        people,
        face=replace(
            face,
            rotation=face.rotation + jnp.array([0.02, -0.05, 0.01]),
            translation=face.translation + jnp.array([0.05, 0.02, 0.0]),
        ),
    )
    flow, matte = optical_flow(people, later, RESOLUTION)
    assert flow.shape == (4, RESOLUTION, RESOLUTION, 2)
    assert set(np.unique(matte)) <= {0.0, 1.0}
    assert 0.2 < matte.mean() < 0.9
    assert (np.asarray(flow)[np.asarray(matte) == 0] == 0).all()
    before = np.asarray(project_landmarks(anatomical_landmarks(), face, RESOLUTION))
    after = np.asarray(project_landmarks(anatomical_landmarks(), later.face, RESOLUTION))
    for person in range(4):
        x, y = before[person, 30].astype(int)  # the tip of the nose, which nothing covers
        # Half a pixel of the nose turns by less than a tenth of a pixel.
        np.testing.assert_allclose(flow[person, y, x], (after - before)[person, 30], atol=0.12)


def test_versions_of_the_world():
    old, new = world("2.0.0"), world("3.0.0")
    assert old.scenes is scenes.scene_from_gaussian
    assert old.render is rendering.render
    assert new.scenes is portrait_from_gaussian
    assert new.expression_names == ARKIT_UNITS
    assert new.face() is anatomical_model()
    assert new.landmarks().vertices.shape == (68, 3)
    with pytest.raises(ValueError, match=r"world '4.0.0'.*2.0.0, 3.0.0"):
        world("4.0.0")


def test_the_picture_has_no_more_vertices_than_the_procedural_one():
    old = rendering.portrait_model()
    assert len(anatomy().vertices) < 1.2 * len(old.face.vertices)
    assert len(portrait_model().triangles) <= 1.05 * len(old.triangles)
