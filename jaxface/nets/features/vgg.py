"""VGG-16's convolutional features (Simonyan and Zisserman 2015, configuration D).

One class serves ImageNet's network and narrower ones of the same form. It takes the project's
images, [-1, 1] RGB of any size, and normalises them itself.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.torch_layers import Conv2d, check_images

# Convolutions per stage; a 2 x 2 maximum pooling follows each stage.
STAGES = (2, 2, 3, 3, 3)

LAYER_NAMES = tuple(
    f"{kind}{stage}_{index}"
    for stage, count in enumerate(STAGES, 1)
    for index in range(1, count + 1)
    for kind in ("conv", "relu")
)


@dataclasses.dataclass(frozen=True)
class VGGConfig:
    """Widths and input statistics.

    The defaults are torchvision's ``vgg16`` on ImageNet: images in [0, 1], minus ``mean``,
    over ``std``.
    """

    channels: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


def smallest_side(layers: Sequence[str]) -> int:
    """Of images of which something is left at the deepest of these layers.

    Raises:
        ValueError: for no layer, or an unknown one.
    """
    unknown = sorted(set(layers) - set(LAYER_NAMES))
    if unknown or not layers:
        raise ValueError(f"VGG16: expected layers out of {LAYER_NAMES}, got {list(layers)}")
    return max(2 ** (int(name[4]) - 1) for name in layers)


class VGG16(nnx.Module):
    """Features by layer name: ``conv1_1`` before the ReLU, ``relu1_1`` after it."""

    def __init__(self, config: VGGConfig, *, rngs: nnx.Rngs):
        self.config = config
        layers, in_channels = [], 3
        for channels, count in zip(config.channels, STAGES, strict=True):
            for _ in range(count):
                layers.append(Conv2d(in_channels, channels, 3, padding=1, rngs=rngs))
                in_channels = channels
        self.layers = nnx.List(layers)

    def features(
        self, images: Float[Array, "n h w 3"], layers: Sequence[str]
    ) -> dict[str, Float[Array, "n _ _ _"]]:
        """Features at the named layers; nothing past the deepest one is computed.

        Args:
            images: [N, H, W, 3] in [-1, 1]; sides of at least 2 ** (stage - 1) of the deepest.
            layers: names out of ``LAYER_NAMES``.

        Returns:
            name to [N, H / 2 ** (stage - 1), W / 2 ** (stage - 1), C].

        Raises:
            ValueError: for an unknown layer, for images that are not floats [N, H, W, 3], and for
                images so small that nothing is left of them at the deepest layer.
        """
        smallest = smallest_side(layers)
        check_images("VGG16", images)
        last = max(LAYER_NAMES.index(name) for name in layers)
        if min(images.shape[1:3]) < smallest:
            raise ValueError(
                f"VGG16: {LAYER_NAMES[last]} needs images of at least {smallest} x {smallest}, "
                f"got {images.shape[1]} x {images.shape[2]}"
            )
        mean, std = jnp.asarray(self.config.mean), jnp.asarray(self.config.std)
        x = ((images + 1) / 2 - mean.astype(images.dtype)) / std.astype(images.dtype)
        found: dict[str, jax.Array] = {}
        previous_stage = "1"
        for index, layer in enumerate(self.layers):
            conv_name, relu_name = LAYER_NAMES[2 * index], LAYER_NAMES[2 * index + 1]
            stage = conv_name[4]
            if stage != previous_stage:
                x = _max_pool(x)
                previous_stage = stage
            x = layer(x)
            if conv_name in layers:
                found[conv_name] = x
            x = jax.nn.relu(x)
            if relu_name in layers:
                found[relu_name] = x
            if 2 * index + 1 >= last:
                break
        return {name: found[name] for name in layers}


def _max_pool(x: jax.Array) -> jax.Array:
    """2 x 2 maximum with stride 2; an odd last row or column is dropped, as PyTorch does.

    As a maximum of four slices rather than a window reduction, whose gradient is slow on CPU.
    """
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, :height, :width]
    n, h, w, c = x.shape
    return jnp.max(x.reshape(n, h // 2, 2, w // 2, 2, c), axis=(2, 4))
