"""Weights of pixels by boxes."""

import jax.numpy as jnp
import numpy as np

from jaxface.losses.regions import box_weights


def test_boxes_weigh_the_pixels_whose_centres_they_hold():
    boxes = jnp.array([[[1.0, 0.0, 3.0, 2.0], [-4.0, -4.0, -2.0, -2.0]]])
    weights = np.asarray(box_weights(boxes, resolution=4, weight=8.0))[0, ..., 0]
    expected = np.ones((4, 4))
    expected[0:2, 1:3] = 8.0
    np.testing.assert_allclose(weights, expected)


def test_edges_between_pixels_are_shared():
    boxes = jnp.array([[[1.25, 0.0, 3.25, 4.0], [1.25, 0.0, 3.25, 4.0]]])
    weights = np.asarray(box_weights(boxes, resolution=4, weight=5.0))[0, 1, :, 0]
    np.testing.assert_allclose(weights, [1.0, 4.0, 5.0, 2.0])
