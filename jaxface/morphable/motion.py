"""Motion of a face: the head's rotation, the jaw and the expression through T frames.

Reenactment methods take it from PIE's 257 parameters (`motion_of_pie`), from DECA's 236
(`motion_of_deca`) or from ARKit's units (`motion_of_arkit`), and mean the same by it:

* Rotation: R = Rz(roll) Ry(yaw) Rx(pitch), radians; x is the image's right, y up, z towards the
  camera. Positive pitch looks down, positive yaw to the image's right, positive roll turns
  anticlockwise in the image. Users are shown degrees (`Motion.degrees`).
* Jaw: an axis-angle vector about the same axes, radians, in the head's frame. A positive first
  component opens the mouth, a positive second one moves the chin to the image's right.
* Expression: the coefficients of a basis. Those of two bases say nothing of each other.
* Gaze: yaw and pitch of the eyes relative to the head in degrees, as in `jaxface.morphable.gaze`:
  positive yaw looks to the image's right, positive pitch down. Only version 3's head has it.

Where the head is in the image is no motion here: portraits are aligned, and keep their place.

Angles are Euler angles and are differenced and averaged one by one, as the methods do: Finding
Directions takes differences of degrees, PVP statistics of each number (`Motion.rescaled`). Finding
Directions' yaw is the negative of this one, its pitch and roll are these; PVP's pitch is this one,
and the tangent of its yaw is -tan(yaw) / cos(pitch).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from jaxface.morphable.arkit import ARKIT_UNITS, unit_index
from jaxface.morphable.attributes import named_parameter, named_parameters
from jaxface.morphable.flame_parameters import FlameParameters
from jaxface.morphable.gaze import gaze_degrees, looking
from jaxface.morphable.parameters import FaceParameters, group_width
from jaxface.morphable.rotations import axis_angle_to_matrix
from jaxface.vocabulary import EXPRESSION_NAMES
from jaxface.vocabulary import Basis as Basis  # part of this module's surface

JAW_OPEN = 0.3104
"""Radians about x for a unit of the embedded head's expression ``jaw_open``: by how far it parts
the lips (landmarks 62 and 66) over their distance in front of the contour's ends (0 and 16), about
which the jaw is taken to turn. The coefficient moves along a line and the jaw along an arc, so the
two agree for small openings; at 1 the turn opens 14% less."""

JAW_LEFT = -0.1131
"""Radians about y of ``jaw_left`` at 1, by how far the chin (8) moves across; to the image's left,
so negative."""

ARKIT_JAW_OPEN = 0.4071
"""Radians about x for version 3's ``jawOpen`` at 1, by the same landmarks as `JAW_OPEN`."""

ARKIT_JAW_SIDE = 0.0962
"""Radians about y of ``jawLeft`` at 1, by the chin as `JAW_LEFT`; of ``jawRight`` the negative.
Left is the person's own, the image's right, so positive."""

STD_FLOOR = 1e-6
"""Deviations below this count as this in `Motion.rescaled`."""

MOTION_GROUPS = ("pose", "expression")
"""PIE's semantic groups that motion determines."""


@struct.dataclass
class Motion:
    """The motion of a face; a pytree whose arrays have one row for each frame.

    Attributes:
        rotation: [T, 3], pitch, yaw and roll in radians.
        jaw: [T, 3], radians; None for the bases "basel" and "arkit", whose jaw is not apart from
            their expressions.
        expression: [T, E], coefficients of `basis`: 64, DECA's 50, or ARKit's 52. With the bases of
            the embedded world some of them repeat jaw and gaze, and where they differ jaw and gaze
            count.
        basis: see `Basis`.
        gaze: [T, 2], degrees; None for other bases than "anatomical".
    """

    rotation: Any
    jaw: Any
    expression: Any
    basis: Basis = struct.field(pytree_node=False)
    gaze: Any = None

    def __len__(self) -> int:
        return len(self.rotation)

    def __getitem__(self, frames: int | slice | np.ndarray) -> "Motion":
        """Some of the frames, in any form that an array's rows are chosen by; one is [1, ...]."""
        rows = np.array([frames]) if isinstance(frames, int) else frames
        return jax.tree.map(lambda leaf: leaf[rows], self)

    @property
    def degrees(self) -> Any:
        """Pitch, yaw and roll in degrees, [T, 3]."""
        return self.rotation * (180.0 / np.pi)

    def mean(self) -> "Motion":
        """The mean of the frames, as one frame."""
        return jax.tree.map(lambda leaf: leaf.mean(axis=0, keepdims=True), self)

    def relative(self, *, to: "Motion") -> "Motion":
        """How the motion differs from another, number by number.

        Args:
            to: of T frames, or of one for all.

        Raises:
            ValueError: the two have different bases.
        """
        self._check_basis("relative", to)
        return jax.tree.map(lambda leaf, other: leaf - other, self, to)

    def plus(self, change: "Motion") -> "Motion":
        """This motion, of T frames or one, with a difference of T frames added.

        A change in another basis moves rotation and jaw, and leaves expression and gaze: one
        frame's stays one row.
        """
        if self.basis == change.basis:
            return jax.tree.map(lambda leaf, other: leaf + other, self, change)
        moved = None if self.jaw is None or change.jaw is None else self.jaw + change.jaw
        return Motion(
            rotation=self.rotation + change.rotation,
            jaw=self.jaw if moved is None else moved,
            expression=self.expression,
            basis=self.basis,
            gaze=self.gaze,
        )

    def rescaled(self, *, driver: "Motion", subject: "Motion") -> "Motion":
        """The motion with the driver's mean and deviation replaced by the subject's.

        Each number is standardised by the mean and the standard deviation of the driver's clip and
        rescaled by those of the subject's (PVP, appendix B; deviations over all frames, no less
        than `STD_FLOOR`).

        Args:
            driver: the clip that this motion is of.
            subject: the subject's frames.

        Raises:
            ValueError: the bases differ.
        """
        self._check_basis("rescaled", driver)
        self._check_basis("rescaled", subject)

        def rescale(leaf: Any, given: Any, wanted: Any) -> Any:
            own = given.std(axis=0).clip(STD_FLOOR)
            return (leaf - given.mean(axis=0)) / own * wanted.std(axis=0) + wanted.mean(axis=0)

        return jax.tree.map(rescale, self, driver, subject)

    def _check_basis(self, owner: str, other: "Motion") -> None:
        if other.basis != self.basis:
            raise ValueError(
                f"Motion.{owner}: expected expressions of the basis {self.basis!r}, got "
                f"{other.basis!r}; read both faces with one model."
            )


def motion_of_pie(face: FaceParameters, *, basis: Basis = "embedded") -> Motion:
    """The motion in PIE's parameters of T frames.

    Args:
        face: of the frames.
        basis: "embedded", "anatomical" or "basel": the face model of the suite that read them.

    Raises:
        ValueError: another basis.
    """
    if basis not in ("embedded", "anatomical", "basel"):
        raise ValueError(
            f"motion_of_pie: basis must be 'arkit', 'embedded' or 'basel', got {basis!r}."
        )
    jaw = gaze = None
    if basis == "embedded":
        coefficients = face.expression[:, _JAW_PLACES] * _JAW_RADIANS
        jaw = jnp.pad(coefficients, ((0, 0), (0, 1)))
    elif basis == "anatomical":
        opened, left, right = jnp.moveaxis(face.expression[:, _ARKIT_JAW_PLACES], -1, 0)
        turns = [ARKIT_JAW_OPEN * opened, ARKIT_JAW_SIDE * (left - right), jnp.zeros_like(left)]
        jaw = jnp.stack(turns, axis=-1)
        gaze = gaze_degrees(face.expression)
    return Motion(face.rotation, jaw, face.expression, basis, gaze)


def motion_of_deca(face: FlameParameters) -> Motion:
    """The motion in DECA's parameters of T frames; DECA has no neck, so the head's rotation is all.

    Raises:
        ValueError: `face.pose` is not [T, 6].
    """
    if face.pose.ndim != 2 or face.pose.shape[1] != 6:
        raise ValueError(f"motion_of_deca: pose must be [T, 6], got {list(face.pose.shape)}.")
    head, jaw = face.pose[:, :3], face.pose[:, 3:]
    return Motion(euler_angles(axis_angle_to_matrix(head)), jaw, face.expression, "flame")


def motion_of_arkit(rotations: Array, coefficients: Array) -> Motion:
    """The motion in a head's rotations and ARKit's units, as MediaPipe gives them.

    Args:
        rotations: [T, 3, 3] from the head's axes to the camera's.
        coefficients: [T, 52] in [0, 1], in the order of `jaxface.nets.landmarks.blendshapes.NAMES`:
            what means nothing, then ARKit's units but the last.

    Returns:
        Of the basis "arkit": expressions in the order of `ARKIT_UNITS`, with no tongue.

    Raises:
        ValueError: other shapes.
    """
    count = len(ARKIT_UNITS)
    if rotations.shape[1:] != (3, 3) or coefficients.shape != (len(rotations), count):
        raise ValueError(
            f"motion_of_arkit: expected [T, 3, 3] and [T, {count}], got {list(rotations.shape)} "
            f"and {list(coefficients.shape)}."
        )
    units = jnp.pad(coefficients[:, 1:], ((0, 0), (0, 1)))
    return Motion(euler_angles(rotations), None, units, "arkit")


def motion_names() -> tuple[str, ...]:
    """What `measured` knows: angles, the expressions of `EXPRESSIONS`, ARKit's units."""
    return tuple(named_parameters("anatomical"))


def measured(motion: Motion, names: Sequence[str]) -> Array:
    """Motion in the numbers that users name: [T, K].

    Args:
        motion: of the basis "arkit".
        names: out of `motion_names`: angles in degrees; expressions and units in ARKit's units.

    Raises:
        ValueError: another basis, or an unknown name; the message gives the nearest.
    """
    if motion.basis != "arkit":
        raise ValueError(f"measured: expected motion of the basis 'arkit', got {motion.basis!r}.")
    columns = []
    for name in names:
        group, places = named_parameter(name, "anatomical")
        values = motion.degrees if group == "pose" else motion.expression
        columns.append(values[:, np.array(places)].mean(axis=1))
    return jnp.stack(columns, axis=1)


def euler_angles(matrices: Array) -> Array:
    """Pitch, yaw and roll of Rz(roll) Ry(yaw) Rx(pitch): [..., 3, 3] to [..., 3], radians.

    The inverse of `jaxface.morphable.camera.rotation_matrix` for yaws within +-pi/2.
    """
    r = matrices
    pitch = jnp.arctan2(r[..., 2, 1], r[..., 2, 2])
    yaw = jnp.arctan2(-r[..., 2, 0], jnp.hypot(r[..., 2, 1], r[..., 2, 2]))
    roll = jnp.arctan2(r[..., 1, 0], r[..., 0, 0])
    return jnp.stack([pitch, yaw, roll], axis=-1)


def pie_group(motion: Motion, group: str, *, face: Basis | None = None) -> Array:
    """A semantic group of PIE's parameters with this motion, 0 where motion says nothing.

    Args:
        motion: of T frames.
        group: one of `MOTION_GROUPS`.
        face: the basis of the parameters; default: the motion's, "embedded" for FLAME's.

    Returns:
        [T, P], see `FaceParameters.group`: the pose's translation is 0; of a motion in another
        basis than `face`, all expressions are 0 but the jaw's.

    Raises:
        ValueError: another group.
    """
    width = _width("pie_group", group)
    if group == "pose":
        return jnp.pad(motion.rotation, ((0, 0), (0, width - 3)))
    face = face or ("embedded" if motion.basis == "flame" else motion.basis)
    own = motion.basis == face
    values = jnp.broadcast_to(motion.expression if own else 0.0, (len(motion), width))
    if motion.jaw is None or face not in _JAW:
        return values
    if face == "embedded":
        return values.at[:, _JAW_PLACES].set(motion.jaw[:, :2] / _JAW_RADIANS)
    if own and motion.gaze is not None:
        values = _looking(values, motion.gaze)
    across = motion.jaw[:, 1] / ARKIT_JAW_SIDE
    jaw = [motion.jaw[:, 0] / ARKIT_JAW_OPEN, jnp.maximum(across, 0), jnp.maximum(-across, 0)]
    return values.at[:, _ARKIT_JAW_PLACES].set(jnp.stack(jaw, axis=-1))


def _looking(expression: Array, gaze: Array) -> Array:
    """Expressions whose eyes look at a gaze; those that do already keep their two eyes' own."""
    near = jnp.abs(gaze_degrees(expression) - gaze).max(axis=-1, keepdims=True) < _SAME_GAZE
    return jnp.where(near, expression, looking(expression, gaze))


def pie_group_given(group: str, *, driver: Basis, face: Basis) -> np.ndarray:
    """Which numbers of a semantic group of PIE's a driver's motion determines.

    Args:
        group: one of `MOTION_GROUPS`.
        driver: the basis of the driver's expressions.
        face: the basis of the parameters, "embedded", "anatomical" or "basel".

    Returns:
        [P] bool. Of the pose: the rotation. Of the expression: all in one basis; the jaw's between
        FLAME and either version of the embedded world, and between these.

    Raises:
        ValueError: another group, or the driver determines none of it.
    """
    given = np.zeros(_width("pie_group_given", group), bool)
    if group == "pose":
        given[:3] = True
    elif driver == face:
        given[:] = True
    elif face in _JAW and driver != "basel":
        given[_JAW[face]] = True
    else:
        raise ValueError(
            f"a driver's expressions of the basis {driver!r} say nothing of {face!r}; read both "
            "faces with one model, or drive the pose alone."
        )
    return given


def _width(owner: str, group: str) -> int:
    if group not in MOTION_GROUPS:
        raise ValueError(
            f"{owner}: group must be one of {', '.join(MOTION_GROUPS)}; got {group!r}."
        )
    return group_width(group)


_JAW_PLACES = np.array([EXPRESSION_NAMES.index("jaw_open"), EXPRESSION_NAMES.index("jaw_left")])
_JAW_RADIANS = np.array([JAW_OPEN, JAW_LEFT], np.float32)
_ARKIT_JAW_PLACES = np.array([unit_index(name) for name in ("jawOpen", "jawLeft", "jawRight")])
_JAW = {"embedded": _JAW_PLACES, "anatomical": _ARKIT_JAW_PLACES}
# Degrees, of float32 sums.
_SAME_GAZE = 1e-3
