"""The judges on renders, where pose and light are known, and their measures on arithmetic."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.evaluation import ground_truth as truth
from jaxface.morphable import Scene, render, sample_scenes
from jaxface.morphable.camera import rotation_matrix
from jaxface.morphable.illumination import decode, encode
from jaxface.morphable.model import region_model

COUNT, SIZE = 8, 64


@pytest.fixture(scope="module")
def turned():
    """Scenes before and after their heads were turned by up to 0.4 rad, and both renders."""
    scenes = sample_scenes(jax.random.key(5), COUNT)
    change = jax.random.uniform(jax.random.key(6), (COUNT, 3), minval=-1, maxval=1)
    change = change * jnp.array([0.15, 0.37, 0.05])
    face = dataclasses.replace(scenes.face, rotation=scenes.face.rotation + change)
    others = Scene(face, scenes.nuisance)
    return scenes.face, render(scenes, SIZE), face, render(others, SIZE)


@pytest.mark.slow
def test_a_pose_is_found_from_a_render_in_another(turned):
    before, images, after, renders = turned
    starts = jnp.stack([after.group("pose"), before.group("pose") + 0.05])
    fit = truth.fit_pose(region_model(), after, renders, images, starts)
    angle = np.asarray(truth.rotation_angle(fit.rotation, before.rotation))
    asked = np.asarray(truth.rotation_angle(after.rotation, before.rotation))
    print(f"judge at {SIZE} px: mean {angle.mean():.4f} rad, largest {angle.max():.4f}")
    assert asked.mean() > 0.15
    # A head of 64 px is some 30 px across: 0.02 rad at its surface is a third of a pixel.
    assert angle.mean() < 0.02
    assert fit.residual.max() < 0.15


@pytest.mark.slow
def test_a_pose_that_was_wanted_is_found_exactly(turned):
    _, _, after, renders = turned
    start = after.group("pose") + jnp.array([0.05, -0.1, 0.02, 0, 0, 0])
    starts = jnp.stack([start, start])
    fit = truth.fit_pose(region_model(), after, renders, renders, starts)
    # The render is what the face is compared with: nothing is left, and a fit ends in float32.
    np.testing.assert_allclose(fit.rotation, after.rotation, atol=2e-3)
    assert fit.residual.max() < 5e-3


@pytest.mark.slow
def test_shading_is_compared_but_for_exposure(turned):
    face, images, _, _ = turned
    dimmed = encode(0.6 * decode(images))
    error = np.asarray(truth.shading_error(region_model(), face, dimmed, images))
    # What was white is grey after dimming and back: a few pixels.
    assert error.max() < 0.02
    half = images.at[:, :, : SIZE // 2].set(dimmed[:, :, : SIZE // 2])
    found = np.asarray(truth.shading_error(region_model(), face, half, images))
    # Half the face at 0.6: (1 - 0.6) / 2 of the mean colour, up to the best scale.
    assert 0.1 < found.min() < found.max() < 0.3


def test_light_error_does_not_see_exposure(turned):
    light = turned[0].illumination
    np.testing.assert_allclose(truth.light_error(region_model(), 3 * light, light), 0, atol=1e-3)


def test_angles_are_those_of_the_turn_between():
    angles = np.float32([[0.1, -0.2, 0.3], [0, 0, 0]])
    turn = np.float32([[0.1, -0.2, 0.3], [0, 0.02, 0]])
    found = truth.rotation_angle(jnp.asarray(turn), jnp.asarray(angles))
    # Float32 sines of small angles.
    np.testing.assert_allclose(found, [0, 0.02], atol=1e-5)
    half = truth.rotation_angle(jnp.array([[0, 0, 1.5]]), jnp.array([[0, 0, -1.5]]))
    np.testing.assert_allclose(half, 3.0, atol=1e-3)
    assert np.allclose(rotation_matrix(jnp.zeros((1, 3))), np.eye(3))


def test_procrustes_sees_shape_alone():
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(2, 66, 2)).astype(np.float32)
    c, s = np.cos(0.4), np.sin(0.4)
    moved = 1.7 * wanted @ np.float32([[c, -s], [s, c]]) + 5
    np.testing.assert_allclose(truth.procrustes_distance(moved, wanted), 0, atol=1e-5)
    squeezed = wanted * np.float32([0.8, 1.0])
    found = np.asarray(truth.procrustes_distance(squeezed, wanted))
    assert np.all(found > 0.005)
    # In units of the size of what is aimed at.
    np.testing.assert_allclose(truth.procrustes_distance(squeezed, 9 * wanted), found, rtol=1e-4)
