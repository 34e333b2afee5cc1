"""Reenactment methods by name, each named after its source."""

import dataclasses

from jaxface.errors import UsageError, did_you_mean
from jaxface.methods.direction_matrix.reenactment import (
    CODE,
    EMBEDDED,
    EMBEDDED_ENCODER,
    PAPER,
)
from jaxface.methods.latent_difference.reenactment import DriverLandmarks, LandmarkReenactment
from jaxface.methods.pie.reenactment import EMBEDDED_ENCODER as RIGNET_ENCODER
from jaxface.methods.pie.reenactment import RigNetReenactment
from jaxface.methods.reenactment import BatchReenactor, ImageReenactor
from jaxface.methods.transfer.reenactment import TransferReenactment

REENACTMENT_PRESETS: dict[str, BatchReenactor] = {
    "pie_rignet": RigNetReenactment(),
    "pie_rignet_relative": RigNetReenactment(relative_to=0),
    "pie_rignet_encoder": RIGNET_ENCODER,
    "direction_matrix": EMBEDDED,
    "direction_matrix_relative": dataclasses.replace(EMBEDDED, relative_to=0),
    "direction_matrix_encoder": EMBEDDED_ENCODER,
    "direction_matrix_paper": PAPER,
    "direction_matrix_code": CODE,
    "latent_difference": LandmarkReenactment(),
}
"""PIE's RigNets, with the driver's own motion or its change since the first driving frame. Finding
Directions' matrix likewise for the embedded suite, as its paper says, and as its code does. The
Latent Difference Encoder, whose landmarks are the subject's own, moved as the driver is."""

IMAGE_DRIVEN: dict[str, ImageReenactor] = {
    "transfer": TransferReenactment(),
    "latent_difference_raw": DriverLandmarks(),
}
"""Methods that take a driver's images and read no motion: Transfer, with the suite's encoder of
identity, and the Latent Difference Encoder with the driver's landmarks as they are."""


def reenactment_preset(name: str) -> BatchReenactor | ImageReenactor:
    """The method of that name, of either kind.

    Raises:
      UsageError: there is none; the message gives the nearest.
    """
    known = {**REENACTMENT_PRESETS, **IMAGE_DRIVEN}
    if name not in known:
        raise UsageError(
            f"method: unknown {name!r}; {did_you_mean(name, known)} Known: {', '.join(known)}"
        )
    return known[name]


def mover(name: str, relative: str) -> BatchReenactor | ImageReenactor:
    """`reenactment_preset` for callers who say themselves whether motion is relative.

    Args:
      name: of the method.
      relative: how they say it, for the message.

    Raises:
      UsageError: there is none, or it is one that says so itself.
    """
    found = reenactment_preset(name)
    if getattr(found, "relative_to", None) is not None:
        raise UsageError(
            f"method: {name} is of jaxface.methods.reenactment.reenact alone; here "
            f"{name.removesuffix('_relative')} with {relative}"
        )
    return found


def is_image_driven(method: BatchReenactor | ImageReenactor) -> bool:
    """Whether a method is driven by images, not by motion."""
    return "image" in method.requires
