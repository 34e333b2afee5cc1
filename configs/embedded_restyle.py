"""ReStyle over pSp for the embedded suite: five passes, each of which sees what the last one made.

    jaxface train encoder --config configs/embedded_restyle.py

As `embedded_encoder.py`, whose trunk it has with six input channels; every style is read off the
trunk's last map. A step has five passes through encoder and generator, so it costs five times as
much, and its batch is half as large. Not trained yet: no network of it ships.
"""

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
    """32,000 samples for their codes, then 4,000 renders and 4,000 samples in five passes each."""
    return Experiment(
        method=EncoderSettings(
            "restyle_psp",
            NETWORK,
            latent_steps=4_000,
            steps=1_000,
            batch_size=4,
            samples=4,
            learning_rate=5e-3,
            lpips_weight=0.05,
            latent_weight=0.05,
            resolution=64,
            lpips_resolution=32,
            distance="perceptual",
        ),
        data=RenderedPortraits(resolution=64, num_train=16_384, num_test=256),
        suite="embedded",
        eval_every=1_000,
    )
