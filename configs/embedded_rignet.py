"""The embedded suite's RigNets: StyleRig's training over its generator, without labels.

    jaxface train rignet --group pose --config configs/embedded_rignet.py
    jaxface train rignet --group expression --config configs/embedded_rignet.py
    jaxface train rignet --group illumination --config configs/embedded_rignet.py

Another suite's: --set suite=FOLDER --set method.num_factors=0.

The suite needs its face reconstruction network; another file of it: --set
"networks={'reconstruction': 'FILE'}".

Expect, of the shipped weights (float16) on 256 held-out latents, each given what the reconstruction
network reads from another, beside the truth (in brackets what the network itself misses in the
pictures of the givers):

    pose          rotation 0.203 rad off before, 0.024 after (0.020); landmarks 23% of the face's
                  size, then 2.1% (1.8%); 19.9 dB to the true picture, then 23.7
    expression    landmarks 2.55%, then 1.87% (1.73%); 25.3 dB, then 25.3
    illumination  32% of the light, then 22% (18%); 23.0 dB, then 24.2

The generator itself draws these scenes at 26.1 dB. With a photometric distance that was not robust,
where hair and glasses pull the colours, edits of pose were at 23.2 dB. 0.23 to 0.28 s of one CPU
core a step of 16 edits, 13 minutes in all.
"""

from jaxface.experiment import Experiment, Latents
from jaxface.methods.rignet import RigNetSettings
from jaxface.morphable import NUM_FACTORS


def get_config() -> Experiment:
    """48,000 edits."""
    return Experiment(
        method=RigNetSettings(group="pose", steps=3_000, num_factors=NUM_FACTORS),
        data=Latents(),
        suite="embedded",
    )
