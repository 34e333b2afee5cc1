"""The synthesis network of MobileStyleGAN: W+ to images through wavelet levels.

Belousov, "MobileStyleGAN: A Lightweight Convolutional Neural Network for High-Fidelity Image
Synthesis" (2021): StyleGAN2's layers as depthwise separable convolutions, upsampling by the inverse
Haar transform (section 3.2 there), a student distilled from StyleGAN2. In the published files
demodulation does not depend on the style and lies in the 1 x 1 kernels, noise is a stored map with
its strength folded in, and of the image heads the last alone is left.

Each modulation has its own row of W+. In order: ``first``; then of each block the upsampling,
``conv1`` and ``conv2``; then the image head.
"""

import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.mobile_stylegan.config import BANDS, MobileGeneratorConfig
from jaxface.nets.ops.depthwise import depthwise_conv
from jaxface.nets.ops.strided import DIMENSION_NUMBERS
from jaxface.nets.ops.wavelet import inverse_haar, low_band_image
from jaxface.nets.stylegan2.synthesis import Noise
from jaxface.nets.torch_layers import Linear
from jaxface.nets.variables import Buffer

SLOPE = 0.2
"""Of the leaky ReLU, which has no gain here."""

KERNEL = 3


class _Layer(nnx.Module):
    """What every convolution has: a style, noise, a bias and a leaky ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, *, side: int, w_dim: int, rngs: nnx.Rngs
    ):
        self.gain = (in_channels * KERNEL**2) ** -0.5
        self.affine = _affine(w_dim, in_channels, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros((out_channels,)))
        self.noise = Buffer(jnp.zeros((side, side)))

    def finish(self, x: Float[Array, "n h w c"], *, noise: Noise, layer: int) -> jax.Array:
        """Noise, bias and activation."""
        x = x + self.bias[...].astype(x.dtype)
        maps = self._noise(noise, layer, len(x))
        if maps is not None:
            x = x + maps.astype(x.dtype)[..., None]
        return jnp.maximum(x, jnp.asarray(SLOPE, x.dtype) * x)

    def _noise(self, noise: Noise, layer: int, count: int) -> jax.Array | None:
        """Maps that broadcast to [N, H, W]; drawn ones have the stored map's root mean square."""
        stored = self.noise[...]
        if isinstance(noise, str):
            if noise not in ("const", "none"):
                raise ValueError(f"noise: expected 'const', 'none' or a key, got {noise!r}")
            return stored if noise == "const" else None
        strength = jnp.sqrt(jnp.mean(jnp.square(stored)))
        if noise.ndim == 0:
            key = jax.random.fold_in(noise, layer)
            return strength * jax.random.normal(key, (count, *stored.shape))
        if noise.shape != (count,):
            raise ValueError(f"noise: expected one key or [{count}] keys, got {noise.shape}")
        keys = jax.vmap(lambda key: jax.random.fold_in(key, layer))(noise)
        return strength * jax.vmap(lambda key: jax.random.normal(key, stored.shape))(keys)


class FirstLayer(_Layer):
    """Modulated dense 3 x 3 convolution of the constant."""

    def __init__(self, in_channels: int, out_channels: int, *, w_dim: int, rngs: nnx.Rngs):
        super().__init__(in_channels, out_channels, side=4, w_dim=w_dim, rngs=rngs)
        shape = (KERNEL, KERNEL, in_channels, out_channels)
        self.weight = nnx.Param(jax.random.normal(rngs.params(), shape))

    def __call__(
        self, x: Float[Array, "n h w c"], style: Float[Array, "n c"], *, noise: Noise, layer: int
    ) -> Float[Array, "n _ _ _"]:
        """[N, 4, 4, in] and style [N, in] to [N, 4, 4, out]."""
        x = modulated(x, style * self.gain)
        kernel = self.weight[...].astype(x.dtype)
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=DIMENSION_NUMBERS
        )
        return self.finish(x, noise=noise, layer=layer)


class SeparableLayer(_Layer):
    """Modulated depthwise 3 x 3 convolution, then 1 x 1 to ``out_channels``."""

    def __init__(
        self, in_channels: int, out_channels: int, *, side: int, w_dim: int, rngs: nnx.Rngs
    ):
        super().__init__(in_channels, out_channels, side=side, w_dim=w_dim, rngs=rngs)
        self.depthwise = nnx.Param(jax.random.normal(rngs.params(), (KERNEL, KERNEL, in_channels)))
        self.weight = nnx.Param(jax.random.normal(rngs.params(), (in_channels, out_channels)))

    def __call__(
        self, x: Float[Array, "n h w c"], style: Float[Array, "n c"], *, noise: Noise, layer: int
    ) -> Float[Array, "n _ _ _"]:
        """[N, H, W, in] and style [N, in] to [N, H, W, out]."""
        x = depthwise_conv(modulated(x, style * self.gain), self.depthwise[...])
        return self.finish(x @ self.weight[...].astype(x.dtype), noise=noise, layer=layer)


class Block(nnx.Module):
    """Twice the side: inverse Haar transform of modulated features, two separable layers."""

    def __init__(
        self, in_channels: int, out_channels: int, *, side: int, w_dim: int, rngs: nnx.Rngs
    ):
        width = in_channels // BANDS
        self.resolution = side
        self.up = _affine(w_dim, in_channels, rngs=rngs)
        self.conv1 = SeparableLayer(width, out_channels, side=side, w_dim=w_dim, rngs=rngs)
        self.conv2 = SeparableLayer(out_channels, out_channels, side=side, w_dim=w_dim, rngs=rngs)

    def __call__(
        self, x: Float[Array, "n h w c"], styles: Iterator[jax.Array], *, noise: Noise, layer: int
    ) -> jax.Array:
        """[N, H, W, in] and the three next styles to [N, 2 H, 2 W, out]; layer numbers noise."""
        x = inverse_haar(modulated(x, next(styles)))
        x = self.conv1(x, next(styles), noise=noise, layer=layer)
        return self.conv2(x, next(styles), noise=noise, layer=layer + 1)


class ImageHead(nnx.Module):
    """Modulated 1 x 1 convolution to an image's wavelet bands."""

    def __init__(self, in_channels: int, image_channels: int, *, w_dim: int, rngs: nnx.Rngs):
        self.gain, self.image_channels = in_channels**-0.5, image_channels
        self.affine = _affine(w_dim, in_channels, rngs=rngs)
        bands = BANDS * image_channels
        self.weight = nnx.Param(jax.random.normal(rngs.params(), (in_channels, bands)))
        self.bias = nnx.Param(jnp.zeros((bands,)))

    def __call__(
        self, x: Float[Array, "n h w c"], style: Float[Array, "n c"], *, resolution: int
    ) -> Float[Array, "n r r _"]:
        """[N, R / 2, R / 2, in] and style [N, in] to [N, resolution, resolution, 3] float32."""
        count = BANDS if resolution > x.shape[1] else 1  # below the full size the low band alone
        used = count * self.image_channels
        # Per image a small matrix: scaled instead of the features, which are many.
        matrices = (style * self.gain)[:, :, None] * self.weight[...][:, :used]
        bands = jnp.einsum("nhwc,nco->nhwo", x, matrices.astype(x.dtype))
        bands = bands.astype(jnp.float32) + self.bias[...][:used]
        return inverse_haar(bands) if count == BANDS else low_band_image(bands, resolution)


class MobileSynthesis(nnx.Module):
    """Constant input, one block for each doubling, one image head."""

    def __init__(self, config: MobileGeneratorConfig, *, rngs: nnx.Rngs):
        self.num_ws, self.w_dim = config.num_ws, config.w_dim
        self.style_widths, self.image_resolutions = config.style_widths, config.image_resolutions
        self.dtype = config.compute_dtype
        channels, w_dim = config.channels, config.w_dim
        self.const = nnx.Param(jax.random.normal(rngs.params(), (4, 4, channels[0])))
        self.first = FirstLayer(channels[0], channels[0], w_dim=w_dim, rngs=rngs)
        self.blocks = nnx.List(
            Block(before, after, side=8 << i, w_dim=w_dim, rngs=rngs)
            for i, (before, after) in enumerate(itertools.pairwise(channels))
        )
        self.to_image = ImageHead(channels[-1], config.image_channels, w_dim=w_dim, rngs=rngs)

    def styles(self, w_plus: Float[Array, "n l d"]) -> Float[Array, "n s"]:
        """The portrait's place in style space.

        Args:
            w_plus: [N, num_ws, w_dim].

        Returns:
            [N, sum(style_widths)], what the affine maps make of it, in the order of the rows.

        Raises:
            ValueError: for another shape.
        """
        return jnp.concatenate(self._styles(w_plus, None), axis=1)

    def __call__(
        self,
        w_plus: Float[Array, "n l d"],
        noise: Noise = "const",
        *,
        style_shift: Float[Array, "#n s"] | None = None,
        resolution: int | None = None,
    ) -> jax.Array:
        """Synthesise images.

        Args:
            w_plus: [N, num_ws, w_dim].
            noise: ``"const"`` for the stored maps, ``"none"``, a key, or [N] keys, one an image;
                drawn maps are as strong as the stored ones.
            style_shift: [N or 1, sum(style_widths)], an edit in style space.
            resolution: one of ``image_resolutions``; None for the full one. The lower ones are
                exact means over pixels of the full image, and the whole network runs for them.

        Returns:
            [N, R, R, 3] float32, nominally in [-1, 1] and not clipped.

        Raises:
            ValueError: for a wrong shape, an unknown kind of noise, or another resolution.
        """
        size = resolution or self.image_resolutions[-1]
        if size not in self.image_resolutions:
            raise ValueError(
                f"synthesis: expected a resolution of {self.image_resolutions}, got {resolution}"
            )
        parts = self._styles(w_plus, style_shift)
        styles = iter(parts)
        const = self.const[...].astype(self.dtype)
        x = jnp.broadcast_to(const, (len(parts[0]), *const.shape))
        x = self.first(x, next(styles), noise=noise, layer=0)
        for index, block in enumerate(self.blocks):
            x = block(x, styles, noise=noise, layer=1 + 2 * index)
        return self.to_image(x, next(styles), resolution=size)

    def _styles(self, w_plus: jax.Array, shift: jax.Array | None) -> list[jax.Array]:
        """Of each row, [N, C] float32."""
        if w_plus.ndim != 3 or w_plus.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(
                f"synthesis: expected w_plus of shape [N, {self.num_ws}, {self.w_dim}], "
                f"got {list(w_plus.shape)}"
            )
        w_plus = w_plus.astype(jnp.float32)
        maps = [self.first.affine]
        for block in self.blocks:
            maps += [block.up, block.conv1.affine, block.conv2.affine]
        maps.append(self.to_image.affine)
        found = [affine(w_plus[:, row]) for row, affine in enumerate(maps)]
        if shift is None:
            return found
        total = sum(self.style_widths)
        if shift.ndim != 2 or shift.shape[1] != total:
            raise ValueError(
                f"synthesis: expected style_shift of shape [N, {total}], got {list(shift.shape)}"
            )
        ends = list(itertools.accumulate(self.style_widths))[:-1]
        parts = jnp.split(shift.astype(jnp.float32), ends, axis=1)
        return [style + part for style, part in zip(found, parts, strict=True)]


def modulated(x: Float[Array, "n h w c"], style: Float[Array, "n c"]) -> Float[Array, "n h w c"]:
    """[N, H, W, C] scaled by [N, C], in the dtype of ``x``."""
    return x * style[:, None, None, :].astype(x.dtype)


def _affine(w_dim: int, channels: int, *, rngs: nnx.Rngs) -> Linear:
    """W to a style around one."""
    affine = Linear(w_dim, channels, rngs=rngs)
    affine.bias = nnx.Param(jnp.ones((channels,)))
    return affine
