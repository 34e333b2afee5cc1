"""What a trained Transfer does with frames: motion from images, images from motion, head angles."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxface.morphable import FaceParameters
from jaxface.nets import Generator, HopeNet, TransferNetwork


@jax.jit
def draw(
    network: TransferNetwork, generator: Generator, identity: jax.Array, images: jax.Array
) -> jax.Array:
    """An identity moving as T driving frames do: g = G(M(E_i(t), E_m(s))).

    Args:
      network: E_m and M.
      generator: G, with its stored noise.
      identity: E_i(t), [1, L, w_dim].
      images: driving frames, [T, S, S, 3] in [-1, 1], aligned as FFHQ's.

    Returns:
      [T, R, R, 3], not clipped to [-1, 1].
    """
    codes = jnp.repeat(identity, len(images), axis=0)
    return generator.synthesis(network(codes, images), "const")


@jax.jit
def head_angles(reader: Any, images: jax.Array) -> jax.Array:
    """Yaw and pitch of portraits in degrees, [N, 2].

    Args:
      reader: HopeNet, or a network that reads PIE's parameters. Each has signs of its own, so that
        only angles of one reader are to be compared.
      images: [N, R, R, 3] in [-1, 1], aligned as FFHQ's and seen whole.
    """
    if isinstance(reader, HopeNet):
        return jnp.rad2deg(reader(images)[:, :2])
    rotation = FaceParameters.from_flat(reader(images)).rotation
    return jnp.rad2deg(rotation[:, 1::-1])
