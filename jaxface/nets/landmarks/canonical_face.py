"""MediaPipe's canonical face: the mesh of a head that looks straight ahead, and a head's rotation.

``geometry_pipeline_metadata_landmarks.binarypb`` of MediaPipe's face landmarker has 468 vertices in
centimetres, x to the image's right, y up, z towards the camera, and weights of the points that the
pose is fitted to. MediaPipe fits a similarity by weighted least squares ("Procrustes") after it has
undone a camera of a field of view of 63 degrees. Portraits are cut out of images of other cameras,
so here the points are taken as they are, orthographically.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.variables import Buffer


@dataclasses.dataclass(frozen=True)
class CanonicalFaceConfig:
    """Its size.

    Args:
        points: of the mesh, the first ones of `FaceMesh`'s.

    Raises:
        ValueError: for fewer than 3.
    """

    points: int = 468

    def __post_init__(self) -> None:
        if self.points < 3:
            raise ValueError(f"CanonicalFaceConfig.points: expected at least 3, got {self.points}")


class CanonicalFace(nnx.Module):
    """A face in its own axes; nothing of it is trained."""

    def __init__(self, config: CanonicalFaceConfig, *, rngs: nnx.Rngs):
        self.config = config
        points = jax.random.normal(rngs.params(), (config.points, 3))
        self.vertices = Buffer(points)
        self.weights = Buffer(jnp.ones((config.points,)))

    def __call__(self, points: Float[Array, "n p 3"]) -> Float[Array, "n 3 3"]:
        """The head's rotation: weighted orthogonal Procrustes (Kabsch 1976).

        Args:
            points: [N, at least `points`, 3] of `FaceMesh`, in square pixels of any size: y down,
                z in x's scale and smaller towards the camera.

        Returns:
            [N, 3, 3] that turns the canonical face, x right, y up, z towards the camera.

        Raises:
            ValueError: for points of another shape.
        """
        count = self.config.points
        if points.ndim != 3 or points.shape[1] < count or points.shape[2] != 3:
            raise ValueError(f"CanonicalFace: expected [N, {count}, 3], got {list(points.shape)}")
        share = self.weights[...] / jnp.sum(self.weights[...])
        seen = points[:, :count] * np.array([1.0, -1.0, -1.0], np.float32)
        return rotation_between(seen, self.vertices[...], share)


def rotation_between(
    seen: Float[Array, "n p 3"], own: Float[Array, "p 3"], share: Float[Array, " p"]
) -> Float[Array, "n 3 3"]:
    """The rotations that turn points to what is seen of them, wherever and at whatever size.

    Args:
        seen: [N, P, 3].
        own: [P, 3], in the same axes.
        share: [P], each point's weight; their sum is 1.

    Returns:
        [N, 3, 3].
    """
    seen = seen - jnp.einsum("p,npc->nc", share, seen)[:, None]
    own = own - share @ own
    exact = jax.lax.Precision.HIGHEST
    covariance = jnp.einsum("npi,p,pj->nij", seen, share, own, precision=exact)
    left, _, right = jnp.linalg.svd(covariance)
    # No mirror image: the axis of the least variance turns round instead.
    sign = jnp.linalg.det(left @ right)
    left = left.at[:, :, 2].multiply(sign[:, None])
    return jnp.matmul(left, right, precision=exact)
