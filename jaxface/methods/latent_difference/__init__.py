"""Learning an Encoder for Image Editing within a StyleGAN Latent Space (Herrmann, Zengerle 2020).

A portrait x is embedded, and an encoder E changes its code by what a landmark image L' wishes:

    wm = w0 + D(w0, L'),  w0 = Inv(x)

E learns from portraits alone: a discriminator judges drawn portraits beside the landmarks that they
were to show, and the way back, with the portrait's own landmarks, is to end at w0
(`LatentDifferenceSettings`). The presets are the paper's loss and the authors' branches.
"""

from jaxface.methods.latent_difference.settings import (
    CODE,
    HIGHER,
    IMAGE_SPACE,
    KEYPOINTS,
    NAIVE,
    NAIVE_CYCLE,
    PAPER,
    ROWS,
    LatentDifferenceSettings,
    sized,
)

__all__ = [
    "CODE",
    "HIGHER",
    "IMAGE_SPACE",
    "KEYPOINTS",
    "NAIVE",
    "NAIVE_CYCLE",
    "PAPER",
    "ROWS",
    "LatentDifferenceSettings",
    "sized",
]
