"""A larger generator that begins as a smaller one: wider, of more resolutions, better mapped."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from jaxface.nets.stylegan2.config import GeneratorConfig
from jaxface.nets.stylegan2.generator import Generator
from jaxface.nets.stylegan2.synthesis import SynthesisBlock, SynthesisLayer, ToRGB
from jaxface.nets.variables import fill_corner


def grown(generator: Generator, config: GeneratorConfig, *, rngs: nnx.Rngs) -> Generator:
    """A generator of a larger configuration that draws what the given one draws.

    Up to the old resolution images are equal but for rounding, and beyond it they are those,
    upsampled, until training changes that: what the old channels compute does not read the new
    ones, which begin at random, and what new resolutions add to the image begins at zero. Net2Net
    (Chen et al. 2016) preserves a function by copying channels; with zeros instead no two are
    alike. The first rows of W+ mean what they meant.

    Args:
      generator: of the ``skip`` architecture.
      config: as the generator's, with a resolution and channels that are no fewer; where the
        generator has no residual mapping it may have one, which adds nothing at first.
      rngs: stream ``params`` for the new channels.

    Raises:
      ValueError: the configuration differs in something else, or is smaller.
    """
    old = generator.config
    same = dataclasses.replace(
        config,
        resolution=old.resolution,
        channel_base=old.channel_base,
        channel_max=old.channel_max,
    )
    if not old.residual_blocks:
        same = dataclasses.replace(same, residual_blocks=0, residual_width=old.residual_width)
    if same != old or old.architecture != "skip":
        raise ValueError(
            "grown: expected a 'skip' generator that differs in resolution, channels and a "
            "residual mapping alone; "
            f"it is {old}, to become {config}"
        )
    resolutions = old.block_resolutions
    narrower = [r for r in resolutions if config.channels(r) < old.channels(r)]
    if narrower or config.resolution < old.resolution:
        raise ValueError(f"grown: {config} is smaller than {old}")
    new = Generator(config, rngs=rngs)
    nnx.update(new.mapping, nnx.state(jax.tree.map(jnp.copy, generator.mapping)))
    for source, target in zip(generator.synthesis.blocks, new.synthesis.blocks, strict=False):
        _grow_block(source, target)
    for block in list(new.synthesis.blocks)[len(resolutions) :]:
        block.to_rgb.weight[...] = jnp.zeros_like(block.to_rgb.weight[...])
    return new


def _grow_block(source: SynthesisBlock, target: SynthesisBlock) -> None:
    if source.const is not None and target.const is not None:
        fill_corner(target.const, source.const)
    for name in ("conv0", "conv1", "to_rgb"):
        if (layer := getattr(source, name)) is not None:
            _grow_layer(layer, getattr(target, name))


def _grow_layer(source: SynthesisLayer | ToRGB, target: SynthesisLayer | ToRGB) -> None:
    inputs, outputs = source.weight.shape[2:]
    fill_corner(target.affine.weight, source.affine.weight)
    fill_corner(target.affine.bias, source.affine.bias)
    fill_corner(target.bias, source.bias)
    target.weight[...] = target.weight[...].at[:, :, inputs:, :outputs].set(0.0)
    if isinstance(source, ToRGB) and isinstance(target, ToRGB):
        # Its gain at run time goes with its inputs, and nothing normalises its outputs.
        gain = source.weight_gain / target.weight_gain
        fill_corner(target.weight, source.weight[...] * gain)
        return
    fill_corner(target.weight, source.weight)
    if isinstance(source, SynthesisLayer) and isinstance(target, SynthesisLayer):
        target.noise_const[...] = source.noise_const[...]
        target.noise_strength[...] = source.noise_strength[...]
