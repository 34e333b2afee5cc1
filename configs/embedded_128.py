"""The suite "embedded-128": its generator, by the route of `embedded_64.py` with one stage more.

    jaxface train perceptual --config configs/embedded_perceptual.py
    jaxface train generator --config configs/embedded_128.py

Features join the pixels in the last stage alone, at 128 px: the perceptual network reads any size.

Expect: not trained yet. Rendering its 50,000 portraits takes 14 minutes of two CPU cores.
"""

from jaxface.experiment import Experiment, RenderedPortraits
from jaxface.methods.scene_regression import Reconstruction, RegressionSettings, Stage
from jaxface.morphable import NUM_FACTORS
from jaxface.nets import GeneratorConfig

GENERATOR = GeneratorConfig(
    128, channel_base=2048, channel_max=128, mapping_layers=3, mapping_lr_multiplier=1.0
)

PIXELS_AND_FEATURES = Reconstruction(
    perceptual_weights={"conv1_2": 0.02, "conv2_2": 0.02, "conv3_3": 0.02}
)


def get_config() -> Experiment:
    """About a million images, most of them at 64 px or less."""
    return Experiment(
        method=RegressionSettings(
            generator=GENERATOR,
            stages=(
                Stage(16, 8_000),
                Stage(32, 8_000),
                Stage(64, 8_000),
                Stage(128, 6_000),
                Stage(128, 2_000, reconstruction=PIXELS_AND_FEATURES),
            ),
            num_factors=NUM_FACTORS,
            learning_rate=3e-3,
        ),
        data=RenderedPortraits(resolution=128, num_train=50_000, num_test=1_000),
        networks={"perceptual": "runs/embedded_perceptual/perceptual.safetensors"},
    )
