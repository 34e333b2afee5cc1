"""The synthesis network: W+ to images (Karras et al. 2020a, figures 2 and 7)."""

import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.equalized_layers import Conv, Dense
from jaxface.nets.ops import bias_act, modulated_conv, upsample
from jaxface.nets.ops.formulation import platform_of_formulation
from jaxface.nets.stylegan2 import folded
from jaxface.nets.stylegan2.config import GeneratorConfig
from jaxface.nets.variables import Buffer

# Noise is "const" (the stored maps), "none", one typed key, or [N] typed keys, one per image.
Noise = str | jax.Array

# A residual branch and its skip each carry half the variance.
RESIDUAL_GAIN = 0.5**0.5


class SynthesisLayer(nnx.Module):
    """Modulated 3 x 3 convolution, noise, bias and leaky ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        resolution: int,
        up: int,
        config: GeneratorConfig,
        rngs: nnx.Rngs,
    ):
        self.resolution, self.up = resolution, up
        self.taps, self.clamp = config.taps, config.conv_clamp
        self.affine = Dense(config.w_dim, in_channels, bias_init=1.0, rngs=rngs)
        shape = (3, 3, in_channels, out_channels)
        self.weight = nnx.Param(jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros((out_channels,)))
        self.noise_const = Buffer(jax.random.normal(rngs.params(), (resolution, resolution)))
        self.noise_strength = nnx.Param(jnp.zeros(()))

    def __call__(
        self,
        x: Float[Array, "n h w i"],
        w: Float[Array, "n d"],
        *,
        noise: Noise,
        layer: int,
        gain: float = 1.0,
        shift: Float[Array, "#n i"] | None = None,
    ) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in] and w [N, w_dim] to [N, H * up, W * up, out]; shift [N, in]."""
        styles = _shifted(self.affine(w), shift)
        taps = np.asarray(self.taps)
        x = modulated_conv(x, self.weight[...], styles, taps=taps, up=self.up)
        maps = self.noise_maps(noise, layer, x.shape[0])
        if maps is not None:
            # Noise enters before bias and activation.
            x = x + (maps * self.noise_strength[...]).astype(x.dtype)[..., None]
        return bias_act(x, self.bias[...], activation="lrelu", gain=gain, clamp=self.clamp)

    def noise_maps(self, noise: Noise, layer: int, count: int) -> jax.Array | None:
        """Noise maps, [H, W] or [N, H, W], unscaled; every layer draws from its own key."""
        if isinstance(noise, str):
            if noise not in ("const", "none"):
                raise ValueError(f"noise: expected 'const', 'none' or a key, got {noise!r}")
            return self.noise_const[...] if noise == "const" else None
        shape = (self.resolution, self.resolution)
        if noise.ndim == 0:
            return jax.random.normal(jax.random.fold_in(noise, layer), (count, *shape))
        if noise.shape != (count,):
            raise ValueError(f"noise: expected one key or [{count}] keys, got {noise.shape}")
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, layer), shape))(noise)


class ToRGB(nnx.Module):
    """Modulated 1 x 1 convolution to the image, without demodulation."""

    def __init__(self, in_channels: int, *, config: GeneratorConfig, rngs: nnx.Rngs):
        self.taps, self.clamp = config.taps, config.conv_clamp
        # The reference folds the equalised learning rate of the 1 x 1 kernel into the styles.
        self.weight_gain = in_channels**-0.5
        self.affine = Dense(config.w_dim, in_channels, bias_init=1.0, rngs=rngs)
        shape = (1, 1, in_channels, config.image_channels)
        self.weight = nnx.Param(jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros((config.image_channels,)))

    def __call__(
        self,
        x: Float[Array, "n h w i"],
        w: Float[Array, "n d"],
        *,
        shift: Float[Array, "#n i"] | None = None,
    ) -> Float[Array, "n h w c"]:
        """[N, H, W, in] and w [N, w_dim] to [N, H, W, image_channels]; shift [N, in]."""
        styles = self.styles(w, shift)
        taps = np.asarray(self.taps)
        y = modulated_conv(x, self.weight[...], styles, taps=taps, demodulate=False)
        return bias_act(y, self.bias[...], clamp=self.clamp)

    def styles(
        self, w: Float[Array, "n d"], shift: Float[Array, "#n i"] | None
    ) -> Float[Array, "n i"]:
        """Of the input channels, with the kernel's gain."""
        return _shifted(self.affine(w), shift) * self.weight_gain


class SynthesisBlock(nnx.Module):
    """All layers at one resolution."""

    def __init__(
        self, in_channels: int, *, resolution: int, config: GeneratorConfig, rngs: nnx.Rngs
    ):
        channels = config.channels(resolution)
        self.resolution, self.architecture = resolution, config.architecture
        self.dtype, self.taps = config.dtype(resolution), config.taps
        first = in_channels == 0
        shape = (resolution, resolution, channels)
        self.const = nnx.Param(jax.random.normal(rngs.params(), shape)) if first else None
        self.conv0 = (
            None
            if first
            else SynthesisLayer(
                in_channels, channels, resolution=resolution, up=2, config=config, rngs=rngs
            )
        )
        residual = config.architecture == "resnet" and not first
        self.skip = (
            Conv(
                in_channels, channels, kernel_size=1, bias=False, up=2, taps=config.taps, rngs=rngs
            )
            if residual
            else None
        )
        self.conv1 = SynthesisLayer(
            channels, channels, resolution=resolution, up=1, config=config, rngs=rngs
        )
        with_rgb = config.architecture == "skip" or resolution == config.resolution
        self.to_rgb = ToRGB(channels, config=config, rngs=rngs) if with_rgb else None

    def __call__(
        self,
        x: jax.Array | None,
        image: jax.Array | None,
        ws: jax.Array,
        *,
        noise: Noise,
        layer: int,
        shifts: Iterator[jax.Array | None],
    ) -> tuple[jax.Array, jax.Array | None]:
        """One resolution up.

        Args:
            x: [N, R / 2, R / 2, C'] features; None at the first block.
            image: [N, R / 2, R / 2, 3] sum of the RGB outputs so far, or None.
            ws: [N, L - layer, w_dim], the styles from this block's first layer on.
            layer: index of this block's first style, which also numbers its noise.
            shifts: what is added to each layer's style, in the order of computation.

        Returns:
            (features [N, R, R, C] in the block's dtype, image [N, R, R, 3] float32 or None).
        """
        index = 0
        if self.const is not None:
            const = self.const[...].astype(self.dtype)
            x = jnp.broadcast_to(const, (ws.shape[0], *const.shape))
            x = self.conv1(x, ws[:, 0], noise=noise, layer=layer, shift=next(shifts))
            index = 1
        else:
            if x is None or self.conv0 is None:
                raise ValueError("synthesis: only the first block has no input features")
            x = x.astype(self.dtype)
            if self._is_folded():
                return self._folded(x, image, ws, noise=noise, layer=layer, shifts=shifts)
            residual = None
            if self.skip is not None:
                residual = self.skip(x, gain=RESIDUAL_GAIN)
            x = self.conv0(x, ws[:, 0], noise=noise, layer=layer, shift=next(shifts))
            gain = 1.0 if residual is None else RESIDUAL_GAIN
            shift = next(shifts)
            x = self.conv1(x, ws[:, 1], noise=noise, layer=layer + 1, gain=gain, shift=shift)
            if residual is not None:
                x = residual + x
            index = 2
        rgb = None
        if self.to_rgb is not None:
            rgb = self.to_rgb(x, ws[:, index], shift=next(shifts))
        return x, self._added(image, rgb)

    def _added(self, image: jax.Array | None, rgb: jax.Array | None) -> jax.Array | None:
        """The image so far, enlarged, and this block's part of it."""
        if image is not None:
            image = upsample(image, np.asarray(self.taps))
        if rgb is None:
            return image
        rgb = rgb.astype(jnp.float32)
        return rgb if image is None else image + rgb

    def _is_folded(self) -> bool:
        """Whether the platform takes the block in the form of `jaxface.nets.stylegan2.folded`."""
        return (
            platform_of_formulation() == "tpu"
            and self.skip is None
            and folded.folds(self.conv1.weight.shape[-1], self.resolution, self.dtype)
        )

    def _folded(
        self,
        x: jax.Array,
        image: jax.Array | None,
        ws: jax.Array,
        *,
        noise: Noise,
        layer: int,
        shifts: Iterator[jax.Array | None],
    ) -> tuple[jax.Array, jax.Array | None]:
        """As ``__call__`` of a block that has features to begin with."""
        assert self.conv0 is not None
        columns = max(1, folded.LANES // x.shape[-1])
        taps = np.asarray(self.taps)

        def maps(of: SynthesisLayer, number: int) -> jax.Array | None:
            """[1 or N, 2, H, W]: even and odd rows."""
            found = of.noise_maps(noise, number, len(ws))
            if found is None:
                return None
            found = (found * of.noise_strength[...]).reshape(-1, *found.shape[-2:])
            return jnp.stack([found[:, 0::2], found[:, 1::2]], axis=1)

        first, second = self.conv0, self.conv1
        styles = _shifted(first.affine(ws[:, 0]), next(shifts))
        x = folded.modulated_up(folded.fold(x, columns), first.weight[...], styles, taps)
        x = folded.activated(
            x, first.bias[...], maps(first, layer), activation="lrelu", clamp=first.clamp
        )
        styles = _shifted(second.affine(ws[:, 1]), next(shifts))
        even, odd = folded.modulated(x, second.weight[...], styles)
        noises = maps(second, layer + 1)
        even, odd = (
            folded.activated(
                x,
                second.bias[...],
                None if noises is None else noises[:, phase : phase + 1],
                activation="lrelu",
                clamp=second.clamp,
            )
            for phase, x in enumerate((even, odd))
        )
        rgb = None
        if self.to_rgb is not None:
            last = self.to_rgb
            styles = last.styles(ws[:, 2], next(shifts))
            colours = [folded.to_colours(x, last.weight[...], styles) for x in (even, odd)]
            colours = [
                folded.activated(x, last.bias[...], None, activation="linear", clamp=last.clamp)
                for x in colours
            ]
            rgb = folded.unfold_colours((colours[0], colours[1]), len(last.bias))
        return folded.unfold((even, odd), 2 * columns), self._added(image, rgb)

    def styles(self, ws: Float[Array, "n _ d"]) -> list[jax.Array]:
        """The layers' styles, [N, C] each, in the order of computation; ``ws`` as above."""
        layers = [layer for layer in (self.conv0, self.conv1, self.to_rgb) if layer is not None]
        return [layer.affine(ws[:, index]) for index, layer in enumerate(layers)]


class SynthesisNetwork(nnx.Module):
    """Constant input, one block a resolution, RGB outputs summed (skip) or taken last."""

    def __init__(self, config: GeneratorConfig, *, rngs: nnx.Rngs):
        self.num_ws, self.w_dim = config.num_ws, config.w_dim
        self.style_widths = config.style_widths
        blocks, in_channels = [], 0
        for resolution in config.block_resolutions:
            blocks.append(
                SynthesisBlock(in_channels, resolution=resolution, config=config, rngs=rngs)
            )
            in_channels = config.channels(resolution)
        self.blocks = nnx.List(blocks)

    def features(
        self,
        w_plus: Float[Array, "n l d"],
        noise: Noise = "const",
        *,
        style_shift: Float[Array, "#n s"] | None = None,
        resolution: int | None = None,
    ) -> list[tuple[jax.Array, jax.Array | None]]:
        """(features, image) after each block, lowest resolution first; see ``__call__``."""
        w_plus = self._checked(w_plus)
        shifts = self._shifts(style_shift)
        sizes = [block.resolution for block in self.blocks]
        if resolution is not None and resolution not in sizes:
            raise ValueError(f"synthesis: expected a resolution of {sizes}, got {resolution}")
        outputs, x, image = [], None, None
        for layer, block in self._layers():
            x, image = block(x, image, w_plus[:, layer:], noise=noise, layer=layer, shifts=shifts)
            outputs.append((x, image))
            if block.resolution == resolution:
                break
        return outputs

    def styles(self, w_plus: Float[Array, "n l d"]) -> Float[Array, "n s"]:
        """The portrait's place in style space.

        Args:
            w_plus: [N, num_ws, w_dim].

        Returns:
            [N, sum(style_widths)], what the layers' affine maps make of it.

        Raises:
            ValueError: for another shape.
        """
        w_plus = self._checked(w_plus)
        found = [
            part for layer, block in self._layers() for part in block.styles(w_plus[:, layer:])
        ]
        return jnp.concatenate(found, axis=1)

    def _checked(self, w_plus: jax.Array) -> jax.Array:
        if w_plus.ndim != 3 or w_plus.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(
                f"synthesis: expected w_plus of shape [N, {self.num_ws}, {self.w_dim}], "
                f"got {list(w_plus.shape)}"
            )
        return w_plus.astype(jnp.float32)

    def _layers(self) -> Iterator[tuple[int, SynthesisBlock]]:
        """Each block with the row of W+ that is its first layer's."""
        layer = 0
        for block in self.blocks:
            yield layer, block
            # A block's RGB style is the next block's first style.
            layer += 1 if block.const is not None else 2

    def __call__(
        self,
        w_plus: Float[Array, "n l d"],
        noise: Noise = "const",
        *,
        style_shift: Float[Array, "#n s"] | None = None,
        resolution: int | None = None,
    ) -> Float[Array, "n r r c"]:
        """Synthesise images.

        Args:
            w_plus: [N, num_ws, w_dim].
            noise: ``"const"`` for the stored maps, ``"none"``, a key, or [N] keys, one an image.
            style_shift: [N or 1, sum(style_widths)], an edit in style space: added to the styles
                that the layers' affine maps make of ``w_plus``, in the order of ``style_widths``.
            resolution: R, one of the blocks'; None for the full one. A lower one is the sum of the
                RGB outputs up to there (``skip`` alone has it), and costs no more than those.

        Returns:
            [N, R, R, 3] float32, nominally in [-1, 1] and not clipped.

        Raises:
            ValueError: for a wrong shape, an unknown kind of noise, or a resolution without image.
        """
        image = self.features(w_plus, noise, style_shift=style_shift, resolution=resolution)[-1][1]
        if image is None:
            raise ValueError(
                f"synthesis: no image at {resolution} px; only the 'skip' architecture has one"
            )
        return image

    def _shifts(self, style_shift: jax.Array | None) -> Iterator[jax.Array | None]:
        """The layers' parts of a shift, in the order of computation."""
        if style_shift is None:
            return itertools.repeat(None)
        total = sum(self.style_widths)
        if style_shift.ndim != 2 or style_shift.shape[1] != total:
            raise ValueError(
                f"synthesis: expected style_shift of shape [N, {total}], "
                f"got {list(style_shift.shape)}"
            )
        ends = list(itertools.accumulate(self.style_widths))[:-1]
        return iter(jnp.split(style_shift.astype(jnp.float32), ends, axis=1))


def _shifted(styles: jax.Array, shift: jax.Array | None) -> jax.Array:
    return styles if shift is None else styles + shift
