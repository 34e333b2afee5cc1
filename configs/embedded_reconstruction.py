"""The embedded suite's face reconstruction: MoFA's encoder, learning from renders without labels.

    jaxface train reconstruction --config configs/embedded_reconstruction.py

Expect: not trained yet.
"""

from jaxface.experiment import Experiment, RenderedPortraits
from jaxface.methods.mofa import MoFASettings
from jaxface.nets import ReconstructionConfig


def get_config() -> Experiment:
    """640,000 images."""
    return Experiment(
        method=MoFASettings(network=ReconstructionConfig(), steps=20_000),
        data=RenderedPortraits(resolution=64, num_train=65_000, num_test=1_000),
    )
