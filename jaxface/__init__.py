"""jaxface: portraits in StyleGAN2's latent space, at accelerator throughput."""

from jaxface.errors import JaxfaceError, SuiteError, WeightsError
from jaxface.suite import Suite, load_suite
from jaxface.weights import load_network, save_network

__version__ = "0.1.0"

__all__ = [
    "JaxfaceError",
    "Suite",
    "SuiteError",
    "WeightsError",
    "__version__",
    "load_network",
    "load_suite",
    "save_network",
]
