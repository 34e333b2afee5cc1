"""Flax networks: architecture only. No file, no network access, no losses."""

from jaxface.nets.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
)
from jaxface.nets.vgg import VGG16, VGGConfig

__all__ = [
    "VGG16",
    "Discriminator",
    "DiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "VGGConfig",
]
