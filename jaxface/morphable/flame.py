"""FLAME (Li et al. 2017): a head of linear shapes with a neck, a jaw and eyes that turn.

Vertices are the template plus shape, expression and pose corrections, skinned by four joints and
the root (equations 1 and 2 of the paper, as in the FLAME.py and lbs.py of DECA). The model's data
is licensed to each user by its makers; none is shipped, and `jaxface.convert flame` reads the
user's own.

Coordinates are in metres, x to the model's left (the image's right), y up, z to the front.
Landmarks have the order of iBUG's 68 points: 17 of the contour, then 51 inside the face.
"""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from jaxface.morphable.mesh import surface_points
from jaxface.morphable.rotations import axis_angle_to_matrix, yaw_of_matrix
from jaxface.nets.variables import Buffer

NUM_LANDMARKS = 68
CONTOUR_LANDMARKS = 17
INNER_LANDMARKS = NUM_LANDMARKS - CONTOUR_LANDMARKS

# The contour is tabulated by degree of yaw: 0 to 39, then -1 to -39 (FLAME.py of DECA).
LARGEST_YAW = 39
CONTOUR_VIEWS = 2 * LARGEST_YAW + 1

# The joint whose rotation, with its ancestors', is the head's (NECK_IDX).
NECK = 1


@dataclasses.dataclass(frozen=True)
class FLAMEConfig:
    """Sizes of the model; the defaults are those of the published FLAME 2020.

    Attributes:
        parents: the joint that each joint hangs on, -1 for the root: root, neck, jaw, both eyes.
    """

    vertices: int = 5023
    faces: int = 9976
    shape: int = 300
    expression: int = 100
    parents: tuple[int, ...] = (-1, 0, 1, 1, 1)

    def __post_init__(self) -> None:
        rest = self.parents[1:]
        ordered = all(0 <= parent < joint for joint, parent in enumerate(rest, 1))
        if len(self.parents) != 5 or self.parents[0] != -1 or not ordered:
            raise ValueError(
                "FLAMEConfig.parents: expected five joints, -1 first and each other after its "
                f"parent, got {self.parents}"
            )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FlameHeads:
    """What FLAME makes of a batch of coefficients, in metres.

    Attributes:
        vertices: of the mesh.
        joints: root, neck, jaw and eyes, where the pose has put them.
        landmarks_2d: where an image's 68 landmarks lie on the surface; the contour follows the
            head's yaw (DECA's landmarks2d, before projection).
        landmarks_3d: 68 landmarks fixed on the surface, behind a turned cheek too.
    """

    vertices: Array  # [N, V, 3]
    joints: Array  # [N, 5, 3]
    landmarks_2d: Array  # [N, 68, 3]
    landmarks_3d: Array  # [N, 68, 3]


class FLAME(nnx.Module):
    """The model's data and the mesh that it gives."""

    def __init__(self, config: FLAMEConfig, *, rngs: nnx.Rngs):
        del rngs  # nothing is drawn: the data is the user's
        self.config = config
        v, joints = config.vertices, len(config.parents)
        self.template = Buffer(jnp.zeros((v, 3)))
        self.shape_basis = Buffer(jnp.zeros((config.shape, v, 3)))
        self.expression_basis = Buffer(jnp.zeros((config.expression, v, 3)))
        self.pose_basis = Buffer(jnp.zeros((9 * (joints - 1), v, 3)))
        self.joint_regressor = Buffer(jnp.zeros((joints, v)))
        self.skinning = Buffer(jnp.zeros((v, joints)))
        self.faces = Buffer(jnp.zeros((config.faces, 3), jnp.int32))
        self.inner_faces = Buffer(jnp.zeros((INNER_LANDMARKS,), jnp.int32))
        self.inner_coordinates = Buffer(jnp.zeros((INNER_LANDMARKS, 3)))
        views = (CONTOUR_VIEWS, CONTOUR_LANDMARKS)
        self.contour_faces = Buffer(jnp.zeros(views, jnp.int32))
        self.contour_coordinates = Buffer(jnp.zeros((*views, 3)))
        self.landmark_faces = Buffer(jnp.zeros((NUM_LANDMARKS,), jnp.int32))
        self.landmark_coordinates = Buffer(jnp.zeros((NUM_LANDMARKS, 3)))

    def __call__(
        self,
        shape: Array,
        expression: Array,
        pose: Array,
        *,
        neck: Array | None = None,
        eyes: Array | None = None,
    ) -> FlameHeads:
        """The posed heads.

        Args:
            shape: [N, k], the first k identity coefficients, in standard deviations.
            expression: [N, k], the first k expression coefficients.
            pose: [N, 6], axis-angle vectors of the whole head (about the root) and of the jaw.
            neck: [N, 3], axis-angle; at rest by default, as in DECA.
            eyes: [N, 6], axis-angle of the left and the right eye; at rest by default.

        Raises:
            ValueError: for shapes that do not fit.
        """
        n = len(shape)
        neck = jnp.zeros((n, 3)) if neck is None else neck
        eyes = jnp.zeros((n, 6)) if eyes is None else eyes
        self._check(shape=shape, expression=expression, pose=pose, neck=neck, eyes=eyes)
        turns = jnp.concatenate([pose[:, :3], neck, pose[:, 3:], eyes], axis=1)
        rotations = axis_angle_to_matrix(turns.reshape(n, -1, 3))
        rest = (
            self.template[...]
            + _blend(shape, self.shape_basis[...])
            + _blend(expression, self.expression_basis[...])
        )
        joints = jnp.einsum("jv,nvc->njc", self.joint_regressor[...], rest, precision="highest")
        bend = (rotations[:, 1:] - jnp.eye(3)).reshape(n, -1)
        posed = rest + _blend(bend, self.pose_basis[...])
        whole, places = self._chain(rotations, joints)
        # Each vertex moves with its joints' transformations, averaged by its weights.
        shift = places - jnp.einsum("njab,njb->nja", whole, joints, precision="highest")
        weights = self.skinning[...]
        turn = jnp.einsum("vj,njab->nvab", weights, whole, precision="highest")
        vertices = jnp.einsum("nvab,nvb->nva", turn, posed, precision="highest")
        vertices = vertices + jnp.einsum("vj,nja->nva", weights, shift, precision="highest")
        return FlameHeads(
            vertices=vertices,
            joints=places,
            landmarks_2d=self._picture_landmarks(vertices, whole[:, NECK]),
            landmarks_3d=self.at_landmarks(vertices),
        )

    def at_landmarks(self, values: Array) -> Array:
        """Values of vertices, [N, V, C], at the 68 fixed landmarks: [N, 68, C]."""
        return surface_points(
            values,
            self.faces[...],
            self.landmark_faces[...],
            self.landmark_coordinates[...],
        )

    def _chain(self, rotations: Array, joints: Array) -> tuple[Array, Array]:
        """Rotations [N, 5, 3, 3] and places [N, 5, 3] of the joints after all their ancestors'."""
        turned, places = [rotations[:, 0]], [joints[:, 0]]
        for joint, parent in enumerate(self.config.parents[1:], 1):
            bone = joints[:, joint] - joints[:, parent]
            places.append(
                places[parent] + jnp.einsum("nab,nb->na", turned[parent], bone, precision="highest")
            )
            turned.append(jnp.matmul(turned[parent], rotations[:, joint], precision="highest"))
        return jnp.stack(turned, axis=1), jnp.stack(places, axis=1)

    def _picture_landmarks(self, vertices: Array, head: Array) -> Array:
        degrees = jnp.minimum(jnp.rad2deg(yaw_of_matrix(head)), LARGEST_YAW)
        degrees = jnp.maximum(jnp.round(degrees), -LARGEST_YAW).astype(jnp.int32)
        view = jnp.where(degrees < 0, LARGEST_YAW - degrees, degrees)
        faces = self.faces[...]
        contour = surface_points(
            vertices, faces, self.contour_faces[...][view], self.contour_coordinates[...][view]
        )
        inner = surface_points(vertices, faces, self.inner_faces[...], self.inner_coordinates[...])
        return jnp.concatenate([contour, inner], axis=1)

    def _check(self, **given: Array) -> None:
        limits = {"shape": self.config.shape, "expression": self.config.expression}
        exact = {"pose": 6, "neck": 3, "eyes": 6}
        n = len(given["shape"])
        for name, array in given.items():
            if name in exact:
                fits, width = array.shape == (n, exact[name]), str(exact[name])
            else:
                fits = array.ndim == 2 and len(array) == n and array.shape[1] <= limits[name]
                width = f"at most {limits[name]}"
            if not fits:
                raise ValueError(
                    f"FLAME: expected {name} [{n}, {width}], got {list(np.shape(array))}"
                )


def _blend(coefficients: Array, basis: Array) -> Array:
    """[N, k] times the first k of [K, V, 3]: [N, V, 3]."""
    used = basis[: coefficients.shape[1]]
    return jnp.einsum("nk,kvc->nvc", coefficients, used, precision="highest")
