"""The Latent Difference Encoder on the embedded suite: landmark images move its encoder's codes."""

from jaxface.data.sources import RenderedPortraits
from jaxface.methods.latent_difference import LatentDifferenceSettings
from jaxface.nets import DiscriminatorConfig, LatentDifferenceConfig
from jaxface.training.experiment import Experiment

NETWORK = LatentDifferenceConfig(resolution=64, width=16, max_width=128, num_ws=10)


def get_config() -> Experiment:
    """8,000 portraits."""
    return Experiment(
        method=LatentDifferenceSettings(
            NETWORK,
            DiscriminatorConfig(64, image_channels=6, channel_base=1024, channel_max=128),
            steps=1_000,
            batch_size=8,
            learning_rate=1e-3,
            quarter_rate=0.5,
            adversarial_weight=0.2,
            cycle_adversarial_weight=0.2,
            landmark_weight=30.0,
            identity_weight=1.0,
            wish="normalised",
            r1_interval=4,
            ema_half_life=2_000.0,
        ),
        data=RenderedPortraits(resolution=64, num_train=4_096, num_test=256),
        suite="embedded",
        checkpoint_every=250,
        eval_every=200,
    )
