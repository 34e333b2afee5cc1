"""The generator of the embedded world's version 3 at 64 px: regression against endless renders.

    jaxface train generator --config configs/world3_64.py:mapping --out MAPPING
    jaxface train generator --config configs/world3_64.py --out RUN --begin MAPPING

The first command trains the mapping alone: a linear layer reads renders of 16 px from its W. The
second one goes on with the synthesis network, by the route of `embedded_64.py` with what its images
lacked: a residual mapping of 1,024 units that reads the factors as they are, 32 channels at 64 px,
eyes and mouth weighted by their landmarks, and renders that do not run out. Each render is trained
on four times, 32 new batches apart (in the first command sixteen times), so that rendering takes a
smaller part of the time. The perceptual network of the last stage is that of the suite "embedded",
trained on version 2.

Why the mapping first: 500 steps at 16 px on 12,000 renders reach 20.2 dB on held-out ones from
nothing (learning rate 3e-3; 21.0 to 21.2 with 2e-2, or 3e-2 for the mapping alone), and after 1,000
steps of the mapping, 85 s of two cores, 22.7 to 23.4 dB. From nothing, 9,500 steps up to 64 px had
come to 23.1 dB there, while a W fitted to each render by that synthesis network had 27.2: what was
missing was the mapping.

StyleGAN2's mapping divides z by its length, so it does not see the factors' sizes to better than
3%, the deviation of the length of 512 numbers. Renders of factors that are off by as much differ
by 41.9 dB (64 px, 32 scenes; at least 33.4): little, and the residual mapping does not lose it.

Expect, of the first command: 29.7 dB at 16 px on 256 held-out renders, read by the linear layer;
some 40 minutes of two CPU cores, rendering included. Of the second, on the same renders at 64 px:
27.7 dB by pixels alone, at 10,500 steps, whose images are soft and without glasses; 27.3 dB with
features, at the end, whose eyes and lips are sharp and whose dark frames show, while thin frames
and patterns of backdrops are still missing. Some three and a half hours of two CPU cores that had
other work beside.
"""

from jaxface.data.sources import EndlessRenders
from jaxface.errors import UsageError, did_you_mean
from jaxface.methods.mapping_regression import MappingSettings
from jaxface.methods.scene_regression import Reconstruction, RegressionSettings, Stage
from jaxface.morphable import world
from jaxface.nets import GeneratorConfig
from jaxface.training.experiment import Experiment

GENERATOR = GeneratorConfig(
    64, channel_base=2048, channel_max=128, mapping_layers=0, residual_blocks=3
)

PIXELS = Reconstruction(feature_weight=8.0)
FEATURES = Reconstruction(
    perceptual_weights={
        "conv1_2": 0.02,
        "conv2_2": 0.02,
        "conv3_3": 0.05,
        "conv4_3": 0.02,
        "conv5_3": 0.02,
    },
    feature_weight=8.0,
)


MAPPING = MappingSettings(GENERATOR, world("3.0.0").num_factors, steps=8_000)
WHOLE = RegressionSettings(
    generator=GENERATOR,
    stages=(
        Stage(16, 1_500, reconstruction=PIXELS),
        Stage(32, 3_000, reconstruction=PIXELS),
        Stage(64, 6_000, reconstruction=PIXELS),
        Stage(64, 3_000, reconstruction=FEATURES),
    ),
    num_factors=world("3.0.0").num_factors,
    learning_rate=1e-2,
    mapping_rate=0.3,
)


def get_config(part: str = "whole") -> Experiment:
    """432,000 images; or a million of 125,000 renders for the mapping.

    Raises:
      UsageError: no such part.
    """
    parts = {"whole": (WHOLE, 4), "mapping": (MAPPING, 16)}
    if part not in parts:
        raise UsageError(f"no part {part!r}; {did_you_mean(part, tuple(parts))}")
    method, uses = parts[part]
    return Experiment(
        method=method, data=EndlessRenders(resolution=64, uses=uses), suite="embedded"
    )
