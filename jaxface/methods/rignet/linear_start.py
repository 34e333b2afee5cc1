"""A RigNet that begins as the best linear one, by regression on sampled latents.

StyleRig's network begins as the identity. Where a step of its training is dear, what F reads from
sampled latents w, which a fresh network's units come from anyway, already gives the edit to first
order. By ridge regression the parameters are p = A (w - m) + noise of covariance R, and of Gaussian
w with covariance C, given p, the mean moves by

    K (p_wanted - A (w - m)),   K = C A^T (A C A^T + R)^-1

(Kalman's gain): parameters that the latents do not tell move nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.methods.ridge import ridge
from jaxface.nets import RigNet


def linear_start(network: RigNet, w: jax.Array, parameters: jax.Array) -> RigNet:
    """A network that edits all rows of W+ by K, as far as its codes are wide enough.

    Args:
      network: fresh, with its units; changed in place.
      w: samples of W, [N, w_dim].
      parameters: the group's, as F reads them from the samples' images, [N, P].

    Returns:
      The network.
    """
    config = network.config
    latents, scale = np.asarray(w, np.float64), np.asarray(network.scale[...], np.float64)
    values = (np.asarray(parameters, np.float64) - np.asarray(network.mean[...])) / scale
    mean, centre = latents.mean(axis=0), values.mean(axis=0)
    deviation = np.maximum(values.std(axis=0), 1e-6)  # of a constant nothing is told
    rows, explained = ridge(latents - mean, (values - centre) / deviation)
    covariance = np.cov(latents, rowvar=False)
    told = rows @ covariance @ rows.T
    # Ridge shrinks what is explained in the samples; out of them so much is.
    noise = np.diag(1 - np.clip(explained, 0.0, 1.0 - 1e-3))
    gain = np.linalg.solve(told + noise, rows @ covariance).T / deviation
    # -K A, of the rank that codes have room for: code = V^T (w - m).
    left, singular, right = np.linalg.svd(-gain @ (rows * deviation[:, None]))
    rank = min(config.hidden, config.num_parameters)
    size = np.sqrt(singular[:rank])
    encoder, decoder = np.asarray(network.encoder[...]).copy(), np.zeros(network.decoder.shape)
    bias = np.zeros(network.encoder_bias.shape)
    encoder[:, :, :rank] = right[:rank].T * size
    bias[:, :rank] = -(mean @ right[:rank].T) * size
    decoder[:, :rank] = (left[:, :rank] * size).T
    decoder[:, config.hidden :] = gain.T
    for name, array in (
        ("encoder", encoder),
        ("encoder_bias", bias),
        ("decoder", decoder),
        ("decoder_bias", np.broadcast_to(-gain @ centre, network.decoder_bias.shape)),
    ):
        getattr(network, name)[...] = jnp.asarray(array, jnp.float32)
    return network
