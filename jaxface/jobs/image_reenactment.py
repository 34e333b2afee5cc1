"""Reenactment by images as a job: embedded portraits in, frames as driving images show them out.

Every driving frame has been read once, into a code of the method's own
(`jaxface.jobs.inputs.driving.read_driving_codes`), whoever it drives then.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxface.jobs.driven_task import DrivenTask, Frame
from jaxface.jobs.inputs.driving import CODE, DrivingCodes
from jaxface.methods.reenactment import ImageReenactor


@dataclasses.dataclass(frozen=True)
class ImageReenactment(DrivenTask):
    """How subjects are driven by images; a `jaxface.jobs.task.Task`.

    Attributes:
      method: reads and moves.
      driving: the driver.
    """

    method: ImageReenactor
    driving: DrivingCodes

    def abstract_inputs(self) -> dict[str, Any]:
        """The driving frame's code."""
        return {"codes": jax.ShapeDtypeStruct(self.driving.shape, np.float32)}

    def inputs(self, case_id: str, frame: Frame) -> dict[str, Any]:
        """See `DrivenTask`."""
        del case_id
        return {"codes": np.asarray(frame.values[CODE], np.float32).reshape(self.driving.shape)}

    def described(self, row: Mapping[str, Any]) -> str:
        """By whom a frame is driven."""
        del row
        return f"by {self.driving.driver.name}"
