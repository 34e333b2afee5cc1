"""Net_3D: what is read of a face, and its 3D shape, by either of two face models.

`PieFaces` reads PIE's 257 parameters, of the embedded world or a Basel Face Model; `FlameFaces`
DECA's 236, as the authors do. Both give shapes in the pixels of an image of `SIDE`, so that the
losses keep the size that their published weights were chosen for.
"""

from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from jaxface.errors import UsageError
from jaxface.methods.direction_matrix.columns import JAW, expression_place
from jaxface.morphable import BaselModel, FaceParameters
from jaxface.morphable.annotation import project_landmarks
from jaxface.morphable.bases import basis_of, models_of
from jaxface.morphable.camera import project, transform
from jaxface.morphable.flame import FLAME
from jaxface.morphable.flame_parameters import FlameParameters
from jaxface.morphable.model import face_geometry
from jaxface.morphable.models import FaceModels
from jaxface.morphable.motion import Basis, Motion, motion_of_deca, motion_of_pie
from jaxface.morphable.orthographic import weak_perspective
from jaxface.morphable.rotations import euler_to_axis_angle
from jaxface.nets import DECAEncoder
from jaxface.suite import Suite
from jaxface.vocabulary import ANGLES

SIDE = 224
"""Pixels of the image that shapes are in: DECA's."""
SCALE = 8.0
"""Of the camera that the authors put in the place of every face's own, so that only the shape
counts: 8 * 112 pixels for a metre."""
BOX = 1.25 * 1.1
"""DECA's crop in units of the mean of the landmark box's sides (``decalib/datasets``)."""

_READERS = ("deca", "face_model", "flame", "landmarks", "reconstruction")

AngleReading = Literal["exact", "code"]
"""How a face with one angle replaced becomes an axis-angle vector. "code": by a rotation whose
order of angles is another one, so that the pose of a face that is also turned otherwise is some
degrees off."""


class Shape(NamedTuple):
    """Of N faces, in pixels of `SIDE`.

    Attributes:
      vertices: [N, V, 3].
      landmarks: [N, 68, 2].
    """

    vertices: jax.Array
    landmarks: jax.Array


@struct.dataclass
class PieFaces:
    """Faces by PIE's parameters. A pytree.

    The vertices are those of the face, from chin to forehead and ear to ear, where the model has a
    region; they are seen by the model's own camera, depth at the scale of the head's middle.

    Attributes:
      network: portraits to parameters.
      models: of the face.
      basis: "embedded", "anatomical" or "basel".
    """

    network: Any
    models: FaceModels
    basis: Basis = struct.field(pytree_node=False)

    def read(self, portraits: jax.Array) -> FaceParameters:
        """The faces of portraits [N, R, R, 3] in [-1, 1]; differentiable."""
        return FaceParameters.from_flat(self.network(portraits))

    def motion(self, faces: FaceParameters) -> Motion:
        """Pose and expression of N faces."""
        return motion_of_pie(faces, basis=self.basis)

    def shape(self, faces: FaceParameters) -> Shape:
        """The 3D shape of N faces, where they are in the portrait."""
        model = self.models.region
        points = transform(face_geometry(model, faces), faces.rotation, faces.translation)
        across = project(points, SIDE, model.camera)[..., :2]
        depth = points[..., 2:] * (model.camera.focal_length * SIDE / model.camera.distance)
        landmarks = project_landmarks(self.models.landmarks, faces, SIDE)
        return Shape(jnp.concatenate([across, depth], axis=-1), landmarks)

    def moved(self, source: FaceParameters, target: FaceParameters) -> FaceParameters:
        """The source's faces, where they are, with the targets' rotation and expression."""
        return replace(source, rotation=target.rotation, expression=target.expression)

    def with_values(
        self, source: FaceParameters, names: tuple[str, ...], values: jax.Array, chosen: jax.Array
    ) -> FaceParameters:
        """The source's faces with one number of each replaced.

        Args:
          source: N faces.
          names: of the columns.
          values: [N, K], all numbers.
          chosen: [N], the place of the one that is replaced.
        """
        rotation, expression = source.rotation, source.expression
        for column, name in enumerate(names):
            wanted, here = values[:, column], chosen == column
            place = expression_place(name)
            if place is None:
                angle = ANGLES.index(name)
                new = jnp.where(here, jnp.deg2rad(wanted), rotation[:, angle])
                rotation = rotation.at[:, angle].set(new)
            else:
                new = jnp.where(here, wanted, expression[:, place])
                expression = expression.at[:, place].set(new)
        return replace(source, rotation=rotation, expression=expression)


@struct.dataclass
class FlameFaces:
    """Faces by DECA's parameters. A pytree.

    Attributes:
      encoder: DECA's.
      flame: the model.
      landmarks: where the face is, for DECA's crop.
      angles: see `AngleReading`.
    """

    encoder: DECAEncoder
    flame: FLAME
    landmarks: Any
    angles: AngleReading = struct.field(pytree_node=False, default="exact")

    @property
    def basis(self) -> Basis:
        """FLAME's."""
        return "flame"

    def read(self, portraits: jax.Array) -> FlameParameters:
        """The faces of portraits [N, R, R, 3] in [-1, 1]; the crop's place has no gradient."""
        points = jax.lax.stop_gradient(self.landmarks(portraits))
        boxes = jnp.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
        return FlameParameters.from_flat(self.encoder(deca_crops(portraits, boxes)))

    def motion(self, faces: FlameParameters) -> Motion:
        """Pose and expression of N faces."""
        return motion_of_deca(faces)

    def shape(self, faces: FlameParameters) -> Shape:
        """The 3D shape of N faces before a camera of `SCALE`, as the authors' ``DECA.decode``."""
        heads = self.flame(faces.shape, faces.expression, faces.pose)
        camera = jnp.tile(jnp.array([SCALE, 0.0, 0.0]), (len(faces.shape), 1))
        seen = [weak_perspective(x, camera) for x in (heads.vertices, heads.landmarks_2d)]
        vertices, landmarks = ((x + 1) * (SIDE / 2) for x in seen)
        return Shape(vertices, landmarks[..., :2])

    def moved(self, source: FlameParameters, target: FlameParameters) -> FlameParameters:
        """The source's faces with the targets' rotation, whole jaw, and all expressions."""
        return replace(source, pose=target.pose, expression=target.expression)

    def with_values(
        self, source: FlameParameters, names: tuple[str, ...], values: jax.Array, chosen: jax.Array
    ) -> FlameParameters:
        """The source's faces with one number of each replaced; see `PieFaces.with_values`."""
        pose, expression = source.pose, source.expression
        turned, angles = jnp.zeros(len(chosen), bool), motion_of_deca(source).degrees
        for column, name in enumerate(names):
            wanted, here = values[:, column], chosen == column
            place = expression_place(name)
            if name in ANGLES:
                turned = turned | here
                angle = ANGLES.index(name)
                angles = angles.at[:, angle].set(jnp.where(here, wanted, angles[:, angle]))
            elif name == JAW:
                pose = pose.at[:, 3].set(jnp.where(here, wanted, pose[:, 3]))
            else:
                new = jnp.where(here, wanted, expression[:, place])
                expression = expression.at[:, place].set(new)
        head = _head_rotation(jnp.deg2rad(angles), self.angles)
        pose = pose.at[:, :3].set(jnp.where(turned[:, None], head, pose[:, :3]))
        return replace(source, pose=pose, expression=expression)


class Faces(Protocol):
    """What both have in common; faces are a pytree of N rows in whichever parameters."""

    @property
    def basis(self) -> Basis:
        """Whose expressions are read."""
        ...

    def read(self, portraits: jax.Array) -> Any:
        """The faces of portraits [N, R, R, 3] in [-1, 1]; differentiable."""
        ...

    def motion(self, faces: Any) -> Motion:
        """Pose and expression of N faces."""
        ...

    def shape(self, faces: Any) -> Shape:
        """The 3D shape of N faces."""
        ...

    def moved(self, source: Any, target: Any) -> Any:
        """The source's faces with the targets' pose and expression."""
        ...

    def with_values(
        self, source: Any, names: tuple[str, ...], values: jax.Array, chosen: jax.Array
    ) -> Any:
        """The source's faces with one number of each replaced; see `PieFaces.with_values`."""
        ...


def faces_of(networks: Any, *, angles: AngleReading = "exact") -> Faces:
    """What reads faces, out of networks by role: DECA and FLAME, or else a reconstruction network.

    Raises:
      UsageError: neither is whole.
    """
    if "deca" in networks and "flame" in networks:
        if "landmarks" not in networks:
            raise UsageError("DECA's crop needs a network of role 'landmarks'")
        return FlameFaces(networks["deca"], networks["flame"], networks["landmarks"], angles)
    if "reconstruction" not in networks:
        raise UsageError(
            "faces are read by a network of role 'reconstruction', or by 'deca' "
            "with 'flame' and 'landmarks'; name a suite that has them"
        )
    reader, basel = networks["reconstruction"], networks.get("face_model")
    basel = basel if isinstance(basel, BaselModel) else None
    return PieFaces(reader, models_of(reader, basel), basis_of(reader, basel))


def suite_faces(suite: Suite) -> Faces:
    """What reads faces, out of a suite's networks.

    Raises:
      UsageError: the suite has neither whole; see `faces_of`.
    """
    return faces_of(_Roles(suite))


def reading_roles(suite: Suite) -> tuple[str, ...]:
    """The suite's networks that may decide what `suite_faces` reads; whatever is kept of readings
    names their digests."""
    return tuple(role for role in _READERS if role in suite)


class _Roles:
    """A suite as networks by role."""

    def __init__(self, suite: Suite):
        self._suite = suite

    def __contains__(self, role: str) -> bool:
        return role in self._suite

    def __getitem__(self, role: str) -> Any:
        return getattr(self._suite, role)

    def get(self, role: str) -> Any:
        """The network, or None."""
        return getattr(self._suite, role) if role in self else None


def deca_crops(portraits: jax.Array, boxes: jax.Array) -> jax.Array:
    """The squares that DECA sees: [N, 224, 224, 3] in [-1, 1], black outside.

    As the authors sample them, by ``kornia.warp_affine`` of kornia 0.4, bilinear: places are
    scaled as if corner pixels were at the edges, and sampled as if they were not, so that a crop
    is a fraction of a pixel from DECA's own.

    Args:
      portraits: [N, R, R, 3] in [-1, 1].
      boxes: [N, 4], left, top, right and bottom of the landmarks, in pixels of R.
    """
    size = portraits.shape[1]
    low, high = boxes[:, :2], boxes[:, 2:]
    side = jnp.floor(BOX * jnp.sum(high - low, axis=1, keepdims=True) / 2)
    corner = (low + high) / 2 - side / 2
    steps = (jnp.arange(SIDE, dtype=jnp.float32) + 0.5) / SIDE
    places = corner[:, None] + side[:, None] * steps[:, None]  # [N, SIDE, 2], x and y
    places = places * (size / (size - 1)) - 0.5
    across = _interpolation(places[..., 0], size)
    down = _interpolation(places[..., 1], size)
    crops = jnp.einsum("nij,njkc,nlk->nilc", down, portraits + 1.0, across, precision="highest")
    return crops - 1.0


def _interpolation(places: jax.Array, size: int) -> jax.Array:
    """Weights [N, S, size] of pixels at places [N, S], zero outside the image."""
    distance = jnp.abs(places[..., None] - jnp.arange(size))
    return jnp.maximum(1.0 - distance, 0.0)


def _head_rotation(angles: jax.Array, reading: AngleReading) -> jax.Array:
    """Axis-angle vectors [N, 3] of pitch, yaw and roll [N, 3] in radians."""
    if reading == "exact":  # Rz Ry Rx is the inverse of Rx Ry Rz with all angles reversed
        return -euler_to_axis_angle(-angles)
    pitch, yaw, roll = jnp.moveaxis(angles, -1, 0)
    axis = euler_to_axis_angle(jnp.stack([-yaw, pitch, roll], axis=-1))
    return jnp.stack([axis[..., 1], -axis[..., 0], axis[..., 2]], axis=-1)
