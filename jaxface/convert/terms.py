"""Terms that files of several families are published under; docs/weights.md says where."""

from jaxface.licences import Terms

NVIDIA = "LicenseRef-NVIDIA-Source-Code-NC"

OF_NVIDIA = Terms(
    NVIDIA,
    "no",
    "NVIDIA's published weights, trained on FFHQ (CC BY-NC-SA 4.0); one that you trained yourself "
    "has the terms of the code and of your data",
)
OF_DECODERS = Terms(NVIDIA, "no", "the generator inside an encoder's file is NVIDIA's")
FITTED = "the generator that it was computed from has terms of its own"
"""Of directions."""
