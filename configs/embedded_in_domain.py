"""The embedded suite's second encoder: in-domain inversion (Zhu et al. 2020).

    jaxface train encoder --config configs/embedded_in_domain.py

It becomes the role ``in_domain_encoder``. 2,000 steps learn the codes of samples alone, which is
not the paper's; then come pixels, features of the suite's perceptual trunk and a discriminator that
trains beside the encoder, with the weights of the authors' code but for the features', whose trunk
is not VGG-16. The encoder is narrow: its last layer has a weight for each number of the last map
and of W+, so its size is that of the last map. Data and steps are as many as the first encoder's
(`configs/embedded_encoder.py`), so that the two compare.

Expect, of the shipped weights (in float16; the large ones ship in 8 bits, with 0.001 dB between on
256 renders), on 256 held-out renders, and in brackets the first
encoder's: 24.4 dB, lowest 18.2 (23.1, 17.2); a perceptual distance of 0.194 (0.397) and a cosine of
identity of 0.517 (0.538); of a RigNet's turn by 20 degrees 93% (96%) are read afterwards. Of 256
samples the codes' squared error is 35% of W's variance (40%). The rows of a code deviate from their
mean by a length of 3.6 (0.14): nothing holds them in W, and the pixels profit. 1,300 steps of codes
alone gave 22.7 dB, all 2,000 of them 23.0.

Like the first one's, its portraits have the right pose, hair and colours, no glasses or patterned
backdrops, and gazes near the average's; wide mouths are wide more often. About 25 minutes of one
CPU core that other work kept busy.
"""

from jaxface.data.sources import RenderedPortraits
from jaxface.methods.encoder_training import EncoderSettings
from jaxface.nets import DiscriminatorConfig, InDomainConfig
from jaxface.training.experiment import Experiment

NETWORK = InDomainConfig(resolution=64, width=24, max_width=48, num_ws=10)


def get_config() -> Experiment:
    """32,000 samples for their codes, then 4,800 renders and 4,800 samples."""
    return Experiment(
        method=EncoderSettings(
            "in_domain",
            NETWORK,
            latent_steps=2_000,
            steps=600,
            batch_size=8,
            samples=8,
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
        eval_every=1_300,
    )
