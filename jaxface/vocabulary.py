"""Words and numbers shared by rooms that do not import each other: networks, face models, commands.

Nothing of the library is imported here, so that `jaxface edit --help` answers at once, without JAX.
"""

from typing import Literal

GROUP_WIDTHS = {"pose": 6, "expression": 64, "illumination": 27}
"""Groups of face parameters that StyleRig and PIE edit (identity is what they keep), with the
numbers in each, `jaxface.morphable.group_width`."""

EDITABLE_GROUPS = tuple(GROUP_WIDTHS)
"""Their names."""

LANDMARKS = "landmarks"
"""What portraits are redrawn by, beside the groups (`jaxface.methods.latent_difference`)."""

REDUCED_PRECISIONS = ("none", "float16", "bfloat16")
"""What a converted network may compute in where its source computes in float16; none is float32."""

Basis = Literal["embedded", "anatomical", "basel", "flame", "arkit"]
"""Whose expression coefficients: the embedded world's head in version 2 ("embedded") and in version
3 ("anatomical"), a Basel Face Model, FLAME, or no model's: ARKit's 52 units."""

ANGLES = ("pitch", "yaw", "roll")
"""Names of the head's rotations, in the order of their parameters."""

ANGLE_LIMITS = {"pitch": 30.0, "yaw": 60.0, "roll": 15.0}
"""Degrees that the portraits which generators and RigNets learn from approach and never pass
(`jaxface.morphable.scenes`)."""

EXPRESSION_LIMIT = 4.0
"""Standard deviations of an expression that one face in ten thousand passes."""

UNIT_LIMIT = 1.0
"""ARKit's units of an expression at its fullest."""

EXPRESSION_NAMES = (
    "jaw_open",
    "smile",
    "brow_raise",
    "blink_left",
    "blink_right",
    "frown",
    "pucker",
    "brow_furrow",
    "mouth_left",
    "jaw_left",
    "upper_lip_raise",
    "nose_wrinkle",
    "cheek_puff",
    "eyes_wide",
)
"""Names of the first expression modes. Left is the image's left."""
