"""The input that the networks of the face-api package share (npm ``@vladmandic/face-api``,
``dom/NetInput.ts`` and ``ops/normalize.ts``).

The project's images, [-1, 1] RGB of any size, are padded with black to a centred square, resized
to the network's side, taken to [0, 255], freed of a mean colour and divided by 255. The resize is
ours: bilinear, with antialiasing. The package has two of its own, the browser's canvas and, for
tensors, TensorFlow's old sampling from the pixels' corners; at the network's own size all agree.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxface.nets.torch_layers import check_images, resize_bilinear

# Red, green and blue, of 255.
MEAN = (122.782, 117.001, 104.298)


def padding(height: int, width: int) -> tuple[int, int]:
    """Rows above and columns left of the image in its square; an odd rest goes below or right."""
    side = max(height, width)
    return (side - height) // 2, (side - width) // 2


def network_input(
    network: str, images: Float[Array, "n h w 3"], size: int
) -> Float[Array, "n {size} {size} 3"]:
    """The network's input.

    Args:
        network: the name that an error begins with.
        images: [N, H, W, 3] in [-1, 1], of any size.
        size: the network's side.

    Returns:
        [N, size, size, 3].

    Raises:
        ValueError: for images that are not [N, H, W, 3].
    """
    check_images(network, images)
    _, height, width, _ = images.shape
    side, (top, left) = max(height, width), padding(height, width)
    pads = ((0, 0), (top, side - height - top), (left, side - width - left), (0, 0))
    x = jnp.pad(images, pads, constant_values=-1.0)
    x = resize_bilinear(x, (size, size), align_corners=False, antialias=True)
    return (x + 1) / 2 - jnp.asarray(MEAN, x.dtype) / 255
