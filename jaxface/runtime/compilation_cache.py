"""Compiled programs, kept between runs of the command and of Python programs alike."""

import os
import sys
from pathlib import Path
from typing import Any, cast

from jaxface.errors import UsageError

_SECONDS = "0.2"  # JAX's own limit, a second, leaves out programs that add up to several


def use_compilation_cache() -> None:
    """Keeps compiled programs between runs, in the user's cache folder; before JAX is imported.

    JAXFACE_COMPILATION_CACHE=off turns it off; JAX's own JAX_COMPILATION_CACHE_DIR takes
    precedence.
    """
    folder = _folder()
    if folder is not None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", _SECONDS)


def use_compilation_cache_from_python() -> None:
    """As `use_compilation_cache`, also where JAX has been imported.

    Then its configuration is set, unless a folder is configured there already. Calling it again
    changes nothing.
    """
    if "jax" not in sys.modules:
        use_compilation_cache()
        return
    import jax

    folder, config = _folder(), cast(Any, jax.config)
    if folder is not None and config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", folder)
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", float(_SECONDS))


def _folder() -> str | None:
    """Where they are kept; None where the user has said otherwise, or has no home folder."""
    setting = os.environ.get("JAXFACE_COMPILATION_CACHE", "on")
    if setting not in ("on", "off"):
        raise UsageError(f"JAXFACE_COMPILATION_CACHE must be on or off, got {setting!r}")
    if setting == "off" or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return str(cache / "jaxface" / "xla") if cache.is_absolute() else None
