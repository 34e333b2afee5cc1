"""The embedded suite's recognition: ArcFace's IR-SE network, narrower, on persons of its world.

    jaxface train recognition --config configs/embedded_recognition.py
    jaxface train recognition --config configs/embedded_recognition.py:3.0.0

The second line is of version 3 of the world, whose weights do not ship yet.

4,000 persons on 12 occasions each, and 200 others to be told apart. A person's own are the shape of
the face, skin, brows, lips, irises and beard, the colour of the hair, where it recedes and whether
it waves, and the age; pose, expression, light, how the hair is worn, glasses, clothes and backdrop
are another's in every image (`jaxface.morphable.PERSON_FACTORS`). The network reads the 48 px in
the middle of a 64 px portrait, which hold the face and most of the hair.

Expect, of the shipped weights (float16), on 200 persons of 12 images that nothing was chosen by:
99.7% of pairs told right (folds deviate by 0.3%), 99.9% of same pairs accepted where 1% of the
others are, 97.7% where 0.1% are. They took 6 minutes of one CPU core to render and 61 to train.
"""

from jaxface.data.sources import IdentityPortraits
from jaxface.methods.arcface import ArcFaceSettings
from jaxface.nets import IRSEConfig
from jaxface.training.experiment import Experiment

NETWORK = IRSEConfig(
    channels=(16, 32, 64, 128),
    units=(1, 2, 2, 1),
    reduction=4,
    embedding_dim=128,
    resolution=48,
    portrait_size=64,
    crop=(12, 60, 8, 56),
)


def get_config(version: str = "2.0.0") -> Experiment:
    """640,000 images, thirteen rounds of the data, of a version of the world."""
    return Experiment(
        method=ArcFaceSettings(network=NETWORK, num_identities=4_000, steps=10_000),
        data=IdentityPortraits(resolution=64, num_identities=4_000, version=version),
        eval_every=1_000,
    )
