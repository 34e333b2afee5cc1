"""Words for what can be edited, shared by the face model and the command line.

Nothing is imported here, so that `jaxface edit --help` answers at once, without JAX.
"""

EDITABLE_GROUPS = ("pose", "expression", "illumination")
"""The groups of face parameters that StyleRig and PIE edit; identity is what they keep."""

ANGLES = ("pitch", "yaw", "roll")
"""Names of the head's rotations, in the order of their parameters."""

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
