"""Directions of pose and expression in the photo suite's W, in degrees and ARKit's units.

    jaxface train direction --config configs/photo_motion.py

writes ``direction_motion.safetensors``, for the suite's folder: `jaxface edit --yaw 15 --smile 0.5`
then works on photographs.

Samples of the generator are read by MediaPipe's networks, and what is read regressed on their
latents (`jaxface.methods.motion_directions`); nothing is optimised.
"""

from jaxface.data.sources import Latents
from jaxface.methods.motion_directions import MotionDirectionSettings
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """Pose and the expressions that vary among the generator's people."""
    return Experiment(
        method=MotionDirectionSettings(),
        data=Latents(num_test=0),
        suite="suites/photo",
    )
