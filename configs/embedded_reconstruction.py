"""The embedded suite's face reconstruction: MoFA's encoder, learning from renders without labels.

    jaxface train reconstruction --config configs/embedded_reconstruction.py

Expect, of the shipped weights (float16) on 1,024 renders that no training saw, in the units of
`jaxface.methods.mofa.parameter_errors`:

    rotation      0.015 rad, mean absolute
    landmarks     1.30% of the face's size (the average face: 17%)
    translation   0.035 (0.040)
    light         21.7% (26.2%)
    identity      0.87 standard deviations (0.89)
    reflectance   0.63 (0.57)
    expression    0.63 (0.64)

with the average face's errors, on 64 renders, in brackets. Pose and landmarks are read well. Size
and distance, light and skin, and the eighty modes of identity are told apart hardly at all: many
combinations draw the same pixels, and no label chooses between them. A fit of nearly the same
energy to single portraits, begun at the average face, ends at a light error of 17%; begun at the
truth, it stays at 7%. 100 minutes of two CPU cores that had other work beside.
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
