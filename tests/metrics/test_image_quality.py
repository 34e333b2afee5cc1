"""PSNR and SSIM against scikit-image."""

import jax.numpy as jnp
import numpy as np
import pytest
from skimage import metrics as reference

from jaxface.metrics import psnr, ssim

pytestmark = pytest.mark.usefixtures("strict_ranks")


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(size=(3, 32, 24, 3)), axis=1) / 6
    targets = np.clip(smooth, -1, 1).astype(np.float32)
    noise = np.array([0.02, 0.1, 0.5])[:, None, None, None]
    images = np.clip(targets + noise * rng.normal(size=targets.shape), -1, 1).astype(np.float32)
    return images, targets


def test_psnr_matches_scikit_image(pair):
    images, targets = pair
    expected = [
        reference.peak_signal_noise_ratio(t, i, data_range=2) for i, t in zip(*pair, strict=True)
    ]
    # float32 mean of 2304 squares: relative 1e-6, which is 4e-6 dB; an order of margin.
    np.testing.assert_allclose(psnr(jnp.array(images), jnp.array(targets)), expected, atol=1e-4)


def test_psnr_of_a_known_error():
    targets = jnp.zeros((1, 4, 4, 3))
    # An error of 0.2 everywhere: 10 log10(4 / 0.04) = 20 dB.
    np.testing.assert_allclose(psnr(targets + 0.2, targets), [20.0], atol=1e-4)
    assert np.isinf(psnr(targets, targets)[0])


def test_ssim_matches_scikit_image(pair):
    images, targets = pair
    expected = [
        reference.structural_similarity(
            i.astype(np.float64),
            t.astype(np.float64),
            data_range=2,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for i, t in zip(images, targets, strict=True)
    ]
    # Variances are differences of float32 sums near 1 (1e-7), over C2 = 3.6e-3: 3e-5.
    np.testing.assert_allclose(ssim(jnp.array(images), jnp.array(targets)), expected, atol=5e-5)


def test_ssim_of_equal_images_is_one(pair):
    _, targets = pair
    np.testing.assert_allclose(ssim(jnp.array(targets), jnp.array(targets)), 1.0, atol=1e-6)


def test_items_are_measured_alone(pair):
    images, targets = map(jnp.array, pair)
    for metric in (psnr, ssim):
        # The mean's summation order may depend on the batch: one float32 rounding.
        np.testing.assert_allclose(
            metric(images, targets)[1:2], metric(images[1:2], targets[1:2]), rtol=1e-6
        )


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_shapes_are_checked(metric):
    with pytest.raises(ValueError, match=r"\(1, 16, 16, 3\) and \(1, 16, 16, 1\)"):
        metric(jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, 16, 16, 1)))
    with pytest.raises(ValueError, match="at least 11"):
        ssim(jnp.zeros((1, 8, 16, 3)), jnp.zeros((1, 8, 16, 3)))
