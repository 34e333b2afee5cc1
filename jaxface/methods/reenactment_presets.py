"""Reenactment methods by name, each named after its source."""

from jaxface.methods.pie.reenactment import RigNetReenactment
from jaxface.methods.reenactment import BatchReenactor

REENACTMENT_PRESETS: dict[str, BatchReenactor] = {
    "pie_rignet": RigNetReenactment(),
    "pie_rignet_relative": RigNetReenactment(relative_to=0),
}
"""PIE's RigNets, with the driver's own motion or its change since the first driving frame."""
