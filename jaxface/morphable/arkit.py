"""ARKit's 52 face units, the first expression coefficients of version 3, and what follows them.

Left and Right are the person's own: the person's left eye is on the image's right. Names as in
Apple's `ARFaceAnchor.BlendShapeLocation`, in alphabetical order; 1 is a full motion. JAX is not
imported here.
"""

import difflib

ARKIT_UNITS = (
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)
"""Places 0 to 51 of version 3's expression; 52 to 63 are fine motions without a name."""


EXPRESSIONS = {
    "jaw_open": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "brow_raise": ("browOuterUpLeft", "browOuterUpRight"),
    "blink_left": ("eyeBlinkRight",),
    "blink_right": ("eyeBlinkLeft",),
    "frown": ("mouthFrownLeft", "mouthFrownRight"),
    "pucker": ("mouthPucker",),
    "brow_furrow": ("browDownLeft", "browDownRight"),
    "mouth_left": ("mouthRight",),
    "jaw_left": ("jawRight",),
    "upper_lip_raise": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "nose_wrinkle": ("noseSneerLeft", "noseSneerRight"),
    "cheek_puff": ("cheekPuff",),
    "eyes_wide": ("eyeWideLeft", "eyeWideRight"),
}
"""`jaxface.vocabulary.EXPRESSION_NAMES` as means of units; the names' left is the image's."""


def unit_index(name: str) -> int:
    """Place of a unit among the expression coefficients.

    Raises:
        ValueError: if ARKit has no such unit; the message gives the nearest.
    """
    if name not in ARKIT_UNITS:
        near = difflib.get_close_matches(name, ARKIT_UNITS, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown ARKit unit {name!r}; did you mean {near!r}?")
    return ARKIT_UNITS.index(name)
