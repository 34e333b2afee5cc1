"""State dictionaries with torchvision's VGG-16 or AlexNet inside, keys spelled out."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Shape = tuple[int, ...]

# Number of the layer in torchvision's ``features``: kernel size and which width it has.
VGG16 = {
    **{0: (3, 0), 2: (3, 0), 5: (3, 1), 7: (3, 1), 10: (3, 2), 12: (3, 2), 14: (3, 2)},
    **{17: (3, 3), 19: (3, 3), 21: (3, 3), 24: (3, 4), 26: (3, 4), 28: (3, 4)},
}
ALEXNET = {0: (11, 0), 3: (5, 1), 6: (3, 2), 8: (3, 3), 10: (3, 4)}
LAYERS = {"vgg": VGG16, "alex": ALEXNET}

PUBLISHED = {"vgg": (64, 128, 256, 512, 512), "alex": (64, 192, 384, 256, 256)}
NARROW = {"vgg": (2, 3, 4, 5, 6), "alex": (3, 4, 5, 6, 7)}

# What the package puts into each slice of its trunk: the first layer after it.
SLICE_ENDS = {"vgg": (4, 9, 16, 23, 30), "alex": (2, 5, 8, 10, 12)}

CLASSIFIERS: dict[str, dict[str, Shape]] = {
    "vgg": {"0": (4096, 25088), "3": (4096, 4096), "6": (1000, 4096)},
    "alex": {"1": (4096, 9216), "4": (4096, 4096), "6": (1000, 4096)},
}
SCALING = {"shift": (-0.030, -0.088, -0.188), "scale": (0.458, 0.448, 0.450)}


def convolutions(trunk: str, widths: tuple[int, ...]) -> Iterator[tuple[int, Shape]]:
    """(number, shape of the OIHW kernel) of each convolution."""
    inputs = 3
    for number, (size, width) in LAYERS[trunk].items():
        yield number, (widths[width], inputs, size, size)
        inputs = widths[width]


def torchvision_state(trunk: str, widths: tuple[int, ...], make: Callable) -> dict[str, Any]:
    """``features.*`` of the network; ``make(key, shape)`` gives the values."""
    state = {}
    for number, shape in convolutions(trunk, widths):
        state[f"features.{number}.weight"] = make(f"features.{number}.weight", shape)
        state[f"features.{number}.bias"] = make(f"features.{number}.bias", shape[:1])
    return state


def with_classifier(trunk: str, state: dict[str, Any], make: Callable) -> dict[str, Any]:
    """The same with ``classifier.*`` of ImageNet's shapes."""
    for number, shape in CLASSIFIERS[trunk].items():
        key = f"classifier.{number}"
        state |= {f"{key}.weight": make(f"{key}.weight", shape)}
        state |= {f"{key}.bias": make(f"{key}.bias", shape[:1])}
    return state


def head_state(widths: tuple[int, ...], make: Callable) -> dict[str, Any]:
    """The five linear heads, as ``weights/v0.1/*.pth`` has them."""
    keys = [f"lin{k}.model.1.weight" for k in range(5)]
    return {key: make(key, (1, c, 1, 1)) for key, c in zip(keys, widths, strict=True)}


def lpips_state(
    trunk: str, torchvision: dict[str, Any], heads: dict[str, Any], *, copies: bool = True
) -> dict[str, Any]:
    """The state of the package's whole network; ``copies`` are its second names for the heads."""
    state: dict[str, Any] = {
        f"scaling_layer.{name}": np.asarray(numbers, np.float32).reshape(1, 3, 1, 1)
        for name, numbers in SCALING.items()
    }
    for key, value in torchvision.items():
        _, number, kind = key.split(".")
        part = 1 + sum(int(number) >= end for end in SLICE_ENDS[trunk])
        state[f"net.slice{part}.{number}.{kind}"] = value
    state |= heads
    if copies:
        state |= {f"lins.{key[3:]}": value for key, value in heads.items()}
    return state


def formula(seed: int) -> Callable[[str, Shape], np.ndarray]:
    """``make`` by the rules of the fixtures' README for VGG16 and AlexNet."""

    def make(key: str, shape: Shape) -> np.ndarray:
        random = np.random.RandomState((seed * 1000003 + zlib.crc32(key.encode())) % 2**32)
        count = int(np.prod(shape))
        u = ((2.0 * random.random_sample(count) - 1.0) * np.sqrt(3.0)).reshape(shape)
        gain = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        return (gain * u).astype(np.float32)

    return make


def positive(seed: int) -> Callable[[str, Shape], np.ndarray]:
    """``make`` of heads: numbers from 0 to 1."""

    def make(key: str, shape: Shape) -> np.ndarray:
        random = np.random.RandomState((seed * 1000003 + zlib.crc32(key.encode())) % 2**32)
        return random.random_sample(shape).astype(np.float32)

    return make
