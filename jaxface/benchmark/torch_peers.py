"""Peers that need no adapter: torchvision's VGG-16 and the package ``lpips`` (extra `peers`).

``--peer jaxface.benchmark.torch_peers:vgg16`` and ``:lpips`` take part in ``networks`` where it
measures them (``vgg16``, ``lpips-vgg``, ``lpips-alex``), with jaxface's random weights;
``:vgg16_compiled`` and ``:lpips_compiled`` do so through ``torch.compile``, to tell what compiling
gains from what JAX does. On a GPU where PyTorch sees one.

``lpips_module(weights, trunk)`` and ``vgg16_module(weights)`` are the networks with given weights,
for adapters of whole systems, whose ``problem.lpips`` and ``problem.perceptual`` hold them; an
adapter puts them through ``torch.compile`` with the rest of its energy.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxface.benchmark.networks import NetworkProblem
from jaxface.errors import UsageError
from jaxface.nets import VGGConfig
from jaxface.nets.features.lpips import Trunk

# torchvision's features up to relu5_3: what follows is the last pooling.
RELU5_3 = 30


def vgg16(problem: Any) -> Any:
    """torchvision's VGG-16 up to relu5_3, eagerly; None for other problems."""
    return _vgg16(problem, compiled=False)


def vgg16_compiled(problem: Any) -> Any:
    """The same through ``torch.compile``."""
    return _vgg16(problem, compiled=True)


def lpips(problem: Any) -> Any:
    """The package ``lpips``, eagerly; None for other problems."""
    return _lpips(problem, compiled=False)


def lpips_compiled(problem: Any) -> Any:
    """The same through ``torch.compile``."""
    return _lpips(problem, compiled=True)


def lpips_module(weights: Mapping[str, np.ndarray], trunk: Trunk) -> Any:
    """``lpips.LPIPS`` of version 0.1 with the arrays of a `jaxface.nets.LPIPS`, on the CPU.

    Args:
        weights: ``trunk.layers.{i}.weight`` (HWIO), ``.bias`` and ``heads.{j}`` [C], of the
            published widths.
    """
    torch, package = _imported("torch"), _imported("lpips")
    module = package.LPIPS(
        net=trunk, pretrained=False, pnet_rand=True, eval_mode=True, verbose=False
    )
    module.requires_grad_(False)
    convolutions = [m for m in module.net.modules() if isinstance(m, torch.nn.Conv2d)]
    _fill(convolutions, weights, prefix="trunk.layers")
    for index, head in enumerate(module.lins):
        row = torch.from_numpy(np.array(weights[f"heads.{index}"]))
        head.model[-1].weight.copy_(row[None, :, None, None])
    return module


def vgg16_module(weights: Mapping[str, np.ndarray]) -> Any:
    """torchvision's VGG-16 up to relu5_3 with the arrays of a `jaxface.nets.VGG16`, on the CPU.

    Its layers are those of ``features``: conv1_1, conv1_2, conv3_2 and conv4_2 are 0, 2, 12 and 19.
    Images enter it normalised.

    Args:
        weights: ``layers.{i}.weight`` (HWIO) and ``.bias``, of the published widths.
    """
    torch, torchvision = _imported("torch"), _imported("torchvision")
    features = torchvision.models.vgg16(weights=None).features[:RELU5_3].requires_grad_(False)
    convolutions = [m for m in features.modules() if isinstance(m, torch.nn.Conv2d)]
    _fill(convolutions, weights, prefix="layers")
    for layer in features:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False  # its input is wanted for the gradient
    return features


def _vgg16(problem: Any, *, compiled: bool) -> Any:
    if not (isinstance(problem, NetworkProblem) and problem.name == "vgg16" and not problem.tiny):
        return None
    torch = _imported("torch")
    features = vgg16_module(problem.weights["network"])
    config = VGGConfig()
    mean, std = (torch.tensor(x).reshape(1, 3, 1, 1) for x in (config.mean, config.std))
    return _Peer(features, problem, compiled, lambda x: ((x + 1) / 2 - mean.to(x)) / std.to(x))


def _lpips(problem: Any, *, compiled: bool) -> Any:
    trunks: dict[str, Trunk] = {"lpips-vgg": "vgg", "lpips-alex": "alex"}
    if not isinstance(problem, NetworkProblem) or problem.name not in trunks or problem.tiny:
        return None
    module = lpips_module(problem.weights["network"], trunks[problem.name])
    return _Peer(module, problem, compiled, lambda x: x)


class _Peer:
    """A PyTorch network of images behind the protocol of `networks`."""

    def __init__(
        self,
        module: Any,
        problem: NetworkProblem,
        compiled: bool,
        prepare: Callable[[Any], Any],
    ):
        self._torch = torch = _imported("torch")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = getattr(torch, problem.dtype)
        module = module.eval().to(self._device, self._dtype)

        def call(*images: Any) -> Any:
            return module(*(prepare(each.to(self._dtype)) for each in images)).float()

        self._call = torch.compile(call) if compiled else call
        name = torch.cuda.get_device_name() if self._device.type == "cuda" else "cpu"
        self.info = {
            "torch": torch.__version__,
            "mode": "torch.compile" if compiled else "eager",
            "device": name,
            "threads": str(torch.get_num_threads()),
        }

    def put(self, array: np.ndarray) -> Any:
        tensor = self._torch.from_numpy(np.array(array))
        # Images and features become channels first; LPIPS's cotangent is [N].
        tensor = tensor.permute(0, 3, 1, 2).contiguous() if tensor.ndim == 4 else tensor
        return tensor.to(self._device)

    def get(self, output: Any) -> np.ndarray:
        output = output.detach().cpu()
        return (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).numpy()

    def forward(self, *images: Any) -> Any:
        with self._torch.no_grad():
            return self._finished(_flat(self._call(*images)))

    def forward_backward(self, *inputs: Any) -> tuple[Any, Any]:
        images, *others, cotangent = inputs
        images = images.detach().requires_grad_(True)
        output = _flat(self._call(images, *others))
        (gradient,) = self._torch.autograd.grad(output, images, cotangent)
        return self._finished(output), gradient

    def _finished(self, output: Any) -> Any:
        if self._device.type == "cuda":
            self._torch.cuda.synchronize()
        return output


def _flat(output: Any) -> Any:
    # The package gives distances as [N, 1, 1, 1].
    return output.flatten() if output.shape[1:] == (1, 1, 1) else output


def _fill(convolutions: list[Any], weights: Mapping[str, np.ndarray], *, prefix: str) -> None:
    """Sets the convolutions, in the order in which both sides apply them."""
    torch = _imported("torch")
    count = sum(name.startswith(f"{prefix}.") and name.endswith(".weight") for name in weights)
    if count != len(convolutions):
        raise ValueError(f"{prefix}: expected {len(convolutions)} kernels, got {count}")
    with torch.no_grad():
        for convolution, (kernel, bias) in zip(
            convolutions, _kernels(weights, prefix, count), strict=True
        ):
            convolution.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
            convolution.bias.copy_(torch.from_numpy(np.array(bias)))


def _kernels(
    weights: Mapping[str, np.ndarray], prefix: str, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for index in range(count):
        yield weights[f"{prefix}.{index}.weight"], weights[f"{prefix}.{index}.bias"]


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"this peer needs {name}, not installed here: python -m pip install 'jaxface[peers]'"
        ) from error
