"""Flow and warping error on textures whose motion is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.metrics import optical_flow, warping_error


def texture(right=0.0, down=0.0):
    """float32 [32, 40, 3] in [-1, 1], moved."""
    y, x = np.mgrid[:32, :40].astype(np.float32)
    x, y = x - right, y - down
    waves = [np.sin(x / 2.7 + 1), np.cos(y / 3.1 + x / 6), np.sin((x - y) / 4.3)]
    return np.stack(waves, -1).astype(np.float32) * 0.8


def test_flow_is_the_motion():
    flow = np.asarray(optical_flow(texture().mean(-1), texture(2.5, -1.25).mean(-1)))
    error = np.abs(flow - (2.5, -1.25))[6:-6, 6:-6]
    assert np.median(error) < 0.1


def test_23_motion_is_no_error_and_flicker_is_its_square():
    frames = jnp.stack([texture(1.5 * i, 0.5 * i) for i in range(3)])
    plain = jnp.square(frames[1:] - frames[:-1]).mean((1, 2, 3))
    moved = warping_error(frames)
    assert moved.shape == (2,)
    assert float((moved / plain).max()) < 0.05
    flicker = frames + jnp.array([0.1, -0.1, 0.1])[:, None, None, None]
    found = warping_error(flicker, frames)
    np.testing.assert_allclose(found, 0.04 + moved, rtol=0.1)
    np.testing.assert_array_equal(warping_error(jnp.stack([frames[0]] * 2)), 0)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="T >= 2"):
        warping_error(jnp.zeros((1, 8, 8, 3)))
