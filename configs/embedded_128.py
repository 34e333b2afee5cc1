"""The suite "embedded-128": the embedded suite's generator, grown to 128 px.

    jaxface train generator --config configs/embedded_128.py

It begins as the generator of "embedded", with twice the channels from 16 px on and a block of 128
px more, none of which changes its images at first (`jaxface.nets.stylegan2.grown`), and learns
from renders as that did in its last stage, by pixels and the perceptual network's features; at the
end features weigh less, which the eyes need. By pixels alone its images were softer after 500
steps than they began.

Expect, of the shipped weights (float16), by `jaxface evaluate generator --suite embedded-128`:
Fréchet distance 0.227 of 10,000 samples to 10,000 renders, 14 times what other renders have
(0.016; not to be compared with those at 64 px); precision 0.87, recall 0.71 (renders 0.84, 0.82);
path length 202; 25.6 dB from the factors of 256 held-out scenes to their renders, at least 19.8;
29.4 dB, at least 25.2, for 32 held-out renders embedded in W+. Of 256 samples, what the
reconstruction network reads is off the true parameters of their scenes by 0.019 rad of rotation
and 19.0% of light (renders: 0.015 and 18.3%). They were trained in two runs: the first stage, then
the second one with a learning rate of 1.5e-3 that fell in its last 60%; 61 minutes of two CPU
cores at 28 images/s, after 14 minutes of rendering its 50,000 portraits. The generator of 64 px
that they began as is the one before its last stage (`embedded_64.py`).
"""

from jaxface.data.sources import RenderedPortraits
from jaxface.methods.scene_regression import Reconstruction, RegressionSettings, Stage
from jaxface.morphable import NUM_FACTORS
from jaxface.nets import GeneratorConfig
from jaxface.suite import load_suite
from jaxface.training.experiment import Experiment

GENERATOR = GeneratorConfig(
    128, channel_base=2048, channel_max=128, mapping_layers=3, mapping_lr_multiplier=1.0
)

LAYERS = ("conv1_2", "conv2_2", "conv3_3")
STRONG_FEATURES = Reconstruction(perceptual_weights=dict.fromkeys(LAYERS, 0.02))
WEAK_FEATURES = Reconstruction(perceptual_weights=dict.fromkeys(LAYERS, 0.004))


def get_config() -> Experiment:
    """About 106,000 images."""
    return Experiment(
        method=RegressionSettings(
            generator=GENERATOR,
            stages=(
                Stage(128, 2_600, reconstruction=STRONG_FEATURES),
                Stage(128, 700, reconstruction=WEAK_FEATURES),
            ),
            num_factors=NUM_FACTORS,
            learning_rate=2e-3,
        ),
        data=RenderedPortraits(resolution=128, num_train=50_000, num_test=1_000),
        networks={"generator": str(load_suite("embedded").files["generator"])},
        suite="embedded",
    )
