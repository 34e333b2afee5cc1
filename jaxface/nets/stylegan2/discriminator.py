"""The discriminator: images to realness logits (Karras et al. 2020a, figure 7)."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.equalized_layers import Conv, Dense
from jaxface.nets.ops import downsample
from jaxface.nets.stylegan2.config import DiscriminatorConfig
from jaxface.nets.stylegan2.mapping import MappingNetwork
from jaxface.nets.stylegan2.synthesis import RESIDUAL_GAIN


def minibatch_std(
    x: Float[Array, "n h w c"], *, group_size: int | None, num_channels: int
) -> Float[Array, "n h w c2"]:
    """Append the standard deviation over groups of images as extra maps.

    Groups are strided: with M = N / group_size, image i is in group i mod M
    (networks.py, MinibatchStdLayer).

    Args:
        x: [N, H, W, C].
        group_size: at most this many images a group; None for the whole batch.
        num_channels: statistics, each over C / num_channels feature maps.

    Returns:
        [N, H, W, C + num_channels].

    Raises:
        ValueError: if N is no multiple of the group size, or C none of ``num_channels``.
    """
    count, height, width, channels = x.shape
    group = count if group_size is None else min(group_size, count)
    if count % group or channels % num_channels:
        raise ValueError(
            f"minibatch_std: expected a batch that is a multiple of {group} and channels that "
            f"are a multiple of {num_channels}, got batch {count} and {channels} channels"
        )
    y = x.astype(jnp.float32)
    y = y.reshape(group, count // group, height, width, num_channels, channels // num_channels)
    std = jnp.sqrt(jnp.mean(jnp.square(y - jnp.mean(y, axis=0)), axis=0) + 1e-8)
    std = jnp.mean(std, axis=(1, 2, 4))  # [M, num_channels]
    maps = jnp.tile(std, (group, 1))[:, None, None, :].astype(x.dtype)
    maps = jnp.broadcast_to(maps, (count, height, width, num_channels))
    return jnp.concatenate([x, maps], axis=-1)


class DiscriminatorBlock(nnx.Module):
    """All layers at one resolution, then down by 2."""

    def __init__(
        self, in_channels: int, *, resolution: int, config: DiscriminatorConfig, rngs: nnx.Rngs
    ):
        channels, out_channels = config.channels(resolution), config.channels(resolution // 2)
        self.architecture = config.architecture
        self.dtype, self.taps = config.dtype(resolution), config.taps
        taps, clamp = config.taps, config.conv_clamp
        with_rgb = in_channels == 0 or config.architecture == "skip"
        self.from_rgb = (
            Conv(
                config.image_channels,
                channels,
                kernel_size=1,
                activation="lrelu",
                taps=taps,
                clamp=clamp,
                rngs=rngs,
            )
            if with_rgb
            else None
        )
        self.conv0 = Conv(
            channels,
            channels,
            kernel_size=3,
            activation="lrelu",
            taps=taps,
            clamp=clamp,
            rngs=rngs,
        )
        self.conv1 = Conv(
            channels,
            out_channels,
            kernel_size=3,
            activation="lrelu",
            down=2,
            taps=taps,
            clamp=clamp,
            rngs=rngs,
        )
        residual = config.architecture == "resnet"
        self.skip = (
            Conv(channels, out_channels, kernel_size=1, bias=False, down=2, taps=taps, rngs=rngs)
            if residual
            else None
        )

    def __call__(
        self, x: Float[Array, "n r r i"] | None, image: Float[Array, "n s s c"]
    ) -> tuple[Float[Array, "n r2 r2 o"], Float[Array, "n _ _ c"]]:
        """Features [N, R, R, C] (None at the first block), halved, and image.

        The skip architecture halves the image too, [N, R, R, 3]; the others pass it on.
        """
        if self.from_rgb is not None:
            y = self.from_rgb(image.astype(self.dtype))
            x = y if x is None else x.astype(self.dtype) + y
        if x is None:
            raise ValueError("discriminator: only the first block has no input features")
        x = x.astype(self.dtype)
        if self.architecture == "skip":
            image = downsample(image, np.asarray(self.taps))
        if self.skip is None:
            return self.conv1(self.conv0(x)), image
        residual = self.skip(x, gain=RESIDUAL_GAIN)
        return residual + self.conv1(self.conv0(x), gain=RESIDUAL_GAIN), image


class DiscriminatorEpilogue(nnx.Module):
    """From 4 x 4 features to one logit, or a projection on the label."""

    def __init__(self, *, config: DiscriminatorConfig, cmap_dim: int, rngs: nnx.Rngs):
        channels = config.channels(4)
        self.group_size = config.mbstd_group_size
        self.num_channels = config.mbstd_num_channels
        with_rgb = config.architecture == "skip" or config.resolution == 4
        self.from_rgb = (
            Conv(
                config.image_channels,
                channels,
                kernel_size=1,
                activation="lrelu",
                taps=config.taps,
                rngs=rngs,
            )
            if with_rgb
            else None
        )
        self.conv = Conv(
            channels + config.mbstd_num_channels,
            channels,
            kernel_size=3,
            activation="lrelu",
            taps=config.taps,
            clamp=config.conv_clamp,
            rngs=rngs,
        )
        self.dense = Dense(channels * 16, channels, activation="lrelu", rngs=rngs)
        self.out = Dense(channels, cmap_dim or 1, rngs=rngs)

    def __call__(
        self, x: Float[Array, "n 4 4 i"] | None, image: Float[Array, "n _ _ c"]
    ) -> Float[Array, "n o"]:
        """Logits [N, 1], or [N, cmap_dim] to project a label on, float32.

        Args:
            x: [N, 4, 4, C]; None where no block comes before, at resolution 4.
            image: [N, 4, 4, 3], read by the skip architecture and at resolution 4.
        """
        if self.from_rgb is not None:
            y = self.from_rgb(image)
            x = y if x is None else x.astype(jnp.float32) + y
        if x is None:
            raise ValueError("discriminator: the epilogue got neither features nor an image")
        x = x.astype(jnp.float32)
        if self.num_channels:
            x = minibatch_std(x, group_size=self.group_size, num_channels=self.num_channels)
        x = self.conv(x)
        return self.out(self.dense(x.reshape(x.shape[0], -1)))


class Discriminator(nnx.Module):
    """StyleGAN2's discriminator, conditional by projection when ``c_dim`` is not 0."""

    def __init__(self, config: DiscriminatorConfig, *, rngs: nnx.Rngs):
        self.config = config
        cmap_dim = 0
        if config.c_dim:
            cmap_dim = config.channels(4) if config.cmap_dim is None else config.cmap_dim
        blocks, in_channels = [], 0
        for resolution in config.block_resolutions[:0:-1]:
            blocks.append(
                DiscriminatorBlock(in_channels, resolution=resolution, config=config, rngs=rngs)
            )
            in_channels = config.channels(resolution)
        self.blocks = nnx.List(blocks)
        self.epilogue = DiscriminatorEpilogue(config=config, cmap_dim=cmap_dim, rngs=rngs)
        self.mapping = (
            MappingNetwork(
                z_dim=0,
                c_dim=config.c_dim,
                w_dim=cmap_dim,
                num_ws=None,
                num_layers=config.mapping_layers,
                lr_multiplier=config.mapping_lr_multiplier,
                w_mean_decay=None,
                rngs=rngs,
            )
            if cmap_dim
            else None
        )

    def __call__(
        self, images: Float[Array, "n r r c"], c: Float[Array, "n labels"] | None = None
    ) -> Float[Array, "n 1"]:
        """Realness of images.

        Args:
            images: [N, R, R, 3] in [-1, 1].
            c: [N, c_dim] for a conditional network.

        Returns:
            logits: [N, 1] float32; larger is more real.

        Raises:
            ValueError: for a wrong shape, or a label missing or superfluous.
        """
        side, channels = self.config.resolution, self.config.image_channels
        if images.ndim != 4 or images.shape[1:] != (side, side, channels):
            raise ValueError(
                f"discriminator: expected images [N, {side}, {side}, {channels}], "
                f"got {list(images.shape)}"
            )
        if c is not None and self.mapping is None:
            raise ValueError(f"discriminator: this network takes no c, got {c.shape}")
        x, image = None, images.astype(jnp.float32)
        for block in self.blocks:
            x, image = block(x, image)
        y = self.epilogue(x, image)
        if self.mapping is None:
            return y
        cmap = self.mapping(None, c)
        return jnp.sum(y * cmap, axis=1, keepdims=True) * cmap.shape[1] ** -0.5
