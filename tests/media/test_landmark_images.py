"""Landmark images: what is drawn, where it ends, and how it changes; parity is in tests/convert."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.media.landmark_images import COLOURS, LINES, group_of_colour, landmark_images

draw = jax.jit(landmark_images, static_argnums=1, static_argnames="outside")


def face(size=64.0):
    """68 points in a grid of rows, so that no two lines cross: [1, 68, 2]."""
    points = np.zeros((68, 2))
    for row, line in enumerate(LINES):
        numbers = np.arange(line.first, line.last + 1)
        points[numbers, 0] = np.linspace(0.1, 0.9, len(numbers)) * size
        # Through the middle of pixels, which it then covers whole.
        points[numbers, 1] = np.floor((row + 1) / (len(LINES) + 1) * size) + 0.5
    return jnp.asarray(points[None], jnp.float32)


def test_groups_have_their_colours_and_places():
    image = np.asarray(draw(face(), 64))[0]
    found = group_of_colour(image)
    assert set(found) == set(COLOURS)
    assert all(len(pixels) for pixels in found.values())
    chin = found["chin"][:, 0] * 64 + 0.5
    np.testing.assert_array_equal(chin, np.full(len(chin), float(face()[0, 0, 1])))
    assert image.min() == -1.0  # black between the lines


def test_the_outer_lip_is_not_drawn():
    moved = face().at[:, 48:60].add(20.0)
    np.testing.assert_array_equal(draw(moved, 64), draw(face(), 64))


def test_a_row_depends_on_itself_alone():
    both = jnp.concatenate([face(), face() * 0.7])
    np.testing.assert_allclose(draw(both, 32)[1:], draw(face() * 0.7, 32), atol=1e-6)


@pytest.mark.parametrize("outside", ["clip", "grow"])
def test_points_outside_the_frame(outside):
    points = face().at[:, 0:17, 1].set(70.0)
    image = np.asarray(draw(points, 64, outside=outside))[0]
    white = (image == 1).all(axis=-1)
    assert white.any() == (outside == "grow")  # a border beside the black square
    green = (image[..., 1] > image[..., 0]) & (image[..., 1] > image[..., 2])
    assert green.any() == (outside == "grow")
    inside = np.asarray(draw(face(), 64, outside=outside))
    np.testing.assert_array_equal(inside, draw(face(), 64))


def test_the_gradient_is_that_of_differences():
    points = face(16.0) + 0.3 * jax.random.normal(jax.random.key(0), (1, 68, 2))
    direction = jax.random.normal(jax.random.key(1), points.shape)
    weights = jax.random.normal(jax.random.key(2), (1, 16, 16, 3))

    @jax.jit
    def total(points):
        return jnp.sum(weights * landmark_images(points, 16))

    slope = float(jnp.sum(jax.grad(total)(points) * direction))
    step = 1e-2
    difference = (total(points + step * direction) - total(points - step * direction)) / (2 * step)
    assert slope == pytest.approx(float(difference), rel=0.05)


def test_points_that_coincide_have_a_finite_gradient():
    gradient = jax.grad(lambda p: jnp.sum(landmark_images(p, 16)))(jnp.full((1, 68, 2), 8.0))
    assert bool(jnp.isfinite(gradient).all())


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected points \[N, 68, 2\], got \[68, 2\]"):
        landmark_images(jnp.zeros((68, 2)), 32)
