"""The judge of small details of the embedded world's version 3: gaze, the jaw's opening, glasses.

    jaxface train attributes --config configs/world3_attributes.py

No training reads this network: `jaxface evaluate generator --world 3.0.0` asks it whether samples
look where their factors say, open the mouth as far and wear glasses, and compares samples with
renders in its features.

Expect: not measured yet.
"""

from jaxface.data.sources import EndlessRenders
from jaxface.methods.attribute_regression import ATTRIBUTES, AttributeSettings
from jaxface.nets import ReconstructionConfig
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """192,000 images, each render four times."""
    return Experiment(
        method=AttributeSettings(
            network=ReconstructionConfig(
                channels=(16, 32, 48, 64), hidden=128, outputs=len(ATTRIBUTES)
            ),
            steps=6_000,
        ),
        data=EndlessRenders(resolution=64, uses=4),
        eval_every=500,
    )
