"""The embedded suite's RigNets: StyleRig's training over its generator, without labels.

    jaxface train rignet --group pose --config configs/embedded_rignet.py
    jaxface train rignet --group expression --config configs/embedded_rignet.py
    jaxface train rignet --group illumination --config configs/embedded_rignet.py

Another suite's: --set suite=FOLDER --set method.num_factors=0.

The suite needs its face reconstruction network; another file of it: --set
"networks={'reconstruction': 'FILE'}".

Expect: not trained to the end yet. 0.31 s of one CPU core a step of 16 edits, 26 minutes in all. A
trial of pose, 160 steps on a reconstruction network at half of its training, brought the rotation
of 32 held-out edits from 0.233 rad to 0.086 (0.020: what that network misses in the images of the
givers), and them nearer to their true pictures, from 19.6 to 21.2 dB.
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
