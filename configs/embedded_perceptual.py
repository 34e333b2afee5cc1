"""The embedded suite's perceptual network: VGG-16's form, narrower, taught to read scenes.

    jaxface train perceptual --config configs/embedded_perceptual.py
    jaxface train perceptual --config configs/embedded_perceptual.py:3.0.0

The second line is of version 3 of the world, the features of the suite "embedded-3".

It regresses the factors that show at 64 px (pose, expression, light, skin, hair, clothes,
background, identity) from renders; the head is thrown away.

Expect, of the shipped weights: 50% of the variance of the best-read quarter of the factors
explained on held-out renders, of version 3's 38%. They took eight minutes of two CPU cores that had
other work beside.
"""

from jaxface.data.sources import RenderedPortraits
from jaxface.methods.perceptual_features import FeatureSettings
from jaxface.morphable import world
from jaxface.nets import VGGConfig
from jaxface.training.experiment import Experiment


def get_config(version: str = "2.0.0") -> Experiment:
    """80,000 images, of a version of the world."""
    return Experiment(
        method=FeatureSettings(
            network=VGGConfig(
                channels=(16, 32, 64, 64, 64), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
            ),
            num_factors=world(version).factors["identity"].stop,
            steps=2_500,
        ),
        data=RenderedPortraits(resolution=64, num_train=65_000, num_test=1_000, version=version),
    )
