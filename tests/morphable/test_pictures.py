"""Pictures of the embedded world, its landmarks and the per-vertex photometric path."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes, map_coordinates

from jaxface.morphable import (
    EXPRESSION_NAMES,
    FACTORS,
    LANDMARKS_66,
    NUM_FACTORS,
    NUM_LANDMARKS,
    FaceParameters,
    landmarks,
    render,
    sample_scenes,
    scene_from_gaussian,
    vertex_photometric,
    vertex_view,
)
from jaxface.morphable.camera import project, transform
from jaxface.morphable.head import COLUMNS, ROWS
from jaxface.morphable.model import face_geometry, face_model, grid_triangles
from jaxface.morphable.photometric import bilinear_samples, photometric_energy
from jaxface.morphable.rasterise import block_capacity, blocks_needed, rasterise
from jaxface.morphable.rendering import portrait_model, shaded_vertices

FROZEN = Path(__file__).parent / "frozen_pictures.npz"


def rows(tree, where):
    return jax.tree.map(lambda leaf: leaf[where], tree)


@pytest.fixture(scope="module")
def scenes():
    return sample_scenes(jax.random.key(7), 4)


@pytest.fixture(scope="module")
def pictures(scenes):
    return np.asarray(render(scenes, 32))


def test_pictures_are_images(pictures):
    assert pictures.shape == (4, 32, 32, 3)
    assert pictures.dtype == np.float32
    assert np.isfinite(pictures).all()
    assert np.abs(pictures).max() <= 1.0
    assert pictures.std(axis=(1, 2)).min() > 0.05


def test_pictures_have_not_changed():
    """Embedded networks are trained on these images: the map from factors is frozen."""
    with np.load(FROZEN) as frozen:
        got = np.asarray(render(scene_from_gaussian(frozen["factors"]), 32))
        expected = frozen["images"].astype(np.float32) / 127.5 - 1.0
    difference = np.abs(got - expected)
    # Stored to 8 bits (0.004); a pixel at an edge may fall to either side on another machine.
    assert np.median(difference) < 0.004
    assert difference.mean() < 0.005


def test_second_render_does_not_recompile(scenes, pictures):
    from jaxface.morphable import rendering

    before = rendering._render._cache_size()
    again = render(scenes, 32)
    np.testing.assert_array_equal(again, pictures)
    assert rendering._render._cache_size() == before


def test_a_picture_does_not_depend_on_its_batch(scenes, pictures):
    alone = np.asarray(render(rows(scenes, slice(2, 3)), 32))[0]
    difference = np.abs(alone - pictures[2])
    # Sums may be ordered differently in another batch size, which can move a sample at an edge.
    assert difference.mean() < 1e-4
    assert (difference > 1e-3).mean() < 0.005


@pytest.mark.slow
def test_no_holes_inside_heads():
    """All samples inside the silhouette of a head are covered: neither specks nor seams."""
    face = sample_scenes(jax.random.key(8), 8).face
    points = transform(face_geometry(face_model(), face), face.rotation, face.translation)
    triangles = grid_triangles(ROWS, COLUMNS, 0)
    hit = rasterise(
        project(points, 96),
        jnp.ones(points.shape[:2]),
        triangles,
        np.zeros(len(triangles), bool),
        96,
        capacity=2 * len(triangles),
    )
    for mask in np.asarray(hit).reshape(8, 96, 96) >= 0:
        assert mask.sum() > 1500
        assert np.array_equal(binary_fill_holes(mask), mask)


@pytest.mark.slow
@pytest.mark.parametrize("samples", [64, 128, 256, 512])
def test_work_list_has_room(samples):
    """No triangle of any of 64 scenes is left out for want of room."""
    model = portrait_model()
    points, _, cover = shaded_vertices(model, sample_scenes(jax.random.key(9), 64), samples)
    needed = blocks_needed(points, cover, model.triangles, model.two_sided, samples)
    assert int(needed.max()) <= 0.9 * block_capacity(len(model.triangles))


@pytest.mark.slow
def test_pictures_are_differentiable_in_the_light(scenes):
    scene = rows(scenes, slice(0, 1))

    def mean(light):
        lit = replace(scene, face=replace(scene.face, illumination=light))
        return render(lit, 32).mean()

    light = scene.face.illumination
    step = 0.05 * jax.random.normal(jax.random.key(0), light.shape)
    slope = float(jnp.vdot(jax.grad(mean)(light), step))
    size = 0.1
    difference = float(mean(light + size * step) - mean(light - size * step)) / (2 * size)
    assert abs(slope) > 1e-4
    # 2%: float32 differences of a mean, and samples that reach black or white in between.
    np.testing.assert_allclose(slope, difference, rtol=2e-2)


def test_landmarks_lie_where_the_mark_up_says():
    neutral = FaceParameters.from_flat(jnp.zeros((1, 257)))
    marks = np.asarray(landmarks(neutral, 100))[0]
    assert marks.shape == (NUM_LANDMARKS, 2)
    assert len(np.unique(marks, axis=0)) == NUM_LANDMARKS
    assert len(LANDMARKS_66) == 66
    mirror = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1)]
    mirror += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    mirror += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    # 0.01 of a pixel: the grid of the head is symmetric.
    np.testing.assert_allclose(marks[mirror] * [-1, 1] + [100, 0], marks, atol=0.01)
    assert marks[:, 1].argmax() == 8
    assert (np.diff(marks[:17, 0]) > 0).all()
    assert (np.diff(marks[27:31, 1]) > 0).all()
    eyes, mouth = marks[36:48].mean(axis=0), marks[48:60].mean(axis=0)
    left, right = marks[36:42].mean(axis=0), marks[42:48].mean(axis=0)
    # FFHQ's alignment: eyes 23% of the width apart, at 47% of the height; mouth at 70%.
    assert abs(right[0] - left[0] - 23) < 2
    assert abs(eyes[1] - 47) < 2
    assert abs(mouth[1] - 70) < 3


def test_landmarks_follow_the_expression():
    names = list(EXPRESSION_NAMES)
    flat = np.zeros((3, 257), np.float32)
    flat[1, 166 + names.index("jaw_open")] = 1.0
    flat[2, 166 + names.index("blink_left")] = 1.0
    rest, jaw, blink = np.asarray(landmarks(FaceParameters.from_flat(jnp.asarray(flat)), 100))
    gap, opened = (marks[66, 1] - marks[62, 1] for marks in (rest, jaw))
    assert opened > gap + 5
    closed = blink[[40, 41], 1].mean() - blink[[37, 38], 1].mean()
    assert closed < 0.4 * (rest[[40, 41], 1].mean() - rest[[37, 38], 1].mean())
    np.testing.assert_allclose(blink[42:48], rest[42:48], atol=1e-4)


def test_landmarks_scale_with_the_resolution(scenes):
    np.testing.assert_allclose(
        2 * landmarks(scenes.face, 32), landmarks(scenes.face, 64), rtol=1e-5
    )


def test_bilinear_samples_against_scipy():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 9, 9, 3)).astype(np.float32)
    at = rng.uniform(-1, 10, (1, 50, 2)).astype(np.float32)
    expected = [
        map_coordinates(
            image[0, ..., c].astype(float), at[0, :, ::-1].T - 0.5, order=1, mode="nearest"
        )
        for c in range(3)
    ]
    np.testing.assert_allclose(bilinear_samples(image, at)[0], np.stack(expected, -1), atol=1e-5)


@pytest.mark.slow
def test_vertices_agree_with_pixels(scenes):
    """The two paths are the same image: at visible vertices their colours agree.

    At 512 px, because the eyes and the line between the lips have many vertices to a pixel of
    smaller images; the share that disagrees halves with every doubling of the resolution.
    """
    bald = replace(scenes.nuisance, hair_recession=jnp.full((4, 1), 9.0))
    scene = replace(scenes, nuisance=bald)
    images = render(scene, 512, supersample=1)
    view = vertex_view(scene.face, 512)
    seen = np.asarray(view.visible) > 0
    difference = np.abs(bilinear_samples(images, view.positions) - view.colours).max(axis=-1)
    assert seen.sum(axis=1).min() > 1000
    # Noses hide some vertices, and lashes and nostrils are finer than a pixel; the rest is the same
    # surface.
    assert np.median(np.asarray(difference)[seen]) < 0.01
    assert np.mean(np.asarray(difference)[seen] < 0.1) > 0.95


def test_photometric_is_least_at_the_truth(scenes, pictures):
    truth = vertex_photometric(scenes.face, pictures)
    for name, size in (("rotation", 0.1), ("reflectance", 0.5), ("illumination", 0.1)):
        moved = getattr(scenes.face, name) + size
        assert (vertex_photometric(replace(scenes.face, **{name: moved}), pictures) > truth).all()


def test_photometric_gradient_against_differences(scenes, pictures):
    """In float64, along random directions of every field."""
    with jax.enable_x64(True):
        model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), face_model())
        face = rows(scenes.face, slice(0, 1))
        flat = jnp.asarray(np.asarray(face.flat), jnp.float64)
        images = jnp.asarray(pictures[:1], jnp.float64)

        def energy(flat):
            return photometric_energy(model, FaceParameters.from_flat(flat), images)[0]

        slope = jax.grad(energy)(flat)
        assert slope.dtype == jnp.float64
        size, start = 1e-6, 0
        for width in (3, 3, 80, 80, 64, 27):
            step = np.zeros(257)
            step[start : start + width] = np.random.default_rng(start).normal(size=width)
            start += width
            difference = (energy(flat + size * step) - energy(flat - size * step)) / (2 * size)
            assert abs(float(difference)) > 1e-4
            # 1e-3: a few of 3000 vertices cross from one pixel to the next within the step,
            # where bilinear interpolation has a kink.
            np.testing.assert_allclose(float(jnp.vdot(slope, step)), difference, rtol=1e-3)


def test_photometric_items_are_independent(scenes, pictures):
    together = vertex_photometric(scenes.face, pictures)
    alone = vertex_photometric(rows(scenes.face, slice(1, 2)), pictures[1:2])
    # 1e-5: sums over vertices, ordered by the compiler.
    np.testing.assert_allclose(alone[0], together[1], rtol=1e-5)


def test_photometric_needs_only_the_region(scenes, pictures):
    whole = photometric_energy(face_model(), scenes.face, pictures)
    np.testing.assert_allclose(vertex_photometric(scenes.face, pictures), whole, rtol=1e-5)


def test_photometric_refuses_other_shapes(scenes):
    with pytest.raises(ValueError, match=r"\[4, R, R, 3\] for 4 faces, got \(3, 8, 8, 3\)"):
        vertex_photometric(scenes.face, jnp.zeros((3, 8, 8, 3)))
    with pytest.raises(ValueError, match="square"):
        vertex_photometric(scenes.face, jnp.zeros((4, 8, 9, 3)))


def test_factors_reach_the_picture():
    """Extremes of the main factors give clearly different images."""
    u = np.zeros((4, NUM_FACTORS), np.float32)
    for row, (name, offset) in enumerate((("rotation", 1), ("skin", 0), ("hair_style", 0)), 1):
        u[row, FACTORS[name].start + offset] = 2.0
    images = np.asarray(render(scene_from_gaussian(jnp.asarray(u)), 32))
    assert np.abs(images[1:] - images[:1]).mean(axis=(1, 2, 3)).min() > 0.01
