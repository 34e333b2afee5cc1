"""The embedded suite's generator at 64 px on an accelerator: every scene rendered for one step.

    configs/train_in_chunks.sh generator configs/embedded_64_live.py carry

in as many chunks as there is time for, `carry` beginning as a copy of jaxface/assets/embedded; then
one last chunk in which the learning rate falls to nothing:

    configs/train_in_chunks.sh generator configs/embedded_64_live.py carry 540 \
        --set method.stages.0.steps=STEPS --set method.decay_fraction=1.0

with STEPS a few less than the chunks before took, as `carry/metrics.jsonl` tells. The route is that
of `embedded_64.py`, with its last stage alone: pixels, shallow and deeper features at 64 px.
Nothing is stored and no scene comes twice, so there is nothing to overfit.

Expect: not measured on an accelerator yet. On two cores of an Intel Xeon it rendered and trained 45
images/s with shallow features alone.
"""

from jaxface.data.sources import LiveRenders
from jaxface.methods.scene_regression import Reconstruction, RegressionSettings, Stage
from jaxface.morphable import NUM_FACTORS
from jaxface.nets import GeneratorConfig
from jaxface.training.experiment import Experiment

GENERATOR = GeneratorConfig(
    64, channel_base=1024, channel_max=128, mapping_layers=3, mapping_lr_multiplier=1.0
)

DEEPER_FEATURES = Reconstruction(
    perceptual_weights={
        "conv1_2": 0.02,
        "conv2_2": 0.02,
        "conv3_3": 0.05,
        "conv4_3": 0.02,
        "conv5_3": 0.02,
    }
)


def get_config() -> Experiment:
    """As long as it is let."""
    return Experiment(
        method=RegressionSettings(
            generator=GENERATOR,
            stages=(Stage(64, 1_000_000, 64, DEEPER_FEATURES),),
            num_factors=NUM_FACTORS,
            learning_rate=2e-3,
            ema_half_life=20_000.0,
        ),
        data=LiveRenders(resolution=64),
    )
