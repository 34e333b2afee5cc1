"""VGG-16's and AlexNet's convolutions as torchvision numbers them, wherever a file holds them.

torchvision counts every layer of ``features``, poolings and ReLUs too, so the numbers of its
convolutions tell the two networks from each other and from their relatives (``vgg19``,
``vgg16_bn``, ``squeezenet``), which are refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jaxface.convert.families import torch_layers
from jaxface.convert.families.sizes import shape_of
from jaxface.convert.plan import Entry
from jaxface.convert.refusal import Refusal
from jaxface.nets.features.vgg import STAGES

Channels = tuple[int, int, int, int, int]

CONVOLUTIONS = {
    "VGG16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "AlexNet": (0, 3, 6, 8, 10),
}


@dataclass(frozen=True)
class Trunk:
    """Where a file has the convolutions of one of the two networks."""

    class_name: str
    """A key of ``CONVOLUTIONS``."""
    sources: tuple[str, ...]
    """The convolutions' names in the file, from the image on."""

    def channels(self, arrays: Mapping[str, np.ndarray]) -> Channels:
        """The network's widths.

        Raises:
            Refusal: if a bias is missing or is no vector.
        """
        firsts = np.cumsum([0, *STAGES[:-1]]) if self.class_name == "VGG16" else range(5)
        a, b, c, d, e = (shape_of(arrays, f"{self.sources[i]}.bias", 1)[0] for i in firsts)
        return a, b, c, d, e

    def entries(self, target: str) -> list[Entry]:
        """The name map into a module list."""
        entries = []
        for index, source in enumerate(self.sources):
            entries += torch_layers.conv(source, f"{target}.{index}", bias=True)
        return entries


def find_trunk(names: Mapping[int, str], *, where: str) -> Trunk:
    """Which of the two networks a file's numbered layers with weights are.

    Args:
        names: torchvision's number to the name in the file.
        where: what the numbers count, for the error.

    Raises:
        Refusal: if they are neither's.
    """
    for class_name, numbers in CONVOLUTIONS.items():
        if set(numbers) == set(names):
            return Trunk(class_name, tuple(names[number] for number in numbers))
    raise Refusal(
        f"{where} has weights in the layers {_listed(sorted(names))}; expected vgg16's "
        f"({_listed(CONVOLUTIONS['VGG16'])}) or alexnet's ({_listed(CONVOLUTIONS['AlexNet'])})"
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "(none)"
