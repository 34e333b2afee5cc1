"""AlexNet's convolutional features (Krizhevsky 2014, "One weird trick", as torchvision has it).

One class serves ImageNet's network and narrower ones of the same form. It takes the project's
images, [-1, 1] RGB of any size, and normalises them itself; it neither resizes nor crops.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.torch_layers import Conv2d, check_images, max_pool

LAYER_NAMES = tuple(f"{kind}{index}" for index in range(1, 6) for kind in ("conv", "relu"))

# torchvision/models/alexnet.py: kernel, stride and padding of each convolution.
GEOMETRY = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
# Convolutions that a maximum pooling, 3 x 3 with stride 2, comes before.
POOLED = (2, 3)


@dataclasses.dataclass(frozen=True)
class AlexNetConfig:
    """Widths and input statistics.

    The defaults are torchvision's ``alexnet`` on ImageNet: images in [0, 1], minus ``mean``,
    over ``std``.
    """

    channels: tuple[int, int, int, int, int] = (64, 192, 384, 256, 256)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


class AlexNet(nnx.Module):
    """Features by layer name: ``conv1`` before the ReLU, ``relu1`` after it."""

    def __init__(self, config: AlexNetConfig, *, rngs: nnx.Rngs):
        self.config = config
        layers, in_channels = [], 3
        for channels, (size, stride, padding) in zip(config.channels, GEOMETRY, strict=True):
            layers.append(
                Conv2d(in_channels, channels, size, stride=stride, padding=padding, rngs=rngs)
            )
            in_channels = channels
        self.layers = nnx.List(layers)

    def features(
        self, images: Float[Array, "n h w 3"], layers: Sequence[str]
    ) -> dict[str, Float[Array, "n _ _ _"]]:
        """Features at the named layers; nothing past the deepest one is computed.

        Args:
            images: [N, H, W, 3] in [-1, 1]; sides of at least 7, 15 and 31 for the first, the
                second and the later convolutions.
            layers: names out of ``LAYER_NAMES``.

        Returns:
            name to [N, h, w, C]; 224 px images give sides of 55, 27, 13, 13, 13.

        Raises:
            ValueError: for an unknown layer, for images that are not floats [N, H, W, 3], and for
                images so small that nothing is left of them at the deepest layer.
        """
        unknown = sorted(set(layers) - set(LAYER_NAMES))
        if unknown or not layers:
            raise ValueError(f"AlexNet: expected layers out of {LAYER_NAMES}, got {list(layers)}")
        check_images("AlexNet", images)
        last = max(LAYER_NAMES.index(name) for name in layers)
        smallest = smallest_side(last // 2 + 1)
        if min(images.shape[1:3]) < smallest:
            raise ValueError(
                f"AlexNet: {LAYER_NAMES[last]} needs images of at least {smallest} x {smallest}, "
                f"got {images.shape[1]} x {images.shape[2]}"
            )
        mean, std = jnp.asarray(self.config.mean), jnp.asarray(self.config.std)
        x = ((images + 1) / 2 - mean.astype(images.dtype)) / std.astype(images.dtype)
        found: dict[str, jax.Array] = {}
        for index, layer in enumerate(self.layers, 1):
            if index in POOLED:
                x = max_pool(x, 3, stride=2)
            x = layer(x)
            found[f"conv{index}"] = x
            x = jax.nn.relu(x)
            found[f"relu{index}"] = x
            if index > last // 2:
                break
        return {name: found[name] for name in layers}


def smallest_side(index: int, *, positions: int = 1) -> int:
    """The least side that leaves so many positions at a convolution; 7, 15, 31, 31, 31 for one."""
    side = positions
    for pooled in POOLED:
        if index >= pooled:
            side = 2 * side + 1  # three positions with stride 2 for one
    size, stride, padding = GEOMETRY[0]
    return (side - 1) * stride + size - 2 * padding
