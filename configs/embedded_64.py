"""The embedded suite's generator at 64 px: regression against renders, resolution by resolution.

    jaxface train perceptual --config configs/embedded_perceptual.py
    jaxface train generator --config configs/embedded_64.py

The route for a CPU. A scene of the embedded world is a function of its whitened factors, so mapping
and synthesis are trained on pairs of factors and renders, first at 16 px, then at 32 and 64 px, and
at the end with the perceptual network's features beside the pixels. No adversary is involved: what
the factors do not explain is not invented, so hair and eyes are smoother than in the renders.

Widths are multiples of 16, which XLA's CPU convolutions run best.

Expect, of the shipped weights (float16): 27.0 dB from the factors of 256 held-out scenes to their
renders, at least 23.2. They took two hours of two CPU cores that had other work beside, at about
350, 200, 150 and 100 images/s in the four stages where they had none. Their first 12,800 steps saw
half of the renders, and they stopped twice to change the number of steps to come, so a rerun gives
another network of the same kind.
"""

from jaxface.experiment import Experiment, RenderedPortraits
from jaxface.methods.scene_regression import Reconstruction, RegressionSettings, Stage
from jaxface.morphable import NUM_FACTORS
from jaxface.nets import GeneratorConfig

GENERATOR = GeneratorConfig(
    64, channel_base=1024, channel_max=128, mapping_layers=3, mapping_lr_multiplier=1.0
)

PIXELS_AND_FEATURES = Reconstruction(
    perceptual_weights={"conv1_2": 0.02, "conv2_2": 0.02, "conv3_3": 0.02}
)


def get_config() -> Experiment:
    """About 930,000 images."""
    return Experiment(
        method=RegressionSettings(
            generator=GENERATOR,
            stages=(
                Stage(16, 8_000),
                Stage(32, 8_000),
                Stage(64, 10_000),
                Stage(64, 3_000, reconstruction=PIXELS_AND_FEATURES),
            ),
            num_factors=NUM_FACTORS,
            learning_rate=3e-3,
        ),
        data=RenderedPortraits(resolution=64, num_train=65_000, num_test=1_000),
        networks={"perceptual": "runs/embedded_perceptual/perceptual.safetensors"},
    )
