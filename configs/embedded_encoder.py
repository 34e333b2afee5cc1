"""The embedded suite's encoder."""

from jaxface.data.sources import RenderedPortraits
from jaxface.methods.encoder_training import EncoderSettings
from jaxface.nets import EncoderConfig
from jaxface.training.experiment import Experiment

NETWORK = EncoderConfig(
    channels=(32, 64, 96, 128),
    units=(1, 2, 2, 2),
    reduction=4,
    num_ws=10,
    resolution=32,
    style_channels=48,
)


def get_config() -> Experiment:
    """All."""
    return Experiment(
        method=EncoderSettings(
            "e4e",
            NETWORK,
            latent_steps=2_000,
            steps=1_000,
            learning_rate=5e-3,
            lpips_weight=0.05,
            delta_weight=2e-4,
            latent_weight=0.05,
            progressive_start=2_000,
            progressive_every=30,
            resolution=64,
            lpips_resolution=32,
            distance="perceptual",
        ),
        data=RenderedPortraits(resolution=64, num_train=16_384, num_test=256),
        suite="embedded",
        eval_every=1_000,
    )
