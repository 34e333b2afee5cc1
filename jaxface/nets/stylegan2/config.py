"""Sizes of StyleGAN2's networks; every one is derived from the resolution, none is assumed."""

import dataclasses
from typing import Literal

import jax.numpy as jnp

from jaxface.nets.ops import fir_taps

Architecture = Literal["orig", "skip", "resnet"]
ReducedDtype = Literal["bfloat16", "float16"]


def _check_sizes(config: "GeneratorConfig | DiscriminatorConfig") -> None:
    name, resolution = type(config).__name__, config.resolution
    if resolution not in [2**k for k in range(2, 12)]:
        raise ValueError(f"{name}.resolution: expected a power of two in 4..2048, got {resolution}")
    if config.architecture not in ("orig", "skip", "resnet"):
        raise ValueError(
            f"{name}.architecture: expected 'orig', 'skip' or 'resnet', got {config.architecture!r}"
        )
    if config.reduced_dtype not in ("bfloat16", "float16"):
        raise ValueError(
            f"{name}.reduced_dtype: expected 'bfloat16' or 'float16', got {config.reduced_dtype!r}"
        )


@dataclasses.dataclass(frozen=True)
class _NetworkSizes:
    """What generator and discriminator share."""

    resolution: int
    c_dim: int = 0
    """Dimension of the class label; 0 for an unconditional network."""
    image_channels: int = 3
    channel_base: int = 32768
    """Channels at resolution r are ``min(channel_base // r, channel_max)``."""
    channel_max: int = 512
    resample_taps: tuple[float, ...] = (1, 3, 3, 1)
    num_reduced_precision_res: int = 0
    """How many of the highest resolutions compute in ``reduced_dtype``."""
    reduced_dtype: ReducedDtype = "bfloat16"
    conv_clamp: float | None = None
    """Bound on activations before a layer's gain; the reference uses 256 with float16."""

    @property
    def block_resolutions(self) -> tuple[int, ...]:
        """4, 8, ..., resolution."""
        return tuple(2**k for k in range(2, self.resolution.bit_length()))

    @property
    def taps(self) -> tuple[float, ...]:
        """The FIR filter, normalised to unit sum."""
        return tuple(fir_taps(self.resample_taps).tolist())

    def channels(self, resolution: int) -> int:
        """Number of feature maps at a resolution."""
        return min(self.channel_base // resolution, self.channel_max)

    def dtype(self, resolution: int) -> jnp.dtype:
        """Compute dtype of the block at a resolution."""
        reduced = self.block_resolutions[::-1][: self.num_reduced_precision_res]
        return jnp.dtype(self.reduced_dtype if resolution in reduced else "float32")


@dataclasses.dataclass(frozen=True)
class GeneratorConfig(_NetworkSizes):
    """Sizes of a generator. Defaults are the reference's for FFHQ at 1024 (``stylegan2``).

    Raises:
        ValueError: for a resolution that is no power of two in 4..2048, or an unknown choice.
    """

    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    w_mean_decay: float = 0.995
    architecture: Architecture = "skip"
    residual_blocks: int = 0
    """Blocks of a residual mapping beside the layers, see `ResidualMapping`; 0 is the reference's
    mapping. With it there may be no layers."""
    residual_width: int = 1024
    """Units of the residual mapping."""

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.mapping_layers < 1 and self.residual_blocks < 1:
            raise ValueError(
                "GeneratorConfig: expected mapping_layers or residual_blocks of at least 1, got "
                f"{self.mapping_layers} and {self.residual_blocks}"
            )
        if self.residual_blocks and self.c_dim:
            raise ValueError(
                "GeneratorConfig: a residual mapping reads no labels, expected c_dim 0, got "
                f"{self.c_dim}"
            )

    @property
    def num_ws(self) -> int:
        """Style vectors in W+: 2 log2(resolution) - 2."""
        return 2 * len(self.block_resolutions)

    @property
    def image_resolutions(self) -> tuple[int, ...]:
        """What the network makes images at: every resolution up to its own, where it sums them."""
        return self.block_resolutions if self.architecture == "skip" else (self.resolution,)

    @property
    def style_widths(self) -> tuple[int, ...]:
        """Channels that each style scales, in the order of computation: style space.

        At 4 px one convolution and the RGB layer, at every other resolution two convolutions and
        the RGB layer (the last resolution's alone, where the architecture is not ``skip``). At
        1024 px 26 styles of 9088 channels together, as in StyleSpace Analysis (Wu et al. 2021).
        """
        widths, inputs = [], 0
        for resolution in self.block_resolutions:
            channels = self.channels(resolution)
            widths += ([inputs] if inputs else []) + [channels]
            if self.architecture == "skip" or resolution == self.resolution:
                widths.append(channels)
            inputs = channels
        return tuple(widths)


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig(_NetworkSizes):
    """Sizes of a discriminator.

    Raises:
        ValueError: for a resolution that is no power of two in 4..2048, or an unknown choice.
    """

    architecture: Architecture = "resnet"
    mbstd_group_size: int | None = 4
    """Images a minibatch standard deviation is taken over; None for the whole batch."""
    mbstd_num_channels: int = 1
    cmap_dim: int | None = None
    """Width of the label projection; None for the channels at resolution 4."""
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01

    def __post_init__(self) -> None:
        _check_sizes(self)
