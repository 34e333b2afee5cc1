"""GANSpace's components of the embedded suite's generator (Härkönen et al. 2020).

    jaxface train direction --config configs/embedded_components.py

writes ``direction_ganspace.safetensors``, for the suite's folder: `jaxface edit --direction
ganspace.component_0=2` then moves two standard deviations along the first component.

As the reference, it draws 1,000,000 latents and keeps 80 components. W alone is computed, no image.
"""

from jaxface.data.sources import Latents
from jaxface.methods.direction_fitting import GANSpaceSettings
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """The reference's numbers."""
    return Experiment(method=GANSpaceSettings(), data=Latents(num_test=0), suite="embedded")
