"""The embedded suite's generator at 64 px: regression against renders, resolution by resolution.

    jaxface train perceptual --config configs/embedded_perceptual.py
    jaxface train generator --config configs/embedded_64.py

The route for a CPU. A scene of the embedded world is a function of its whitened factors, so mapping
and synthesis are trained on pairs of factors and renders, first at 16 px, then at 32 and 64 px, and
at the end with the perceptual network's features beside the pixels, shallow ones and then deeper
ones too. No adversary is involved: what the factors do not explain is not invented, so hair and
eyes are smoother than in the renders.

The other route, StyleGAN2's plain adversarial training of the same widths, was tried for an hour on
the same two cores: 131,000 images at 16 px, then 98,000 at 32 px. Fréchet distances to 5,000
renders of the world as it then was, in spatial means of the perceptual features, against this
route's 64 px averaged down (and, the floor, other renders): 0.443 against 0.050 (0.030) at 16 px,
1.43 against 0.161 (0.108) at 32 px. Its faces were frontal, of few shapes, and had artefacts.

What is missing is glasses, which one face in five wears. Renders without them are at a Fréchet
distance of 0.32 from renders (2,500 each; without patterned backdrops, at 0.005). Their frames are
a pixel wide: where the network does not yet know to a pixel where they lie, L1 hardly rewards it
for darkening the region and shallow features punish it, so it leaves them out. With deeper features
traces of them appear at the end. Tried as well, each for under an hour and without a frame to be
seen: conv5_3 alone, whose distance does reward a smudge (1,700 steps; it fell by a fifth, and
everything else grew softer); and StyleGAN2's adversary beside the distance to the render (540
steps, 17,000 images: its discriminator had just begun to tell the two apart).

Widths are multiples of 16, which XLA's CPU convolutions run best.

Expect, of the shipped weights (float16), by `jaxface evaluate generator`: Fréchet distance 0.178 of
10,000 samples to 10,000 renders, 2.5 times what other renders have (0.070); precision 0.86, recall
0.76 (renders 0.82, 0.82); path length 161; 25.8 dB from the factors of 256 held-out scenes to their
renders, at least 19.9; 30.4 dB, at least 27.0, for 32 held-out renders embedded in W+. Of 256
samples, what the reconstruction network reads is off the true parameters of their scenes by 0.021
rad of rotation and 18.1% of light (renders: 0.014 and 17.7%). They began as a generator of the data
set's version 1.0.0 (29,000 steps of this recipe) with the new factors' coordinates started small,
and went on for 500 steps at 16 px, 2,000 at 32, 5,400 at 64 and 1,150 with shallow features, on
65,000 renders, about four hours in all of two cores of an Intel Xeon that had other work beside;
and then for the last stage below as a run of its own, with a learning rate of 2e-3 that fell in its
last 60%: 16 minutes of two cores of an AMD EPYC (168 images/s). A rerun from nothing gives another
network of the same kind.

What the distance depends on is sharpness. It was 0.483 before the last stage, 6.9 times the floor.
Of 4,000 samples and renders (floor 0.178) it was 2.78 where the data set's second version began,
8.50 after the stages by pixels, and 0.583 with shallow features.
"""

from jaxface.data.sources import RenderedPortraits
from jaxface.methods.scene_regression import Reconstruction, RegressionSettings, Stage
from jaxface.morphable import NUM_FACTORS
from jaxface.nets import GeneratorConfig
from jaxface.training.experiment import Experiment

GENERATOR = GeneratorConfig(
    64, channel_base=1024, channel_max=128, mapping_layers=3, mapping_lr_multiplier=1.0
)

SHALLOW_FEATURES = Reconstruction(
    perceptual_weights={"conv1_2": 0.02, "conv2_2": 0.02, "conv3_3": 0.02}
)
DEEPER_FEATURES = Reconstruction(
    perceptual_weights={
        "conv1_2": 0.02,
        "conv2_2": 0.02,
        "conv3_3": 0.05,
        "conv4_3": 0.02,
        "conv5_3": 0.02,
    }
)


def get_config() -> Experiment:
    """About 1,090,000 images."""
    return Experiment(
        method=RegressionSettings(
            generator=GENERATOR,
            stages=(
                Stage(16, 8_000),
                Stage(32, 8_000),
                Stage(64, 10_000),
                Stage(64, 3_000, reconstruction=SHALLOW_FEATURES),
                Stage(64, 5_000, reconstruction=DEEPER_FEATURES),
            ),
            num_factors=NUM_FACTORS,
            learning_rate=3e-3,
        ),
        data=RenderedPortraits(resolution=64, num_train=65_000, num_test=1_000),
        networks={"perceptual": "runs/embedded_perceptual/perceptual.safetensors"},
    )
