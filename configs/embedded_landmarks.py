"""The embedded suite's landmarks: soft-argmax of 32 px heatmaps, taught by renders.

    jaxface train landmarks --config configs/embedded_landmarks.py
    jaxface train landmarks --config configs/embedded_landmarks.py:3.0.0 \\
        --begin jaxface/assets/embedded

The second line is of version 3 of the world, the suite "embedded-3"; it goes on from version 2's.

Scores are normalised mean errors of 256 held-out renders, whose heads turn by up to 60 degrees: by
the box around the true landmarks, and by the distance of the outer eye corners, of all faces and of
those turned by at most 20 degrees. The first is the one to go by.

Expect, of the shipped weights (float16) on 1,024 renders that no training saw: 1.44% by the box,
2.42% by the eye corners, 2.17% of the faces turned little; 0.45 pixels of 64. 72 images/s on one
CPU core that had other work beside, 64 minutes in all. Of version 3's likewise: 1.42% by the box,
2.45% by the eye corners, 2.10% of the faces turned little, where version 2's have 3.7%, 6.3% and
5.4%. 61 images/s on two cores of an AMD EPYC that had other work beside, 26 minutes, and 12 to
render.
"""

from jaxface.data.sources import RenderedPortraits
from jaxface.methods.landmark_regression import LandmarkSettings
from jaxface.nets import LandmarkConfig
from jaxface.training.experiment import Experiment


def get_config(version: str = "2.0.0") -> Experiment:
    """288,000 images, of a version of the world; of version 3 the 96,000 after another's."""
    steps = 3_000 if version == "3.0.0" else 9_000
    return Experiment(
        method=LandmarkSettings(network=LandmarkConfig(), steps=steps),
        data=RenderedPortraits(resolution=64, num_train=65_000, num_test=1_000, version=version),
        eval_every=1_000,
    )
