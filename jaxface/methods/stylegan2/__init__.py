"""StyleGAN2's own training (Karras et al. 2020a) with adaptive augmentation (2020b)."""

from jaxface.methods.stylegan2.augmentation import AugmentSettings, augment
from jaxface.methods.stylegan2.settings import StyleGAN2Settings, published
from jaxface.methods.stylegan2.training import StyleGAN2State, initial_state, phases

__all__ = [
    "AugmentSettings",
    "StyleGAN2Settings",
    "StyleGAN2State",
    "augment",
    "initial_state",
    "phases",
    "published",
]
