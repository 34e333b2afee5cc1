"""What every contender gets: the sizes of a generator and one set of random weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
from flax import nnx

from jaxface.nets import LPIPS, VGG16, Generator, GeneratorConfig, LPIPSConfig, VGGConfig
from jaxface.runtime.devices import Dtype
from jaxface.weights import abstract_network, build_network, network_names

Network = TypeVar("Network", bound=nnx.Module)

# Deviation of the vectors that a fresh network has at zero or one.
SPREAD = 0.1
AROUND_ONE = (".weight", ".variance", ".scale", "affine.bias")


class AnyProblem(Protocol):
    """What a benchmark is measured on: `Problem`, `NetworkProblem`, `SuiteProblem`."""

    @property
    def sizes(self) -> dict[str, Any]:
        """What a report says of it, in JSON's types; ``dtype`` is among them."""
        ...


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
        lpips: arrays of the LPIPS network (``lpips_config``) likewise, a trunk and its five heads;
            None without the term.
        lpips_config: its configuration.
    """

    resolution: int
    channel_base: int
    channel_max: int
    dtype: Dtype
    weights: Mapping[str, np.ndarray] = dataclasses.field(repr=False)
    perceptual: Mapping[str, np.ndarray] | None = dataclasses.field(repr=False)
    lpips: Mapping[str, np.ndarray] | None = dataclasses.field(repr=False)
    lpips_config: LPIPSConfig | None

    @property
    def options(self) -> dict[str, Any]:
        """What else a report tells of a benchmark's problem, in JSON's types."""
        return {}

    @property
    def sizes(self) -> dict[str, Any]:
        """What a report says of it, in JSON's types."""
        return {
            "resolution": self.resolution,
            "channel_base": self.channel_base,
            "channel_max": self.channel_max,
            "dtype": self.dtype,
            "perceptual": self.perceptual is not None,
            "lpips": None if self.lpips_config is None else self.lpips_config.trunk,
        } | self.options

    @property
    def config(self) -> GeneratorConfig:
        """The generator's configuration; every block computes in ``dtype``."""
        return _config(self.resolution, self.channel_base, self.channel_max, self.dtype)

    def generator(self) -> Generator:
        """jaxface's generator with these weights."""
        return _built(Generator, self.config, self.weights)

    def perceptual_network(self) -> VGG16 | None:
        """jaxface's VGG-16 with these weights, or None without the perceptual term."""
        return None if self.perceptual is None else _built(VGG16, VGGConfig(), self.perceptual)

    def lpips_network(self) -> LPIPS | None:
        """jaxface's LPIPS with these weights, or None without its term."""
        return None if self.lpips is None else _built(LPIPS, self.lpips_config, self.lpips)


def random_problem(
    *,
    resolution: int,
    channel_base: int,
    channel_max: int,
    dtype: Dtype,
    perceptual: bool,
    lpips: LPIPSConfig | None = None,
    seed: int,
) -> Problem:
    """A generator and the energy's networks, with :func:`random_weights`.

    Args:
        perceptual: whether to make a VGG-16 of full width too.
        lpips: which LPIPS network to make too, None for none.

    Raises:
        ValueError: for sizes that :class:`GeneratorConfig` refuses.
    """
    config = _config(resolution, channel_base, channel_max, dtype)
    return Problem(
        resolution=resolution,
        channel_base=channel_base,
        channel_max=channel_max,
        dtype=dtype,
        weights=random_weights(Generator, config, seed=seed),
        perceptual=random_weights(VGG16, VGGConfig(), seed=seed) if perceptual else None,
        lpips=None if lpips is None else random_weights(LPIPS, lpips, seed=seed),
        lpips_config=lpips,
    )


def fields_of(problem: Problem) -> dict[str, Any]:
    """A problem's fields by name, for one that has more of them."""
    return {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}


def random_weights(network: type[nnx.Module], config: Any, *, seed: int) -> dict[str, np.ndarray]:
    """Random arrays for a network, none of them zero or one throughout.

    A contender that ignored a bias, a running mean or a noise strength would else compare as equal.
    Kernels have He's deviation, a generator's, whose gains apply at run time, deviation 1; factors
    (norms' weights and variances, styles' biases) are around one, other vectors around zero, and
    LPIPS's heads uniform in [0, 1], since the published ones are not negative. From NumPy, because
    initialising a network compiles a program for every shape.

    Args:
        network: a class of ``jaxface.weights.network_classes()``.
        config: its configuration.

    Returns:
        Dotted name to float32 array.
    """
    rng = np.random.default_rng(seed)
    weights = {}
    for name, spec in sorted(network_names(abstract_network(network.__name__, config)).items()):
        array = rng.standard_normal(spec.shape, dtype=np.float32)
        if name.startswith("heads."):
            array = rng.random(spec.shape, dtype=np.float32)
        elif len(spec.shape) < 2:
            array = SPREAD * array + float(name.endswith(AROUND_ONE))
        elif name.endswith(".weight") and network is not Generator:
            array = array * np.sqrt(2 / np.prod(spec.shape[:-1]))
        weights[name] = np.asarray(array, np.float32)
    return weights


def _built(network: type[Network], config: Any, weights: Mapping[str, np.ndarray]) -> Network:
    built = build_network(network.__name__, config, weights)
    if not isinstance(built, network):
        raise TypeError(f"expected a {network.__name__}, got {type(built).__name__}")
    return built


def _config(resolution: int, channel_base: int, channel_max: int, dtype: Dtype) -> GeneratorConfig:
    reduced = resolution.bit_length() if dtype == "bfloat16" else 0
    return GeneratorConfig(
        resolution=resolution,
        channel_base=channel_base,
        channel_max=channel_max,
        num_reduced_precision_res=reduced,
        reduced_dtype="bfloat16",
    )
