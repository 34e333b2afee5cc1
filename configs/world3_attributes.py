"""The judge of small details of the embedded world's version 3: gaze, the jaw's opening, glasses.

    jaxface train attributes --config configs/world3_attributes.py

No training reads this network: `jaxface evaluate generator --suite embedded-3` asks it whether
samples look where their factors say, open the mouth as far and wear glasses, and compares samples
with renders in its features.

Expect, of the shipped weights (float16): on held-out renders a gaze that is 5.9 degrees off, an
opening of the jaw that is 8.0% of its range off, and glasses told right in 97.5% (balanced). 24
minutes of two CPU cores, rendering included.
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
                channels=(16, 32, 48, 64), hidden=128, outputs=len(ATTRIBUTES), close_ups=True
            ),
            steps=6_000,
        ),
        data=EndlessRenders(resolution=64, uses=4),
        eval_every=500,
    )
