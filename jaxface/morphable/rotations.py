"""Conversions between rotations: axis-angle vectors, Euler angles, quaternions and matrices.

FLAME's joints turn by axis-angle vectors, right-handed, in radians: the direction is the axis and
the length the angle. Euler angles here are DECA's, R = Rx(a) Ry(b) Rz(c), unlike those of the
embedded world's heads and of PIE (`camera.rotation_matrix`, Rz Ry Rx). Quaternions are (w, x, y, z)
of unit length. All functions are exact and differentiable at the identity too.
"""

import jax
import jax.numpy as jnp
from jax import Array

# Below this squared angle the first two terms of a series are exact in float32.
_SMALL = 1e-6


def _guarded(squared: Array) -> tuple[Array, Array]:
    """(is it small, a value that is safe to take the root of): both branches have gradients."""
    small = squared < _SMALL
    return small, jnp.where(small, 1.0, squared)


def axis_angle_to_matrix(vectors: Array) -> Array:
    """Rodrigues' formula, I + sin(t)/t K + (1 - cos t)/t^2 K^2, K the cross product by the vector.

    Args:
        vectors: [..., 3] in radians.

    Returns:
        [..., 3, 3].
    """
    squared = (vectors**2).sum(axis=-1)
    small, safe = _guarded(squared)
    angle = jnp.sqrt(safe)
    first = jnp.where(small, 1 - squared / 6, jnp.sin(angle) / angle)
    second = jnp.where(small, 0.5 - squared / 24, 2 * (jnp.sin(angle / 2) / angle) ** 2)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    zero = jnp.zeros_like(x)
    cross = _matrix((zero, -z, y), (z, zero, -x), (-y, x, zero))
    # K^2 = v v^T - t^2 I.
    square = vectors[..., :, None] * vectors[..., None, :] - squared[..., None, None] * jnp.eye(3)
    return jnp.eye(3) + first[..., None, None] * cross + second[..., None, None] * square


def euler_to_quaternion(angles: Array) -> Array:
    """The quaternion of Rx(a) Ry(b) Rz(c).

    Args:
        angles: [..., 3] in radians, about x, y and z.

    Returns:
        [..., 4].
    """
    cosine, sine = jnp.cos(angles / 2), jnp.sin(angles / 2)
    cx, cy, cz = cosine[..., 0], cosine[..., 1], cosine[..., 2]
    sx, sy, sz = sine[..., 0], sine[..., 1], sine[..., 2]
    return jnp.stack(
        [
            cx * cy * cz - sx * sy * sz,
            sx * cy * cz + cx * sy * sz,
            cx * sy * cz - sx * cy * sz,
            cx * cy * sz + sx * sy * cz,
        ],
        axis=-1,
    )


def euler_to_axis_angle(angles: Array) -> Array:
    """The axis-angle vector, of at most pi, of Rx(a) Ry(b) Rz(c): [..., 3] to [..., 3]."""
    quaternion = euler_to_quaternion(angles)
    # q and -q are the same rotation; the one with w >= 0 turns by at most pi.
    quaternion = jnp.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, vector = quaternion[..., 0], quaternion[..., 1:]
    squared = (vector**2).sum(axis=-1)
    small, safe = _guarded(squared)
    length = jnp.sqrt(safe)
    scale = jnp.where(small, 2 / jnp.where(small, w, 1.0), 2 * jnp.arctan2(length, w) / length)
    return scale[..., None] * vector


def yaw_of_matrix(matrices: Array) -> Array:
    """The angle about y, in [-pi/2, pi/2], of rotations read as Rz Ry Rx: [..., 3, 3] to [...].

    The angle that chooses FLAME's contour landmarks (``rot_mat_to_euler`` of its lbs.py). The
    choice is by whole degrees, so no gradient passes.
    """
    matrices = jax.lax.stop_gradient(matrices)
    across = jnp.hypot(matrices[..., 0, 0], matrices[..., 1, 0])
    return jnp.arctan2(-matrices[..., 2, 0], across)


def _matrix(*rows: tuple[Array, Array, Array]) -> Array:
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
