"""ReStyle-pSp."""

from jaxface.data.sources import RenderedPortraits
from jaxface.methods.encoder_training import EncoderSettings
from jaxface.nets import EncoderConfig
from jaxface.training.experiment import Experiment

NETWORK = EncoderConfig(
    channels=(16, 32, 64, 128),
    units=(1, 2, 2, 2),
    reduction=4,
    num_ws=10,
    resolution=64,
    style_channels=48,
)


def get_config() -> Experiment:
    """32,000 renders and 32,000 samples, five passes each."""
    return Experiment(
        method=EncoderSettings(
            "restyle_psp",
            NETWORK,
            steps=4_000,
            learning_rate=2e-3,
            latent_weight=0.05,
            distance="perceptual",
        ),
        data=RenderedPortraits(resolution=64, num_train=16_384, num_test=256),
        suite="embedded",
        eval_every=500,
    )
