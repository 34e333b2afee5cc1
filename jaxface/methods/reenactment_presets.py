"""Reenactment methods by name, each named after its source."""

from jaxface.methods.pie.reenactment import RigNetReenactment
from jaxface.methods.reenactment import Reenactor
from jaxface.methods.transfer.reenactment import TransferReenactment

REENACTMENT_PRESETS: dict[str, Reenactor] = {
    "pie_rignet": RigNetReenactment(),
    "pie_rignet_relative": RigNetReenactment(relative_to=0),
    "transfer": TransferReenactment(),
}
"""PIE's RigNets, with the driver's own motion or its change since the first driving frame; and
Transfer, with the suite's encoder of identity."""
