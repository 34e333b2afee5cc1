"""MoFA's encoder on published trunks: AlexNet, VGG-Face and ResNet, ending in face parameters.

MoFA (Tewari et al. 2017, section 4) takes AlexNet or VGG-Face and replaces its last layer by one of
257 outputs; ResNet-50 is what later reconstructions take (Deng et al. 2019). A trunk can begin with
published weights (`load_backbone`). Dropout is left out.

Each network takes square images in [-1, 1] of any size and resizes them, bilinearly and with
antialiasing, to its own; the trunk normalises its input as it was trained.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.features.alexnet import AlexNet, AlexNetConfig, smallest_side
from jaxface.nets.features.resnet import ResNetConfig, ResNetFeatures, check_crops, trunk_channels
from jaxface.nets.recognition.vgg_face import VGGFace, VGGFaceConfig
from jaxface.nets.reconstruction.regressor import (
    FaceReconstruction,
    ParameterRegressor,
    ReconstructionConfig,
)
from jaxface.nets.torch_layers import Linear, max_pool, resize_bilinear


@dataclasses.dataclass(frozen=True)
class AlexNetReconstructionConfig(AlexNetConfig):
    """Sizes; the defaults are AlexNet's.

    Attributes:
        width: of fc6 and of fc7.
        resolution: what images are resized to.
        outputs: number of parameters.

    Raises:
        ValueError: if nothing is left of the image after the last pooling.
    """

    width: int = 4096
    resolution: int = 224
    outputs: int = 257

    def __post_init__(self) -> None:
        # One position after the last pooling needs three before it.
        if self.resolution < smallest_side(5, positions=3):
            raise ValueError(
                f"AlexNetReconstructionConfig.resolution: expected at least "
                f"{smallest_side(5, positions=3)}, got {self.resolution}"
            )


class AlexNetReconstruction(ParameterRegressor):
    """AlexNet's convolutions, fc6, fc7 and the parameters."""

    def __init__(self, config: AlexNetReconstructionConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = AlexNet(config, rngs=rngs)
        side = jax.eval_shape(
            _alexnet_positions, self.trunk, jnp.zeros((1, config.resolution, config.resolution, 3))
        ).shape[1]
        self.fc6 = Linear(side * side * config.channels[-1], config.width, rngs=rngs)
        self.fc7 = Linear(config.width, config.width, rngs=rngs)
        super().__init__(config.width, config.outputs, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n p"]:
        """Parameters [N, outputs] of [N, H, H, 3] in [-1, 1].

        Raises:
            ValueError: if the images are not square, or not [N, H, W, 3].
        """
        x = _alexnet_positions(self.trunk, _resized(self, images, self.config.resolution))
        x = jax.nn.relu(self.fc6(x.reshape(x.shape[0], -1)))
        return self.parameters(jax.nn.relu(self.fc7(x)))


def _alexnet_positions(trunk: AlexNet, images: jax.Array) -> jax.Array:
    """What fc6 sees: the pooled features of the last convolution."""
    return max_pool(trunk.features(images, ("relu5",))["relu5"], 3, stride=2)


@dataclasses.dataclass(frozen=True)
class VGGFaceReconstructionConfig(VGGFaceConfig):
    """Sizes; the defaults are VGG-Face's.

    Attributes:
        outputs: number of parameters.
    """

    outputs: int = 257


class VGGFaceReconstruction(ParameterRegressor):
    """VGG-Face up to its descriptor, and the parameters."""

    def __init__(self, config: VGGFaceReconstructionConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = VGGFace(config, rngs=rngs)
        super().__init__(config.width, config.outputs, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n p"]:
        """Parameters [N, outputs] of [N, H, H, 3] in [-1, 1].

        Raises:
            ValueError: if the images are not square, or not [N, H, W, 3].
        """
        return self.parameters(self.trunk(images))


@dataclasses.dataclass(frozen=True)
class ResNetReconstructionConfig(ResNetConfig):
    """Sizes; the defaults are ResNet-50's.

    Attributes:
        resolution: what images are resized to.
        outputs: number of parameters.
    """

    resolution: int = 224
    outputs: int = 257


class ResNetReconstruction(ParameterRegressor):
    """ResNet up to its mean over the image, and the parameters.

    Batch normalisation uses its running statistics in training too. A network that begins without
    published weights would grow from block to block; its blocks begin as their shortcuts instead.
    """

    def __init__(self, config: ResNetReconstructionConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = ResNetFeatures(config, rngs=rngs)
        for stage in self.trunk.trunk.stages:
            for block in stage:
                block.norm3.weight[...] = jnp.zeros_like(block.norm3.weight[...])
        channels = trunk_channels(config.blocks, config.width)
        super().__init__(channels, config.outputs, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n p"]:
        """Parameters [N, outputs] of [N, H, H, 3] in [-1, 1].

        Raises:
            ValueError: if the images are not square, or not [N, H, W, 3].
        """
        return self.parameters(self.trunk(_resized(self, images, self.config.resolution)))


def _resized(network: nnx.Module, images: jax.Array, side: int) -> jax.Array:
    check_crops(type(network).__name__, images)
    if images.shape[1] == side:
        return images
    return resize_bilinear(images, (side, side), align_corners=False, antialias=True)


RECONSTRUCTIONS: Mapping[type, Callable[..., ParameterRegressor]] = {
    ReconstructionConfig: FaceReconstruction,
    AlexNetReconstructionConfig: AlexNetReconstruction,
    VGGFaceReconstructionConfig: VGGFaceReconstruction,
    ResNetReconstructionConfig: ResNetReconstruction,
}
"""The network that each configuration sizes."""


def make_reconstruction(config: Any, *, rngs: nnx.Rngs) -> ParameterRegressor:
    """A fresh network of the class that its configuration, a key of `RECONSTRUCTIONS`, belongs to.

    Raises:
        TypeError: for another configuration.
    """
    if type(config) not in RECONSTRUCTIONS:
        expected = ", ".join(each.__name__ for each in RECONSTRUCTIONS)
        raise TypeError(f"expected one of {expected}, got {type(config).__name__}")
    return RECONSTRUCTIONS[type(config)](config, rngs=rngs)


def load_backbone(network: Any, trunk: nnx.Module) -> None:
    """Put published weights into a reconstruction network's trunk.

    Args:
        network: one of the three networks of this module; changed.
        trunk: an `AlexNet`, a `VGGFace` or a `ResNetFeatures`, as the network's own is.

    Raises:
        ValueError: if the network has another trunk, or one of other sizes or input statistics.
    """
    name, own = type(network).__name__, getattr(network, "trunk", None)
    if type(trunk) is not type(own):
        raise ValueError(
            f"{name}: its trunk is {'none' if own is None else type(own).__name__}, got "
            f"{type(trunk).__name__}"
        )
    theirs = dataclasses.asdict(trunk.config)  # pyright: ignore
    wrong = [
        f"{field} {getattr(network.config, field)} (the trunk's is {value})"
        for field, value in theirs.items()
        if getattr(network.config, field) != value
    ]
    if wrong:
        raise ValueError(f"{name}: the trunk does not fit its configuration: {', '.join(wrong)}")
    nnx.update(own, nnx.state(trunk))
