"""The embedded suite's learned distance: LPIPS' heads on its perceptual features.

    jaxface train lpips --config configs/embedded_distance.py
    jaxface train lpips --config configs/embedded_distance.py:3.0.0 --set suite=DIR

Triplets of renders whose order is known take the place of people's judgements. The second line is
of version 3 of the world, with a suite in DIR whose perceptual network was trained on it. The score
is the share of 256 held-out triplets that are put in order, over all and by what was changed first.

Expect: not measured yet; no network of it ships, and the methods of the suite compare perceptual
features with heads of one.
"""

from jaxface.data.ranked_renders import RankedRenders
from jaxface.methods.distance_ranking import DistanceSettings
from jaxface.training.experiment import Experiment


def get_config(version: str = "2.0.0") -> Experiment:
    """24,000 triplets of a version of the world."""
    return Experiment(
        method=DistanceSettings(steps=1_500, batch_size=16, learning_rate=3e-3),
        data=RankedRenders(resolution=64, version=version),
        suite="embedded",
        eval_every=250,
    )
