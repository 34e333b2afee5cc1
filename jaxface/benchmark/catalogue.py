"""Every benchmark by name: what the command offers, and the module that measures it.

A new one is its module, with a `jaxface.benchmark.workload.Benchmark` named ``BENCHMARK``, and a
row here. This module imports no JAX, so that the command's help answers at once.
"""

import argparse
import dataclasses
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxface.benchmark.workload import Benchmark


def positive(text: str) -> int:
    """A whole number of at least 1, from the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return value


@dataclasses.dataclass(frozen=True)
class Row:
    """A benchmark as the command offers it.

    Attributes:
        about: what a call does.
        module: holds ``BENCHMARK``.
        options: of its own, by name, each as keywords of `argparse`'s ``add_argument``.
    """

    about: str
    module: str
    options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def load(self) -> "Benchmark":
        """How it is measured; imports JAX."""
        return importlib.import_module(self.module).BENCHMARK


WORKLOADS: Mapping[str, Row] = MappingProxyType(
    {
        "synthesis": Row(
            "W+ to images (forward), and a cotangent of the images back to W+ (forward_backward)",
            "jaxface.benchmark.synthesis",
        ),
        "projection": Row(
            "energy of a W+ projection and its gradient (energy_gradient)",
            "jaxface.benchmark.projection",
        ),
        "pie": Row(
            "the whole energy of PIE and its gradient (energy_gradient)",
            "jaxface.benchmark.pie",
            {
                "recognition": {
                    "choices": ("ir-se50", "vgg-face", "small"),
                    "default": "ir-se50",
                    "help": "the recognition network (ir-se50)",
                },
                "reconstruction": {
                    "choices": ("deep3d", "small"),
                    "default": "deep3d",
                    "help": "the face reconstruction network (deep3d)",
                },
                "edits": {
                    "choices": ("one", "all"),
                    "default": "one",
                    "help": "semantic groups edited an iteration (one)",
                },
                "bank": {
                    "type": positive,
                    "default": 0,
                    "help": "as many precomputed samples instead of new ones",
                },
            },
        ),
        "pti": Row(
            "a step of pivotal tuning: an energy and its gradient in all weights of synthesis "
            "(step)",
            "jaxface.benchmark.pti",
            {
                "regularized": {
                    "action": "store_true",
                    "help": "with locality regularisation, one sample",
                },
                "rows": {
                    "choices": ("unrolled", "map", "vmap"),
                    "help": "how a batch is computed: portraits one after the other, in a loop, or "
                    "as grouped convolutions (unrolled on CPU, else map)",
                },
            },
        ),
        "direction_matrix": Row(
            "a step of training a direction matrix (step), and frames of a reenactment (forward)",
            "jaxface.benchmark.direction_matrix",
            {
                "recognition": {
                    "choices": ("ir-se50", "small"),
                    "default": "ir-se50",
                    "help": "the recognition network (ir-se50)",
                },
                "reconstruction": {
                    "choices": ("deep3d", "small"),
                    "default": "deep3d",
                    "help": "the face reconstruction network (deep3d)",
                },
            },
        ),
        "latent_difference": Row(
            "the Latent Difference Encoder: a step of encoder and discriminator (step), and "
            "portraits redrawn by landmarks (frames)",
            "jaxface.benchmark.latent_difference",
            {
                "form": {
                    "choices": ("default", "code"),
                    "default": "default",
                    "help": "of the networks; code: with the authors' accidents (default)",
                },
                "widths": {
                    "choices": ("published", "small"),
                    "default": "published",
                    "help": "of encoders and discriminator (published)",
                },
            },
        ),
        "transfer": Row(
            "Transfer: a whole training step (step), and frames that drive an identity (frames)",
            "jaxface.benchmark.transfer",
            {
                "encoders": {
                    "choices": ("ir-se50", "small"),
                    "default": "ir-se50",
                    "help": "motion encoder and recognition network (ir-se50)",
                },
            },
        ),
        "pvp": Row(
            "PVP: an update of one generator by key frames (tune), a step of the mappers (map), "
            "and pose and expression to images (render)",
            "jaxface.benchmark.pvp",
            {
                "anchors": {
                    "type": positive,
                    "default": 200,
                    "help": "key frames of the mappers (200)",
                },
                "networks": {
                    "choices": ("published", "small"),
                    "default": "published",
                    "help": "VGG-16, DECA's encoder and the recognition network (published)",
                },
            },
        ),
    }
)
"""What is done with a generator, at any resolution."""

BENCHMARKS: Mapping[str, Row] = MappingProxyType(
    {
        **WORKLOADS,
        "networks": Row(
            "the published networks, each from images to its outputs (forward), and a cotangent of "
            "the first output back to the images (forward_backward)",
            "jaxface.benchmark.networks",
        ),
        "suite": Row(
            "a suite's own generator: W to images (forward), and a cotangent of the images back "
            "to W (forward_backward, with --gradient)",
            "jaxface.benchmark.suite_generator",
            {
                "suite": {
                    "default": "embedded",
                    "metavar": "NAME|DIR",
                    "help": "whose generator (embedded)",
                },
                "gradient": {"action": "store_true", "help": "its gradient in W, too"},
                "wheels": {
                    "metavar": "DIR",
                    "help": "the wheels that a photo suite was made of, for the peer that runs "
                    "the original",
                },
            },
        ),
    }
)
"""Those, and what brings networks of its own."""
