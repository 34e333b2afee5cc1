"""Weights by the formula of the parity fixtures' README, for files that hold outputs alone."""

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

Shapes = dict[str, tuple[int, ...]]

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def manifest(path: Path) -> Shapes:
    """Key to shape of a manifest file."""
    return {key: tuple(item["shape"]) for key, item in json.loads(path.read_text()).items()}


def formula_state(seed: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A whole state dictionary; ``shapes`` must hold its batch norms' running means too."""
    return {key: formula(seed, key, shape, shapes) for key, shape in shapes.items()}


def formula(seed: int, key: str, shape: tuple[int, ...], keys: Iterable[str] = ()) -> np.ndarray:
    """One array. The first rule that matches, in float64, is cast to float32."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith(".kernel"):
        return (FILTER * 4).astype(np.float32)  # every stored filter of a generator up-samples
    random = np.random.RandomState((seed * 1000003 + zlib.crc32(key.encode())) % 2**32)
    u = random.random_sample(int(np.prod(shape)))
    u = ((2.0 * u - 1.0) * np.sqrt(3.0)).reshape(shape)
    parent, _, leaf = key.rpartition(".")
    if leaf == "running_mean":
        u *= 0.1
    elif leaf == "running_var":
        u = np.exp(0.2 * u)
    elif key.endswith("modulation.bias"):
        u = 1 + 0.1 * u
    elif re.search(r"(^|\.)style\.\d+\.(weight|bias)$", key):
        u *= 100 if leaf == "weight" else 10
    elif _is_unscaled(key, shape):
        pass
    elif key.endswith("noise.weight"):
        u *= 0.2
    elif leaf == "weight" and len(shape) >= 2:
        gain = np.sqrt(2) if ".convs." in key else 1.0
        u *= gain / np.sqrt(np.prod(shape[1:]))
    elif leaf == "weight":
        u = 1 + 0.1 * u if f"{parent}.running_mean" in keys else 0.25 + 0.05 * u
    elif leaf == "bias":
        u *= 0.1
    return u.astype(np.float32)


def _is_unscaled(key: str, shape: tuple[int, ...]) -> bool:
    """Modulated and equalised weights, which are scaled at run time, and a generator's inputs."""
    *parts, leaf = key.split(".")
    if leaf == "weight":
        return "linear" in parts or parts[-1] == "modulation" or len(shape) == 5
    return leaf == "input" or "noises" in parts
