"""The embedded suite's face reconstruction: MoFA's encoder, learning from renders without labels.

    jaxface train reconstruction --config configs/embedded_reconstruction.py

Expect, of the shipped weights (float16) on 1,024 renders that no training saw, in the units of
`jaxface.methods.face_errors.parameter_errors`:

    rotation      0.014 rad, mean absolute
    landmarks     1.20% of the face's size (the average face: 17%)
    translation   0.035 (0.040)
    light         17.8% (26.2%)
    identity      0.85 standard deviations (0.89)
    reflectance   0.62 (0.57)
    expression    0.63 (0.64)

with the average face's errors, on 64 renders, in brackets. Pose and landmarks are read well. Size
and distance, light and skin, and the eighty modes of identity are told apart hardly at all: many
combinations draw the same pixels, and no label chooses between them. Three quarters of the light's
squared error are in the first harmonic: how bright the light is on average, which skin makes up
for.

The shipped weights learnt in two runs: 20,000 steps whose loss held each coefficient of the light
by itself, after which the light was off by 21.7%; then 8,000 steps with this loss, which holds the
light along its principal axes, from occlusion_threshold_init=0.15 to occluded=0.05 with
learning_rate=7e-4. Fits of the loss to single portraits, begun at what the network reads, end at
11% (16.6% with the first loss), so a third of the error is the network's and the rest the loss's.
100 minutes of two CPU cores and 43 of one, which had other work beside.
"""

from jaxface.data.sources import RenderedPortraits
from jaxface.methods.mofa import MoFASettings
from jaxface.nets import ReconstructionConfig
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """640,000 images."""
    return Experiment(
        method=MoFASettings(network=ReconstructionConfig(), steps=20_000),
        data=RenderedPortraits(resolution=64, num_train=65_000, num_test=1_000),
    )
