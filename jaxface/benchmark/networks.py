"""The published networks, each as one jitted call from pictures to what it gives.

The weights are random and the sizes the published ones, so time and memory are those of the
converted checkpoints. Each call takes any batch. ReStyle's is its five iterations, generator
included, as one program.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxface.benchmark.problem import Dtype, random_weights
from jaxface.benchmark.workload import Benchmark, Call, Program, Workload
from jaxface.methods import restyle
from jaxface.nets import (
    FAN,
    IRSE,
    LPIPS,
    VGG16,
    DECAEncoder,
    DECAEncoderConfig,
    Deep3D,
    Deep3DConfig,
    DlibResNet,
    DlibResNetConfig,
    E4EEncoder,
    EncoderConfig,
    FaceLandmarkConfig,
    FaceLandmarkNet,
    FaceNet,
    FaceNetConfig,
    FANConfig,
    Generator,
    GeneratorConfig,
    HopeNet,
    HopeNetConfig,
    InceptionConfig,
    InceptionV3,
    IRSEConfig,
    LPIPSConfig,
    PSPEncoder,
    RestyleE4EEncoder,
    RestylePSPEncoder,
    VGGConfig,
    VGGFace,
    VGGFaceConfig,
    WEncoder,
)
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
        side: of the square pictures that it is given, in pixels.
        parts: its networks by role, in the order of the call's arguments.
    """

    side: int
    parts: Mapping[str, Part]


@dataclasses.dataclass(frozen=True)
class NetworkCall:
    """What is measured of a network.

    Attributes:
        published: the size of the published weights, with the picture it was trained on.
        tiny: a narrow and shallow one, to try the command out.
        call: ``(*networks, *pictures)`` to an array or a tuple of them.
        outputs: their names.
        pictures: how many batches of pictures a call takes.
        differentiated: whether the papers' energies differentiate it, so that its gradient in the
            pictures is measured too.
    """

    published: Size
    tiny: Size
    call: Callable[..., Any]
    outputs: tuple[str, ...]
    pictures: int = 1
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
    found = restyle.invert(encoder, generator, images)
    return found.w_plus, found.images


def _one(network: type[nnx.Module], side: int, config: Any) -> Size:
    return Size(side, {"network": Part(network, config)})


def _simple(
    network: type[nnx.Module],
    output: str,
    published: tuple[int, Any],
    tiny: tuple[int, Any],
    call: Callable[..., Any] = _output,
    **rest: Any,
) -> NetworkCall:
    return NetworkCall(_one(network, *published), _one(network, *tiny), call, (output,), **rest)


_ENCODER = (256, EncoderConfig())
_TINY_ENCODER = (32, EncoderConfig((4, 4, 8, 8), (1, 1, 1, 1), num_ws=4, w_dim=8, resolution=32))
_TINY_GENERATOR = GeneratorConfig(
    resolution=8, z_dim=8, w_dim=8, mapping_layers=1, channel_base=32, channel_max=4
)


def _restyle(encoder: type[nnx.Module]) -> NetworkCall:
    def size(side: int, config: EncoderConfig, generator: GeneratorConfig) -> Size:
        parts = {"encoder": Part(encoder, config), "generator": Part(Generator, generator)}
        return Size(side, parts)

    return NetworkCall(
        size(*_ENCODER, GeneratorConfig(resolution=1024)),
        size(*_TINY_ENCODER, _TINY_GENERATOR),
        _refinement,
        ("w_plus", "images"),
    )


_BLOCKS, _NARROW = (1, 1, 1, 1), (4, 4, 4, 4, 4)

# A picture of FFHQ's alignment is read at 256 px, as the encoders' and the identity loss's authors
# do; the others at the side that their network has inside.
NETWORKS: dict[str, NetworkCall] = {
    "e4e": _simple(E4EEncoder, "w_plus", _ENCODER, _TINY_ENCODER),
    "psp": _simple(PSPEncoder, "w_plus", _ENCODER, _TINY_ENCODER),
    "w-encoder": _simple(WEncoder, "w_plus", _ENCODER, _TINY_ENCODER),
    "restyle-e4e": _restyle(RestyleE4EEncoder),
    "restyle-psp": _restyle(RestylePSPEncoder),
    "ir-se50": _simple(
        IRSE,
        "embedding",
        (256, IRSEConfig()),
        (256, IRSEConfig((4, 4, 8, 8), _BLOCKS, embedding_dim=8, resolution=32)),
        differentiated=True,
    ),
    "deca": _simple(
        DECAEncoder,
        "parameters",
        (224, DECAEncoderConfig()),
        (32, DECAEncoderConfig(_BLOCKS, width=4, hidden=8, side=32)),
        differentiated=True,
    ),
    "deep3d": _simple(
        Deep3D, "parameters", (224, Deep3DConfig()), (32, Deep3DConfig(_BLOCKS, width=4, side=32))
    ),
    "vgg16": _simple(
        VGG16,
        "relu5_3",
        (256, VGGConfig()),
        (32, VGGConfig(channels=_NARROW)),
        _deepest,
        differentiated=True,
    ),
    "lpips-vgg": _simple(
        LPIPS,
        "distance",
        (256, LPIPSConfig("vgg")),
        (32, LPIPSConfig("vgg", _NARROW)),
        _pair,
        pictures=2,
        differentiated=True,
    ),
    "lpips-alex": _simple(
        LPIPS,
        "distance",
        (256, LPIPSConfig("alex")),
        (32, LPIPSConfig("alex", _NARROW)),
        _pair,
        pictures=2,
        differentiated=True,
    ),
    "vgg-face": _simple(
        VGGFace,
        "descriptor",
        (224, VGGFaceConfig()),
        (32, VGGFaceConfig(channels=_NARROW, width=8, resolution=32)),
        differentiated=True,
    ),
    "facenet": _simple(
        FaceNet,
        "embedding",
        (160, FaceNetConfig()),
        (160, FaceNetConfig(unit=1, blocks=(1, 1, 1), embedding=8)),
    ),
    "dlib-resnet": _simple(
        DlibResNet,
        "descriptor",
        (150, DlibResNetConfig()),
        (150, DlibResNetConfig((4, 4, 8, 8), blocks=(1, 1, 1, 1), embedding=8)),
    ),
    "fan": _simple(
        FAN,
        "landmarks",
        (256, FANConfig()),
        (32, FANConfig(stacks=1, depth=1, channels=(4, 4, 8), input_size=32)),
        _points,
    ),
    "face-landmarks": _simple(
        FaceLandmarkNet,
        "landmarks",
        (112, FaceLandmarkConfig()),
        (112, FaceLandmarkConfig(channels=(4, 4), convolutions=2)),
    ),
    "hopenet": _simple(
        HopeNet,
        "angles",
        (224, HopeNetConfig()),
        (32, HopeNetConfig(_BLOCKS, width=4, side=32)),
    ),
    "inception": _simple(
        InceptionV3, "features", (299, InceptionConfig()), (96, InceptionConfig(unit=1))
    ),
}


@dataclasses.dataclass(frozen=True)
class NetworkProblem:
    """What every contender gets: a network's sizes and one set of random weights.

    Attributes:
        name: a key of ``NETWORKS``.
        side: of the pictures, in pixels.
        tiny: whether the sizes are not the published ones.
        dtype: what convolutions compute in; weights, pictures and outputs are float32.
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
    # Other networks compute in the dtype of their pictures; a generator has none to see.
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
    """Pictures uniform in [-1, 1]; a standard normal cotangent of the output."""
    case = NETWORKS[problem.name]
    shape = (batch, problem.side, problem.side, 3)
    pictures = tuple(rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(case.pictures))
    calls = [Call("forward", pictures, outputs=problem.outputs)]
    if case.differentiated:
        networks = tuple(
            abstract_network(part.network.__name__, problem.configs[role])
            for role, part in case.published.parts.items()
        )
        forward = functools.partial(_forward, call=case.call, dtype=problem.dtype)
        output = jax.eval_shape(forward, networks, *pictures)[0]
        cotangent = rng.standard_normal(output.shape, dtype=np.float32)
        outputs = (problem.outputs[0], "gradient")
        calls.append(Call("forward_backward", (*pictures, cotangent), outputs=outputs))
    return Workload(batch=batch, calls=tuple(calls))


def _forward(
    networks: tuple[Any, ...], *pictures: jax.Array, call: Callable[..., Any], dtype: Dtype
) -> tuple[jax.Array, ...]:
    found = call(*networks, *(images.astype(dtype) for images in pictures))
    found = found if isinstance(found, tuple) else (found,)
    return tuple(output.astype(jnp.float32) for output in found)


def _forward_backward(
    networks: tuple[Any, ...], *inputs: jax.Array, call: Callable[..., Any], dtype: Dtype
) -> tuple[jax.Array, jax.Array]:
    """The first output, and its cotangent (the last input) pulled back to the first pictures."""
    images, *others, cotangent = inputs

    def output(images: jax.Array) -> jax.Array:
        return _forward(networks, images, *others, call=call, dtype=dtype)[0]

    found, pull_back = jax.vjp(output, images)
    return found, pull_back(cotangent)[0]


BENCHMARK = Benchmark(workload, Network)
