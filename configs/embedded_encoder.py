"""The embedded suite's encoder: e4e's, narrower, from the true codes of samples, then from images.

    jaxface train encoder --config configs/embedded_encoder.py --out RUN
    jaxface train encoder --config configs/embedded_encoder.py:psp --out PSP

It reads portraits at 32 px, and images are compared at 64, as the published encoders read 256 of
1,024 px. 2,000 steps learn the codes of samples alone, one w for all styles; then come renders and
samples with the whole loss, and every 30 steps one style more that may deviate. LPIPS is taken on
the suite's perceptual features, whose heads were not learned and give larger distances than the
published ones', so its weight is less than pSp's 0.8.

Expect, of the shipped weights (in float16; the large ones ship in 8 bits, with 0.001 dB between on
256 renders), on 256 held-out renders: 23.1 dB (lowest 17.2), an identity distance of 0.46 (a cosine
of 0.54) and 1.12 by LPIPS' form on the features; the generator's mean image, where training begins,
has 16.0 dB, 1.02 and 3.89. On 256 samples: 24.9 dB, 0.18 and 0.87, and codes whose squared error is
42% of the variance of W. The styles of an image deviate by a length of 0.25, where w is 31 from the
mean: what it gives is almost in W. Embedding by optimisation (`pie_embedded`, 600 steps) has 30.4
dB on 32 renders; the generator's images of the true factors have 25.8.

Pose, the shape of the hair, and the colours of skin, hair and clothes are right. Glasses and
patterned backdrops are missing, gaze and expression are mostly the average's: it learned for too
short a time. The shipped weights are of step 2,605: the run was stopped at 605 of the 1,000 steps
with the whole loss, after 70 minutes of a share of one CPU core.

pSp's does not ship; Transfer's baseline reads it (docs/transfer.md). Expect 23.3 dB, an identity
distance of 0.46 and a perceptual distance of 1.14 on held-out renders, after half an hour of two
cores.
"""

import dataclasses

from jaxface.data.sources import RenderedPortraits
from jaxface.errors import UsageError, did_you_mean
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


E4E = EncoderSettings(
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
)
PSP = dataclasses.replace(
    E4E, encoder="psp", steps=600, delta_weight=0.0, progressive_start=0, progressive_every=0
)


def get_config(encoder: str = "e4e") -> Experiment:
    """32,000 samples for their codes, then 8,000 renders and 8,000 samples; or pSp's.

    Raises:
      UsageError: no such encoder.
    """
    encoders = {"e4e": E4E, "psp": PSP}
    if encoder not in encoders:
        raise UsageError(f"no encoder {encoder!r}; {did_you_mean(encoder, tuple(encoders))}")
    return Experiment(
        method=encoders[encoder],
        data=RenderedPortraits(resolution=64, num_train=16_384, num_test=256),
        suite="embedded",
        eval_every=1_000,
    )
