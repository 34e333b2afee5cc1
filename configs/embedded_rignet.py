"""The embedded suite's RigNets: StyleRig's training over its generator, without labels.

    jaxface train rignet --group pose --config configs/embedded_rignet.py
    jaxface train rignet --group expression --config configs/embedded_rignet.py
    jaxface train rignet --group illumination --config configs/embedded_rignet.py

Another suite's: --set suite=FOLDER --set method.num_factors=0.

The suite needs its face reconstruction network; another file of it: --set
"networks={'reconstruction': 'FILE'}".

Expect, of 32 held-out edits beside the truth: pose brings the rotation from 0.203 rad to 0.015
(what the reconstruction network itself misses in the images of the givers: 0.020), the landmarks
from 23% of the face's size to 1.1%, and the pictures nearer to the true ones, from 19.9 to 23.3 dB
(the generator's own: 26.1). Expression and illumination are not trained to the end yet. 0.31 s of
one CPU core a step of 16 edits, 26 minutes in all.
"""

from jaxface.experiment import Experiment, Latents
from jaxface.methods.rignet import RigNetSettings
from jaxface.morphable import NUM_FACTORS


def get_config() -> Experiment:
    """80,000 edits."""
    return Experiment(
        method=RigNetSettings(group="pose", steps=5_000, num_factors=NUM_FACTORS),
        data=Latents(),
        suite="embedded",
    )
