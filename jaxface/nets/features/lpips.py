"""LPIPS, the learned perceptual image patch similarity (Zhang et al. 2018), version 0.1.

Features of five layers, each position scaled to unit length over its channels, are compared by
squared differences, weighted by one learned number a channel, and averaged over positions; the
distance is the sum over layers (equation 1; the stored numbers are its weights squared). This
follows the package ``lpips`` 0.1.4.

Images are the project's, [-1, 1] RGB, and are compared at the size they have: no resize, no crop,
so distances at different sizes are different measures. The package's scaling layer, minus
(-0.030, -0.088, -0.188) over (0.458, 0.448, 0.450) on [-1, 1], is exactly ImageNet's mean and
standard deviation on [0, 1], which the trunks apply.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.features.alexnet import AlexNet, AlexNetConfig
from jaxface.nets.features.vgg import VGG16, VGGConfig

Trunk = Literal["vgg", "alex"]
Features = dict[str, jax.Array]

# lpips/pretrained_networks.py: what the five heads see.
LAYERS = {
    "vgg": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
    "alex": ("relu1", "relu2", "relu3", "relu4", "relu5"),
}

# lpips/__init__.py: normalize_tensor's eps.
EPSILON = 1e-10


@dataclasses.dataclass(frozen=True)
class LPIPSConfig:
    """Which trunk, and its widths; None stands for the published ones.

    Raises:
        ValueError: for an unknown trunk.
    """

    trunk: Trunk = "vgg"
    channels: tuple[int, int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.trunk not in LAYERS:
            raise ValueError(f"LPIPSConfig.trunk: expected 'vgg' or 'alex', got {self.trunk!r}")

    @property
    def widths(self) -> tuple[int, int, int, int, int]:
        """Channels of the five layers."""
        published = VGGConfig() if self.trunk == "vgg" else AlexNetConfig()
        return self.channels or published.channels


class LPIPS(nnx.Module):
    """Distance of images, 0 for equal ones. The heads begin at one, which calibrates nothing."""

    def __init__(self, config: LPIPSConfig, *, rngs: nnx.Rngs):
        self.config = config
        if config.trunk == "vgg":
            self.trunk = VGG16(VGGConfig(channels=config.widths), rngs=rngs)
        else:
            self.trunk = AlexNet(AlexNetConfig(channels=config.widths), rngs=rngs)
        self.heads = nnx.List([nnx.Param(jnp.ones((width,))) for width in config.widths])

    @classmethod
    def of_trunk(cls, trunk: VGG16) -> "LPIPS":
        """A distance on a trunk's own features, with heads of one, which calibrate nothing."""
        config = LPIPSConfig("vgg", trunk.config.channels)
        network = nnx.eval_shape(lambda: cls(config, rngs=nnx.Rngs(0)))
        network.trunk = trunk
        network.heads = nnx.List([nnx.Param(jnp.ones((width,))) for width in config.widths])
        return network

    def __call__(
        self, images: Float[Array, "n h w 3"], others: Float[Array, "n h w 3"]
    ) -> Float[Array, " n"]:
        """How far apart the images of each pair look.

        Args:
            images: [N, H, W, 3] in [-1, 1]; sides of at least 16 (vgg) or 31 (alex).
            others: the same shape.

        Returns:
            [N], at least 0 with the published heads, none of which is negative.

        Raises:
            ValueError: for shapes that differ, are no images, or are too small for the trunk.
        """
        return self.distance(self.features(images), self.features(others))

    def features(self, images: Float[Array, "n h w 3"], *, norm_offset: float = 0.0) -> Features:
        """What is compared: compute it once for a target that stays.

        Args:
            images: [N, H, W, 3] in [-1, 1]; sides of at least 16 (vgg) or 31 (alex).
            norm_offset: added to squared lengths, which LPIPS does not; 1e8 - 1 in Transfer's code,
                where it makes all distances some 1e5 times smaller.

        Returns:
            {layer: [N, h, w, C]}, of unit length over C (or zero where the trunk gives zero), in
            float32 where the images, and so the trunk, have less.
        """
        features = self.trunk.features(images, LAYERS[self.config.trunk])
        wide = jnp.promote_types(images.dtype, jnp.float32)
        return {layer: _unit_length(x.astype(wide), norm_offset) for layer, x in features.items()}

    def distance(
        self,
        features: Mapping[str, Float[Array, "n _ _ _"]],
        targets: Mapping[str, Float[Array, "n _ _ _"]],
    ) -> Float[Array, " n"]:
        """[N]: the distance of two results of :meth:`features`."""
        return sum(self.layer_distances(features, targets).values(), jnp.zeros(()))

    def layer_distances(
        self,
        features: Mapping[str, Float[Array, "n _ _ _"]],
        targets: Mapping[str, Float[Array, "n _ _ _"]],
    ) -> dict[str, Float[Array, " n"]]:
        """Each layer's share of the distance.

        Args:
            features: a result of :meth:`features`.
            targets: another, of images of the same shape.

        Returns:
            {layer: [N]}.

        Raises:
            ValueError: if layers or shapes differ.
        """
        shapes = [{name: x.shape for name, x in each.items()} for each in (features, targets)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"LPIPS: both sides must have the same shape, got features of shapes {shapes[0]} "
                f"and {shapes[1]}"
            )
        shares = {}
        for layer, head in zip(LAYERS[self.config.trunk], self.heads, strict=True):
            squares = jnp.square(features[layer] - targets[layer])
            weighted = jnp.sum(squares * head[...].astype(squares.dtype), axis=-1)
            shares[layer] = jnp.mean(weighted, axis=(1, 2))
        return shares


def _unit_length(x: jax.Array, offset: float) -> jax.Array:
    """x over its length along the last axis, plus EPSILON; where it is zero, so is its gradient."""
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    if offset:
        squares = squares + offset
    positive = squares > 0
    # The root's gradient at zero is infinite: the reference gives NaN where all units are off.
    length = jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0)
    return x / (length + EPSILON)
