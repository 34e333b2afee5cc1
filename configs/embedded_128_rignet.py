"""The RigNets of the suite "embedded-128": those of "embedded", with two rows of W+ more.

    jaxface train rignet --group pose --config configs/embedded_128_rignet.py
    jaxface train rignet --group expression --config configs/embedded_128_rignet.py
    jaxface train rignet --group illumination --config configs/embedded_128_rignet.py

The generator of 128 px is the one of 64 px, grown and trained further, so that its W is still
nearly the same, and the RigNets of that one are where these begin.

Expect: not measured yet.
"""

from jaxface.experiment import Experiment, Latents
from jaxface.methods.rignet import RigNetSettings
from jaxface.morphable import NUM_FACTORS
from jaxface.suite import load_suite


def get_config() -> Experiment:
    """16,000 edits."""
    begin = load_suite("embedded").files
    return Experiment(
        method=RigNetSettings(
            group="pose", steps=1_000, num_factors=NUM_FACTORS, learning_rate=1e-3
        ),
        data=Latents(),
        networks={role: str(file) for role, file in begin.items() if role.startswith("rignet_")},
        suite="embedded-128",
    )
