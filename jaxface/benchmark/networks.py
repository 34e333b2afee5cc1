"""The published networks, each as one jitted call from images to its outputs.

The weights are random and the sizes the published ones, so time and memory are those of the
converted checkpoints. Each call takes any batch. ReStyle's is its five iterations, generator
included, as one program.
"""

import dataclasses
import functools
import typing
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxface.benchmark.problem import random_weights
from jaxface.benchmark.workload import Benchmark, Call, Program, Workload
from jaxface.methods import restyle
from jaxface.nets import (
    FAN,
    IRSE,
    LPIPS,
    VGG16,
    DECAEncoder,
    Deep3D,
    DlibResNet,
    E4EEncoder,
    FaceLandmarkNet,
    FaceNet,
    Generator,
    GeneratorConfig,
    HopeNet,
    InceptionV3,
    PSPEncoder,
    RestyleE4EEncoder,
    RestylePSPEncoder,
    VGGFace,
    WEncoder,
)
from jaxface.runtime.devices import Dtype
from jaxface.weights import abstract_network, build_network


@dataclasses.dataclass(frozen=True)
class Part:
    """A network and its configuration."""

    network: type[nnx.Module]
    config: Any


@dataclasses.dataclass(frozen=True)
class Size:
    """One size of a network's call.

    Attributes:
        side: of the square images that it is given, in pixels.
        parts: its networks by role, in the order of the call's arguments.
    """

    side: int
    parts: Mapping[str, Part]


@dataclasses.dataclass(frozen=True)
class NetworkCall:
    """What is measured of a network.

    Attributes:
        published: the size of the published weights, with the image it was trained on.
        tiny: a narrow and shallow one, to try the command out.
        call: ``(*networks, *images)`` to an array or a tuple of them.
        outputs: their names.
        images: how many batches of images a call takes.
        differentiated: whether the papers' energies differentiate it, so that its gradient in the
            images is measured too.
    """

    published: Size
    tiny: Size
    call: Callable[..., Any]
    outputs: tuple[str, ...]
    images: int = 1
    differentiated: bool = False


def _output(network: Any, images: jax.Array) -> jax.Array:
    return network(images)


def _pair(network: LPIPS, images: jax.Array, others: jax.Array) -> jax.Array:
    return network(images, others)


def _deepest(network: VGG16, images: jax.Array) -> jax.Array:
    return network.features(images, ("relu5_3",))["relu5_3"]


def _points(network: FAN, images: jax.Array) -> jax.Array:
    return network(images, mirrored=False)


def _refinement(encoder: Any, generator: Generator, images: jax.Array) -> tuple[jax.Array, ...]:
    result = restyle.invert(encoder, generator, images)
    return result.w_plus, result.images


def _single(
    network: type[nnx.Module],
    output: str,
    sides: tuple[int, int],
    tiny: Mapping[str, Any],
    call: Callable[..., Any] = _output,
    config: Mapping[str, Any] = MappingProxyType({}),
    **rest: Any,
) -> NetworkCall:
    """A call of one network.

    Args:
        network: the class; its configuration's defaults are the published sizes.
        output: its name.
        sides: of the images, published and tiny.
        tiny: what differs in the tiny configuration.
        call: see `NetworkCall`, as `rest` is.
        config: what differs from the defaults in both.
    """
    kind = typing.get_type_hints(network.__init__)["config"]
    published, small = (
        Size(side, {"network": Part(network, kind(**config, **changes))})
        for side, changes in zip(sides, ({}, tiny), strict=True)
    )
    return NetworkCall(published, small, call, (output,), **rest)


_BLOCKS, _CHANNELS, _NARROW = (1, 1, 1, 1), (4, 4, 8, 8), (4, 4, 4, 4, 4)
_ENCODER_SIDES = (256, 32)
_TINY_ENCODER = {
    "channels": _CHANNELS, "units": _BLOCKS, "num_ws": 4, "w_dim": 8, "resolution": 32,
}  # fmt: skip
_TINY_GENERATOR = GeneratorConfig(
    resolution=8, z_dim=8, w_dim=8, mapping_layers=1, channel_base=32, channel_max=4
)


def _encoder(network: type[nnx.Module]) -> NetworkCall:
    return _single(network, "w_plus", _ENCODER_SIDES, _TINY_ENCODER)


def _restyle(encoder: type[nnx.Module]) -> NetworkCall:
    def with_generator(size: Size, config: GeneratorConfig) -> Size:
        encoder = size.parts["network"]
        return Size(size.side, {"encoder": encoder, "generator": Part(Generator, config)})

    alone = _encoder(encoder)
    return NetworkCall(
        with_generator(alone.published, GeneratorConfig(resolution=1024)),
        with_generator(alone.tiny, _TINY_GENERATOR),
        _refinement,
        ("w_plus", "images"),
    )


def _lpips(trunk: str) -> NetworkCall:
    return _single(
        LPIPS,
        "distance",
        (256, 32),
        {"channels": _NARROW},
        _pair,
        {"trunk": trunk},
        images=2,
        differentiated=True,
    )


# An image of FFHQ's alignment is read at 256 px, as the encoders' and the identity loss's authors
# do; the others at the side that their network has inside.
NETWORKS: dict[str, NetworkCall] = {
    "e4e": _encoder(E4EEncoder),
    "psp": _encoder(PSPEncoder),
    "w-encoder": _encoder(WEncoder),
    "restyle-e4e": _restyle(RestyleE4EEncoder),
    "restyle-psp": _restyle(RestylePSPEncoder),
    "ir-se50": _single(
        IRSE,
        "embedding",
        (256, 256),
        {"channels": _CHANNELS, "units": _BLOCKS, "embedding_dim": 8, "resolution": 32},
        differentiated=True,
    ),
    "deca": _single(
        DECAEncoder,
        "parameters",
        (224, 32),
        {"blocks": _BLOCKS, "width": 4, "hidden": 8, "side": 32},
        differentiated=True,
    ),
    "deep3d": _single(Deep3D, "parameters", (224, 32), {"blocks": _BLOCKS, "width": 4, "side": 32}),
    "vgg16": _single(
        VGG16, "relu5_3", (256, 32), {"channels": _NARROW}, _deepest, differentiated=True
    ),
    "lpips-vgg": _lpips("vgg"),
    "lpips-alex": _lpips("alex"),
    "vgg-face": _single(
        VGGFace,
        "descriptor",
        (224, 32),
        {"channels": _NARROW, "width": 8, "resolution": 32},
        differentiated=True,
    ),
    "facenet": _single(
        FaceNet, "embedding", (160, 160), {"unit": 1, "blocks": (1, 1, 1), "embedding": 8}
    ),
    "dlib-resnet": _single(
        DlibResNet,
        "descriptor",
        (150, 150),
        {"channels": _CHANNELS, "blocks": _BLOCKS, "embedding": 8},
    ),
    "fan": _single(
        FAN,
        "landmarks",
        (256, 32),
        {"stacks": 1, "depth": 1, "channels": (4, 4, 8), "input_size": 32},
        _points,
    ),
    "face-landmarks": _single(
        FaceLandmarkNet, "landmarks", (112, 112), {"channels": (4, 4), "convolutions": 2}
    ),
    "hopenet": _single(HopeNet, "angles", (224, 32), {"blocks": _BLOCKS, "width": 4, "side": 32}),
    "inception": _single(InceptionV3, "features", (299, 96), {"unit": 1}),
}


@dataclasses.dataclass(frozen=True)
class NetworkProblem:
    """What every contender gets: a network's sizes and one set of random weights.

    Attributes:
        name: a key of ``NETWORKS``.
        side: of the images, in pixels.
        tiny: whether the sizes are not the published ones.
        dtype: what convolutions compute in; weights, images and outputs are float32.
        configs: by role, the configuration of each part.
        weights: by role, its arrays by dotted name (kernels HWIO, dense weights [in, out]).
        outputs: what a call gives, by name.
    """

    name: str
    side: int
    tiny: bool
    dtype: Dtype
    configs: Mapping[str, Any]
    weights: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(repr=False)
    outputs: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, Any]:
        """What a report says of it, in JSON's types."""
        return {
            "network": self.name,
            "resolution": self.side,
            "tiny": self.tiny,
            "dtype": self.dtype,
        }


def random_network(name: str, *, dtype: Dtype, tiny: bool = False, seed: int) -> NetworkProblem:
    """A network of ``NETWORKS`` with :func:`~jaxface.benchmark.problem.random_weights`."""
    case = NETWORKS[name]
    size = case.tiny if tiny else case.published
    configs = {role: _in_dtype(part.config, dtype) for role, part in size.parts.items()}
    weights = {
        role: random_weights(part.network, part.config, seed=seed)
        for role, part in size.parts.items()
    }
    return NetworkProblem(name, size.side, tiny, dtype, configs, weights, case.outputs)


def _in_dtype(config: Any, dtype: Dtype) -> Any:
    # Other networks compute in the dtype of their images; a generator has none to see.
    if not isinstance(config, GeneratorConfig):
        return config
    reduced = len(config.block_resolutions) if dtype == "bfloat16" else 0
    return dataclasses.replace(config, num_reduced_precision_res=reduced)


class Network:
    """jaxface as a contender."""

    def __init__(self, problem: NetworkProblem):
        case = NETWORKS[problem.name]
        networks = tuple(
            build_network(part.network.__name__, problem.configs[role], problem.weights[role])
            for role, part in case.published.parts.items()
        )
        forward = functools.partial(_forward, call=case.call, dtype=problem.dtype)
        self.forward = Program(forward, networks)
        backward = functools.partial(_forward_backward, call=case.call, dtype=problem.dtype)
        self.forward_backward = Program(backward, networks)


def workload(problem: NetworkProblem, *, batch: int, rng: np.random.Generator) -> Workload:
    """Images uniform in [-1, 1]; a standard normal cotangent of the output."""
    case = NETWORKS[problem.name]
    shape = (batch, problem.side, problem.side, 3)
    images = tuple(rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(case.images))
    calls = [Call("forward", images, outputs=problem.outputs)]
    if case.differentiated:
        networks = tuple(
            abstract_network(part.network.__name__, problem.configs[role])
            for role, part in case.published.parts.items()
        )
        forward = functools.partial(_forward, call=case.call, dtype=problem.dtype)
        output = jax.eval_shape(forward, networks, *images)[0]
        cotangent = rng.standard_normal(output.shape, dtype=np.float32)
        outputs = (problem.outputs[0], "gradient")
        calls.append(Call("forward_backward", (*images, cotangent), outputs=outputs))
    return Workload(batch=batch, calls=tuple(calls))


def _forward(
    networks: tuple[Any, ...], *images: jax.Array, call: Callable[..., Any], dtype: Dtype
) -> tuple[jax.Array, ...]:
    outputs = call(*networks, *(each.astype(dtype) for each in images))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return tuple(output.astype(jnp.float32) for output in outputs)


def _forward_backward(
    networks: tuple[Any, ...], *inputs: jax.Array, call: Callable[..., Any], dtype: Dtype
) -> tuple[jax.Array, jax.Array]:
    """The first output, and its cotangent (the last input) pulled back to the first images."""
    images, *others, cotangent = inputs

    def output(images: jax.Array) -> jax.Array:
        return _forward(networks, images, *others, call=call, dtype=dtype)[0]

    value, pull_back = jax.vjp(output, images)
    return value, pull_back(cotangent)[0]


BENCHMARK = Benchmark(workload, Network)
