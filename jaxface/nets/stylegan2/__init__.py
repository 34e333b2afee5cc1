"""StyleGAN2 (Karras et al. 2020a; adaptive augmentation's reference code, Karras et al. 2020b)."""

from jaxface.nets.stylegan2.config import DiscriminatorConfig, GeneratorConfig
from jaxface.nets.stylegan2.discriminator import Discriminator
from jaxface.nets.stylegan2.generator import Generator
from jaxface.nets.stylegan2.growing import grown
from jaxface.nets.stylegan2.mapping import MappingNetwork
from jaxface.nets.stylegan2.stylegan1_discriminator import (
    StyleGAN1Discriminator,
    StyleGAN1DiscriminatorConfig,
)
from jaxface.nets.stylegan2.synthesis import SynthesisNetwork

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "MappingNetwork",
    "StyleGAN1Discriminator",
    "StyleGAN1DiscriminatorConfig",
    "SynthesisNetwork",
    "grown",
]
