"""What every contender gets: the sizes of a generator and one set of random weights."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
from flax import nnx

from jaxface.nets import VGG16, Generator, GeneratorConfig, VGGConfig
from jaxface.weights import build_network, network_arrays

Dtype = Literal["float32", "bfloat16"]

# Spread of the parameters that a fresh network has at zero: biases and noise strengths. Were they
# left there, a contender that ignores them would compare as equal.
SPREAD = 0.1


@dataclasses.dataclass(frozen=True)
class Problem:
    """Sizes and weights, the same for every contender.

    Attributes:
        resolution: side of the images in pixels.
        channel_base: channels at resolution r are ``min(channel_base // r, channel_max)``.
        channel_max: see ``channel_base``.
        dtype: what convolutions compute in; weights, latents and images are float32.
        weights: the skip generator's arrays by dotted name. Kernels are HWIO and dense weights
            [in, out], stored raw: the equalised gains of StyleGAN2 apply at run time.
        perceptual: arrays of the VGG-16 of the perceptual term by dotted name, HWIO kernels used
            as they are; None without the term.
    """

    resolution: int
    channel_base: int
    channel_max: int
    dtype: Dtype
    weights: Mapping[str, np.ndarray] = dataclasses.field(repr=False)
    perceptual: Mapping[str, np.ndarray] | None = dataclasses.field(repr=False)

    @property
    def config(self) -> GeneratorConfig:
        """The generator's configuration; every block computes in ``dtype``."""
        return _config(self.resolution, self.channel_base, self.channel_max, self.dtype)

    def generator(self) -> Generator:
        """jaxface's generator with these weights."""
        network = build_network("Generator", self.config, self.weights)
        if not isinstance(network, Generator):
            raise TypeError(f"expected a Generator, got {type(network).__name__}")
        return network

    def perceptual_network(self) -> VGG16 | None:
        """jaxface's VGG-16 with these weights, or None without the perceptual term."""
        if self.perceptual is None:
            return None
        network = build_network("VGG16", VGGConfig(), self.perceptual)
        if not isinstance(network, VGG16):
            raise TypeError(f"expected a VGG16, got {type(network).__name__}")
        return network


def random_problem(
    *,
    resolution: int,
    channel_base: int,
    channel_max: int,
    dtype: Dtype,
    perceptual: bool,
    seed: int,
) -> Problem:
    """A generator as initialised, with every bias and noise strength moved off its start.

    Args:
        perceptual: whether to make a VGG-16 of full width too.

    Raises:
        ValueError: for sizes that :class:`GeneratorConfig` refuses.
    """
    config = _config(resolution, channel_base, channel_max, dtype)
    rng = np.random.default_rng(seed)
    weights = network_arrays(Generator(config, rngs=nnx.Rngs(seed)))
    for name, array in sorted(weights.items()):
        if name.endswith((".bias", ".noise_strength")):
            step = SPREAD * rng.standard_normal(array.shape)
            weights[name] = (array + step).astype(np.float32)
    return Problem(
        resolution=resolution,
        channel_base=channel_base,
        channel_max=channel_max,
        dtype=dtype,
        weights=weights,
        perceptual=(
            network_arrays(VGG16(VGGConfig(), rngs=nnx.Rngs(seed))) if perceptual else None
        ),
    )


def _config(resolution: int, channel_base: int, channel_max: int, dtype: Dtype) -> GeneratorConfig:
    reduced = resolution.bit_length() if dtype == "bfloat16" else 0
    return GeneratorConfig(
        resolution=resolution,
        channel_base=channel_base,
        channel_max=channel_max,
        num_reduced_precision_res=reduced,
        reduced_dtype="bfloat16",
    )
