"""The embedded suite's second encoder: in-domain inversion (Zhu et al. 2020).

    jaxface train encoder --config configs/embedded_in_domain.py

It becomes the role ``in_domain_encoder``. 1,000 steps learn the codes of samples alone, which is
not the paper's; then come pixels, features of the suite's perceptual trunk and a discriminator that
trains beside the encoder, with the weights of the authors' code but for the features', whose trunk
is not VGG-16. No network of it has been trained yet: what to expect is not measured.
"""

from jaxface.data.sources import RenderedPortraits
from jaxface.methods.encoder_training import EncoderSettings
from jaxface.nets import DiscriminatorConfig, InDomainConfig
from jaxface.training.experiment import Experiment

NETWORK = InDomainConfig(resolution=64, width=16, max_width=128, num_ws=10)


def get_config() -> Experiment:
    """32,000 samples for their codes, then 8,000 renders."""
    return Experiment(
        method=EncoderSettings(
            "in_domain",
            NETWORK,
            latent_steps=1_000,
            steps=500,
            batch_size=16,
            samples=16,
            learning_rate=2e-3,
            lpips_weight=0.0,
            identity_weight=0.0,
            features_weight=0.05,
            features_size=None,
            latent_weight=0.05,
            adversarial_weight=0.05,
            discriminator=DiscriminatorConfig(64, channel_base=1024, channel_max=128),
            r1_interval=4,
        ),
        data=RenderedPortraits(resolution=64, num_train=4_096, num_test=256),
        suite="embedded",
        eval_every=500,
    )
