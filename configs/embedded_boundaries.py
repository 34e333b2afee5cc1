"""InterFaceGAN's boundaries of the embedded suite's generator (Shen et al. 2020).

    jaxface train direction --config configs/embedded_boundaries.py

writes ``direction_interfacegan.safetensors``, for the suite's folder: `jaxface edit --direction
interfacegan.yaw=3` then moves a distance of 3 in W towards heads that look to the image's right.

20,000 samples are read by the suite's reconstruction network, where the reference scores 500,000
with attribute classifiers; the 2% of them at either end of an attribute give its boundary.
"""

from jaxface.data.sources import Latents
from jaxface.methods.direction_fitting import BoundarySettings
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """Pose and smile."""
    return Experiment(
        method=BoundarySettings(attributes=("yaw", "pitch", "smile")),
        data=Latents(num_test=0),
        suite="embedded",
    )
