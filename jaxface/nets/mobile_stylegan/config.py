"""Sizes of MobileStyleGAN's generator, all of which follow from the resolution."""

import dataclasses

import jax.numpy as jnp

from jaxface.nets.stylegan2.config import ReducedDtype

BANDS = 4
"""Of a wavelet level, side by side in the channels."""


@dataclasses.dataclass(frozen=True)
class MobileGeneratorConfig:
    """Sizes of a generator. Defaults are those of the published student of FFHQ at 1024 px.

    Its last image head makes wavelet bands at half the resolution, so the constant of 4 px is
    doubled in ``blocks`` steps to ``resolution / 2``.

    Args:
        resolution: side of the images.
        channel_base: channels at resolution r are ``min(channel_base // r, channel_max)``, as the
            teacher's.
        dtype: what the synthesis network computes in; styles and the image stay float32.

    Raises:
        ValueError: for a resolution that is no power of two in 16..2048, channels of a block that
            are no multiple of 4, or an unknown dtype.
    """

    resolution: int = 1024
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    w_mean_decay: float = 0.995
    channel_base: int = 32768
    channel_max: int = 512
    dtype: ReducedDtype | str = "float32"

    def __post_init__(self) -> None:
        if self.resolution not in [2**k for k in range(4, 12)]:
            raise ValueError(
                f"MobileGeneratorConfig.resolution: expected a power of two in 16..2048, got "
                f"{self.resolution}"
            )
        if any(width < BANDS or width % BANDS for width in self.channels[:-1]):
            raise ValueError(
                f"MobileGeneratorConfig: expected channels that are multiples of {BANDS}, got "
                f"{self.channels}"
            )
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(
                f"MobileGeneratorConfig.dtype: expected 'float32', 'bfloat16' or 'float16', got "
                f"{self.dtype!r}"
            )

    @property
    def c_dim(self) -> int:
        """Dimension of the class label: there is none."""
        return 0

    @property
    def image_channels(self) -> int:
        """RGB."""
        return 3

    @property
    def blocks(self) -> int:
        """Doublings from the constant to the image head's wavelet bands."""
        return self.resolution.bit_length() - 4

    @property
    def channels(self) -> tuple[int, ...]:
        """Feature maps at 4 px, 8 px, ..., resolution / 2."""
        sides = [4 << i for i in range(self.blocks + 1)]
        return tuple(min(self.channel_base // side, self.channel_max) for side in sides)

    @property
    def num_ws(self) -> int:
        """Rows of W+, one for each modulation: 23 at 1024 px."""
        return 2 + 3 * self.blocks

    @property
    def image_resolutions(self) -> tuple[int, ...]:
        """What the network makes images at: the full size, and two below by its wavelet levels.

        None is cheaper than the full one: the only image head is the last.
        """
        return tuple(self.resolution >> level for level in (2, 1, 0))

    @property
    def style_widths(self) -> tuple[int, ...]:
        """Channels that each row's style scales, in the order of the rows."""
        widths = [self.channels[0]]
        for before, after in zip(self.channels[:-1], self.channels[1:], strict=True):
            widths += [before, before // BANDS, after]
        return (*widths, self.channels[-1])

    @property
    def compute_dtype(self) -> jnp.dtype:
        """Of the synthesis network."""
        return jnp.dtype(self.dtype)
