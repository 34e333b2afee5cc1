"""The RigNets of the suite "embedded-128": those of "embedded", with two rows of W+ more.

    jaxface train rignet --config configs/embedded_128_rignet.py --set method.group=pose
    jaxface train rignet --config configs/embedded_128_rignet.py --set method.group=expression
    jaxface train rignet --config configs/embedded_128_rignet.py --set method.group=illumination

The generator of 128 px is the one of 64 px, grown and trained further, so that its W is still
nearly the same, and the RigNets of that one are where these begin.

Expect, of the shipped weights (float16), as in `embedded_rignet.py` (in brackets what the network
itself misses in the images of the givers):

    pose          rotation 0.204 rad off before, 0.023 after (0.020); landmarks 23% of the face's
                  size, then 2.0% (1.8%); 19.7 dB to the true image, then 23.2
    expression    landmarks 2.65%, then 1.85% (1.71%); 24.8 dB, then 24.7
    illumination  33% of the light, then 22% (18%); 22.7 dB, then 23.8

The generator itself draws these scenes at 25.5 dB. 0.55 s of one CPU core a step, 9 minutes in all;
half of the steps are enough (0.0233 instead of 0.0230 rad).
"""

from jaxface.data.sources import Latents
from jaxface.methods.rignet import RigNetSettings
from jaxface.suite import load_suite
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """16,000 edits."""
    begin = load_suite("embedded").files
    return Experiment(
        method=RigNetSettings(group="pose", steps=1_000, known_scenes=True, learning_rate=1e-3),
        data=Latents(),
        networks={role: str(file) for role, file in begin.items() if role.startswith("rignet_")},
        suite="embedded-128",
    )
