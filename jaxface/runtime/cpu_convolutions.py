"""Which of XLA's two implementations of convolutions the CPU uses."""

import importlib.metadata
import os
import platform

FLAG = "--xla_cpu_experimental_ynn_fusion_type"
"""What XLA gives to YNNPACK: by default every convolution, with an empty value nothing.

Eigen has them then."""

_KNOWN = ((0, 10), (0, 13))  # from, to: XLA ends the process at a flag it does not know
_MEASURED = ("x86_64", "AMD64")


def use_eigen_convolutions() -> None:
    """Convolutions by Eigen and not by YNNPACK on x86; before JAX compiles its first program.

    With jaxlib 0.10.2 and AVX-512, YNNPACK's convolutions take twice as long, and their gradients
    2.2 times (docs/performance_notes.md). A value of this flag in XLA_FLAGS takes precedence.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if FLAG not in given and platform.machine() in _MEASURED and _is_known():
        os.environ["XLA_FLAGS"] = f"{given} {FLAG}=".strip()


def _is_known() -> bool:
    version = importlib.metadata.version("jaxlib").split(".")
    return _KNOWN[0] <= (int(version[0]), int(version[1])) < _KNOWN[1]
