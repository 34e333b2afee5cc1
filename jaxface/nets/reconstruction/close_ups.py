"""Eyes and mouth cut out of a portrait and read once more, enlarged.

At 64 px an iris is two pixels wide and an eye six: a trunk that halves the image hardly reads where
an eye looks. It does know where the eyes are. So a second, small trunk reads them in cut-outs that
move with them, and adds to the features. Both eyes are read by the same weights, the second one
mirrored. All is differentiable, in the image and in where it is cut.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.reconstruction.image_trunk import SLOPE, ImageTrunk
from jaxface.nets.torch_layers import Linear

EYE, MOUTH = 24, 32
"""Pixels a side of the cut-outs."""

_REACH = np.array([1.6, 1.6, 1.4], np.float32)  # half a cut-out's side, in a feature's
_LEAST = 0.05  # half a cut-out's side over the image's, of an eye in profile too
_CHANNELS = (16, 32, 64)
_WIDTH = 128  # of what each cut-out gives
_USUAL = np.array(  # means of the embedded world's portraits
    [[0.41, 0.47, 0.07], [0.60, 0.47, 0.07], [0.51, 0.72, 0.13]], np.float32
)


def feature_places(boxes: Float[Array, "n 3 4"]) -> Float[Array, "n 3 3"]:
    """Where a network with close-ups should look.

    Args:
      boxes: of eyes and mouth over the image's side, left, top, right and bottom, the centre of the
        image's first pixel at half a pixel (`jaxface.morphable.annotation.feature_boxes`).

    Returns:
      x and y of each box's centre, and half of its longer side.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate(
        [(low + high) / 2, jnp.max(high - low, axis=-1, keepdims=True) / 2], axis=-1
    )


def cut_out(
    images: Float[Array, "n h w c"],
    centres: Float[Array, "n 2"],
    half_sides: Float[Array, " n"],
    size: int,
) -> Float[Array, "n s s c"]:
    """Squares of the images, sampled bilinearly; zeros beyond the edge.

    As two products with matrices of bilinear weights. Cut-outs that have fewer pixels than there
    are in their place are not antialiased.

    Args:
      images: square.
      centres: x and y over the image's side.
      half_sides: over the image's side.
      size: pixels a side of what is cut out.
    """
    side = images.shape[1]
    steps = (jnp.arange(size, dtype=images.dtype) + 0.5) * (2 / size) - 1
    places = (centres[:, :, None] + half_sides[:, None, None] * steps) * side - 0.5
    distance = jnp.abs(places[..., None] - jnp.arange(side, dtype=images.dtype))
    across, down = jnp.unstack(jnp.maximum(0.0, 1.0 - distance), axis=1)
    precision = jax.lax.Precision.HIGHEST if images.dtype == jnp.float32 else None
    rows = jnp.einsum("nhwc,nrh->nrwc", images, down, precision=precision)
    return jnp.einsum("nrwc,nsw->nrsc", rows, across, precision=precision)


class CloseUps(nnx.Module):
    """From what a trunk saw of whole images to what it sees of them and of eyes and mouth.

    It begins as the identity.

    Args:
      features: of the trunk.
      rngs: of the first weights.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.places = Linear(features, _USUAL.size, rngs=rngs)
        self.places.weight[...] = jnp.zeros_like(self.places.weight[...])
        assert self.places.bias is not None
        self.places.bias[...] = jnp.asarray(_USUAL.reshape(-1))
        self.eye = ImageTrunk(EYE, _CHANNELS, _WIDTH, rngs=rngs)
        self.mouth = ImageTrunk(MOUTH, _CHANNELS, _WIDTH, rngs=rngs)
        self.inner = Linear(features + 3 * _WIDTH, features, rngs=rngs)
        self.outer = Linear(features, features, rngs=rngs)
        self.outer.weight[...] = jnp.zeros_like(self.outer.weight[...])

    def __call__(
        self, features: Float[Array, "n d"], images: Float[Array, "n r r 3"]
    ) -> tuple[Float[Array, "n d"], Float[Array, "n 3 3"]]:
        """Looks closer.

        Args:
          features: of the images.
          images: in [-1, 1].

        Returns:
          The features with what the cut-outs show, and where they were made (`feature_places`).
        """
        places = self.places(features).reshape(-1, 3, 3)
        half_sides = jnp.maximum(places[..., 2], _LEAST) * _REACH.astype(images.dtype)
        centres = places[..., :2]
        first, second = (cut_out(images, centres[:, k], half_sides[:, k], EYE) for k in (0, 1))
        eyes = self.eye.encode(jnp.concatenate([first, second[:, :, ::-1]]))
        mouth = self.mouth.encode(cut_out(images, centres[:, 2], half_sides[:, 2], MOUTH))
        seen = jnp.concatenate([features, *jnp.split(eyes, 2), mouth], axis=-1)
        return features + self.outer(jax.nn.leaky_relu(self.inner(seen), SLOPE)), places


def place_loss(places: Float[Array, "n 3 3"], boxes: Float[Array, "n 3 4"]) -> Float[Array, " n"]:
    """Mean squared distance of where the network looked from where it should have, see
    `feature_places`."""
    return jnp.mean(jnp.sum(jnp.square(places - feature_places(boxes)), axis=-1), axis=-1)
