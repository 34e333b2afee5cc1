"""Compiled programs, kept between runs of the command and of Python programs alike."""

import os
import sys
from pathlib import Path

from jaxface.errors import UsageError

_SECONDS = "0.2"  # JAX's own limit, a second, leaves out programs that add up to several


def use_compilation_cache() -> None:
    """Keeps compiled programs between runs, in the user's cache folder.

    JAXFACE_COMPILATION_CACHE=off turns it off. A folder that JAX was told of takes precedence, by
    JAX_COMPILATION_CACHE_DIR or in its configuration. Calling it again changes nothing.
    """
    setting = os.environ.get("JAXFACE_COMPILATION_CACHE", "on")
    if setting not in ("on", "off"):
        raise UsageError(f"JAXFACE_COMPILATION_CACHE must be on or off, got {setting!r}")
    if setting == "off" or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if not cache.is_absolute():  # there is no home folder
        return
    folder = str(cache / "jaxface" / "xla")
    if "jax" not in sys.modules:  # which reads the environment when it is imported
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", _SECONDS)
        return
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", folder)
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", float(_SECONDS))
