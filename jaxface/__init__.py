"""jaxface: portraits in StyleGAN2's latent space, at accelerator throughput."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxface.api import edit, generate, invert, personalise, reenact
    from jaxface.errors import JaxfaceError, SuiteError, UsageError, WeightsError
    from jaxface.media.alignment import CropTransform
    from jaxface.media.pasting import paste_back
    from jaxface.portraits import Person, Portraits
    from jaxface.sharing import save_suite
    from jaxface.suite import Suite, load_suite
    from jaxface.weights import load_network, save_network

__version__ = "0.1.0"

__all__ = [
    "CropTransform",
    "JaxfaceError",
    "Person",
    "Portraits",
    "Suite",
    "SuiteError",
    "UsageError",
    "WeightsError",
    "__version__",
    "edit",
    "generate",
    "invert",
    "load_network",
    "load_suite",
    "paste_back",
    "personalise",
    "reenact",
    "save_network",
    "save_suite",
]

# Where each public name lives. It is imported when first asked for, so that `jaxface --help`
# answers at once, without importing JAX.
_HOMES = {
    "CropTransform": "jaxface.media.alignment",
    "JaxfaceError": "jaxface.errors",
    "Person": "jaxface.portraits",
    "Portraits": "jaxface.portraits",
    "Suite": "jaxface.suite",
    "SuiteError": "jaxface.errors",
    "UsageError": "jaxface.errors",
    "WeightsError": "jaxface.errors",
    "edit": "jaxface.api",
    "generate": "jaxface.api",
    "invert": "jaxface.api",
    "load_network": "jaxface.weights",
    "load_suite": "jaxface.suite",
    "paste_back": "jaxface.media.pasting",
    "personalise": "jaxface.api",
    "reenact": "jaxface.api",
    "save_network": "jaxface.weights",
    "save_suite": "jaxface.sharing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOMES[name] != "jaxface.errors":  # the others compute, so XLA is set up for them
        from jaxface.runtime.compilation_cache import use_compilation_cache_from_python
        from jaxface.runtime.cpu_convolutions import use_eigen_convolutions

        use_eigen_convolutions()
        use_compilation_cache_from_python()
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
