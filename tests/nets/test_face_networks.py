"""The face-api package's networks: sizes and inputs. Their numbers are tested from a file on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from seeded import seeded_network

from jaxface.nets import DlibResNetConfig, FaceLandmarkConfig
from jaxface.nets.recognition.face_api import network_input, padding
from jaxface.weights import abstract_network

RESNET = DlibResNetConfig(channels=(2, 3, 4, 6), blocks=(1, 1, 0, 1), embedding=5)
LANDMARKS = FaceLandmarkConfig(channels=(3, 4), convolutions=3, num_landmarks=7)


@pytest.mark.parametrize(
    ("name", "config", "shape", "parameters"),
    [
        # The numbers of values in the package's files.
        ("DlibResNet", DlibResNetConfig(), (2, 128), 5_614_592),
        ("FaceLandmarkNet", FaceLandmarkConfig(), (2, 68, 2), 356_840),
        ("FaceLandmarkNet", FaceLandmarkConfig((32, 64, 128), 3), (2, 68, 2), 77_224),
    ],
)
def test_the_published_sizes(name, config, shape, parameters):
    network = abstract_network(name, config)
    images = jax.ShapeDtypeStruct((2, 90, 70, 3), jnp.float32)
    assert jax.eval_shape(lambda n, x: n(x), network, images).shape == shape
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))) == parameters


@pytest.mark.parametrize(
    ("name", "config"), [("DlibResNet", RESNET), ("FaceLandmarkNet", LANDMARKS)]
)
def test_an_image_is_its_row_of_a_batch(name, config):
    network = seeded_network(name, config)
    images = np.random.default_rng(0).uniform(-0.3, 0.3, (3, 60, 80, 3)).astype(np.float32)
    images += np.array([-0.6, 0.0, 0.6], np.float32)[:, None, None, None]  # noise alone looks alike
    call = jax.jit(lambda n, x: n(x))
    batch = call(network, images)
    scale = np.abs(batch).max()
    assert np.ptp(batch, axis=0).max() > 1e-2 * scale
    for row in range(3):
        # Sums of float32 in another order.
        found = call(network, images[row : row + 1])[0]
        np.testing.assert_allclose(found, batch[row], atol=1e-5 * scale)


@pytest.mark.parametrize(("height", "width"), [(6, 9), (9, 6), (7, 7)])
def test_images_are_padded_to_a_square_and_points_are_the_image_s(height, width):
    images = np.random.default_rng(1).uniform(-1, 1, (1, height, width, 3)).astype(np.float32)
    side, (top, left) = max(height, width), padding(height, width)
    square = -np.ones((1, side, side, 3), np.float32)
    square[:, top : top + height, left : left + width] = images
    found = network_input("Net", jnp.asarray(images), side)
    expected = (127.5 * (square.astype(np.float64) + 1) - [122.782, 117.001, 104.298]) / 255
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert abs(2 * top + height - side) <= 1
    assert abs(2 * left + width - side) <= 1

    network = seeded_network("FaceLandmarkNet", LANDMARKS)
    call = jax.jit(lambda n, x: n(x))
    points, of_square = call(network, images), call(network, square)
    np.testing.assert_allclose(points + np.array([left, top], np.float32), of_square, atol=1e-4)


def test_points_scale_with_the_image():
    network = seeded_network("FaceLandmarkNet", LANDMARKS)
    plain = np.zeros((1, 1, 1, 3), np.float32) + np.array([0.5, -0.2, 0.1], np.float32)
    call = jax.jit(lambda n, x: n(x))
    small, large = (call(network, np.tile(plain, (1, n, n, 1))) for n in (50, 125))
    np.testing.assert_allclose(large, 2.5 * small, rtol=1e-5)


def test_what_cannot_be_used_is_refused():
    for name, config in (("DlibResNet", RESNET), ("FaceLandmarkNet", LANDMARKS)):
        network = abstract_network(name, config)
        with pytest.raises(ValueError, match=rf"{name}: expected images \[N, H, W, 3\]"):
            network(jnp.zeros((1, 3, 60, 60)))
        with pytest.raises(ValueError, match=f"{name}: expected floats"):
            network(jnp.zeros((1, 60, 60, 3), jnp.uint8))
    for options in ({"channels": (4, 3, 4, 4)}, {"embedding": 0}, {"blocks": (1, 1, 1, -1)}):
        with pytest.raises(ValueError, match="expected"):
            DlibResNetConfig(**options)
    for options in ({"channels": ()}, {"convolutions": 0}, {"num_landmarks": 0}):
        with pytest.raises(ValueError, match="expected"):
            FaceLandmarkConfig(**options)
