"""The motion of faces in photographs, read by MediaPipe's networks: pose and ARKit's units.

The mesh is that of a portrait that is aligned as FFHQ's
(`jaxface.nets.landmarks.portrait_mesh`), the rotation that of the canonical face. All is
differentiable in the images.
"""

from typing import NamedTuple

from jaxtyping import Array, Float

from jaxface.morphable.motion import Motion, motion_of_arkit
from jaxface.nets import Blendshapes, CanonicalFace, FaceMesh
from jaxface.nets.landmarks.portrait_mesh import portrait_mesh
from jaxface.suite import Suite

ROLES = ("face_mesh", "blendshapes", "canonical_face")


class MotionReader(NamedTuple):
    """What reads motion; a pytree."""

    face_mesh: FaceMesh
    blendshapes: Blendshapes
    canonical_face: CanonicalFace


def reader_of(suite: Suite) -> MotionReader:
    """The suite's networks of `ROLES`.

    Raises:
      SuiteError: it lacks one.
    """
    return MotionReader(suite.face_mesh, suite.blendshapes, suite.canonical_face)


def read_motion(reader: MotionReader, portraits: Float[Array, "n r r 3"]) -> Motion:
    """The motion of N portraits, of the basis "arkit".

    Args:
      reader: see `reader_of`.
      portraits: in [-1, 1], aligned as FFHQ's; sides up to
        `jaxface.nets.landmarks.portrait_mesh.LARGEST`, or a multiple of it.
    """
    points = read_meshes(reader, portraits)
    coefficients = reader.blendshapes(points[..., :2])
    return motion_of_arkit(reader.canonical_face(points), coefficients)


def read_meshes(reader: MotionReader, portraits: Float[Array, "n r r 3"]) -> Float[Array, "n p 3"]:
    """`portrait_mesh` by a reader's network."""
    return portrait_mesh(reader.face_mesh, portraits)
