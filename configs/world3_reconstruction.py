"""The face reconstruction of the embedded world's version 3: MoFA's loss, and the true parameters.

    jaxface train reconstruction --config configs/world3_reconstruction.py

Renders know their parameters, so they are learned from as well as pixels and landmarks; MoFA's own
loss (`embedded_reconstruction.py`) leaves light, size and identity undecided. The first 52
expression coefficients are ARKit's units, of which eight are where the eyes look. Scores have the
gaze's error in degrees, and the share of the variance that is read of the twenty units that move
the head most.

Expect: not measured yet.
"""

from jaxface.data.sources import EndlessRenders
from jaxface.methods.mofa import MoFASettings
from jaxface.nets import ReconstructionConfig
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """640,000 images, each render four times."""
    return Experiment(
        method=MoFASettings(
            network=ReconstructionConfig(basis="anatomical", close_ups=True),
            steps=20_000,
            truth_weight=1.0,
            unit_weight=2.0,
        ),
        data=EndlessRenders(resolution=64, uses=4),
        eval_every=1_000,
    )
