"""Rows of W+: StyleGAN2's, two for each resolution, and MobileStyleGAN's, one for each modulation.

The student's W is its teacher's, and a row steers what its layer makes, so rows correspond by
resolution: the constant's layer to row 0; in a block that doubles the side to 8 * 2^i the
upsampling and the first convolution to row 1 + 2 i, where the teacher upsamples and convolves at
once, and the second convolution to row 2 + 2 i; the image head, which makes the full image out of
half its side, to the next row, 15 at 1024 px. The teacher's last two rows have no counterpart.

Through these maps what is published for StyleGAN2's FFHQ generator applies: codes of encoders
(`as_rows_of`, `to_student`), directions of W+ (a suite gives them in the student's rows), edits of
some rows of W (`student_rows`) and networks that edit W+ (`through_teacher`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxface.latents import num_ws
from jaxface.nets.mobile_stylegan.config import MobileGeneratorConfig


def teacher_rows(resolution: int = 1024) -> tuple[int, ...]:
    """For each row of the student's W+, the row of StyleGAN2's that works at its resolution.

    Args:
        resolution: of both generators, at least 16.
    """
    blocks = resolution.bit_length() - 4
    if blocks < 1:
        raise ValueError(f"resolution: expected at least 16, got {resolution}")
    rows = [0]
    for i in range(blocks):
        rows += [1 + 2 * i, 1 + 2 * i, 2 + 2 * i]
    return (*rows, 1 + 2 * blocks)


def to_student(w_plus: Float[Array, "*n l d"], *, resolution: int = 1024) -> Float[Array, "*n k d"]:
    """StyleGAN2's W+, such as an encoder gives, as the student's.

    Args:
        w_plus: [..., 18, w_dim] at 1024 px.

    Returns:
        [..., 23, w_dim].

    Raises:
        ValueError: for another number of rows.
    """
    _check(w_plus, num_ws(resolution))
    return jnp.asarray(w_plus)[..., np.array(teacher_rows(resolution)), :]


def to_teacher(w_plus: Float[Array, "*n l d"], *, resolution: int = 1024) -> Float[Array, "*n k d"]:
    """The student's W+ as StyleGAN2's: the mean of the rows that belong to one.

    The last two copy the last that has a counterpart. `to_student` of the result is the given W+
    where rows that share a teacher's were equal.

    Args:
        w_plus: [..., 23, w_dim] at 1024 px.

    Returns:
        [..., 18, w_dim].

    Raises:
        ValueError: for another number of rows.
    """
    rows, count = np.array(teacher_rows(resolution)), num_ws(resolution)
    _check(w_plus, len(rows))
    means = np.zeros((count, len(rows)), np.float32)
    means[rows, np.arange(len(rows))] = 1
    means[rows.max() + 1 :] = means[rows.max()]
    means /= means.sum(axis=1, keepdims=True)
    return jnp.einsum(
        "ts,...sd->...td", means, jnp.asarray(w_plus), precision=jax.lax.Precision.HIGHEST
    )


def as_rows_of(config: Any, w_plus: Float[Array, "n l d"]) -> Float[Array, "n k d"]:
    """W+ in a generator's own rows: of a student `to_student` of its teacher's, else as it is.

    Args:
        config: of the generator.
        w_plus: [N, L, w_dim] of its own rows or, for a student, of its teacher's.

    Returns:
        [N, the generator's rows, w_dim].

    Raises:
        ValueError: for another number of rows.
    """
    if w_plus.shape[1] == config.num_ws:
        return w_plus
    if w_plus.shape[1] not in rows_known(config):
        raise ValueError(f"w_plus: expected [N, {config.num_ws}, w_dim], got {list(w_plus.shape)}")
    return to_student(w_plus, resolution=config.resolution)


def rows_known(config: Any) -> tuple[int, ...]:
    """Of W+ that a generator can be given through `as_rows_of`: its own, and its teacher's."""
    if isinstance(config, MobileGeneratorConfig):
        return (config.num_ws, num_ws(config.resolution))
    return (config.num_ws,)


def through_teacher(
    edit: Callable[[jax.Array], jax.Array],
    w_plus: Float[Array, "n k d"],
    *,
    resolution: int = 1024,
) -> Float[Array, "n k d"]:
    """An edit of StyleGAN2's W+, such as StyleCLIP's latent mapper, applied to the student's.

    Args:
        edit: [N, 18, w_dim] to the same, at 1024 px.
        w_plus: [N, 23, w_dim].

    Returns:
        w_plus, each row moved as the edit moves the teacher's that works at its resolution.

    Raises:
        ValueError: for another number of rows.
    """
    before = to_teacher(w_plus, resolution=resolution)
    return w_plus + to_student(edit(before) - before, resolution=resolution)


def student_rows(rows: Sequence[int], *, resolution: int = 1024) -> tuple[int, ...]:
    """The student's rows that some of StyleGAN2's rows steer: for edits confined to layers.

    Args:
        rows: from 0, below 18 at 1024 px.

    Raises:
        ValueError: for rows that StyleGAN2 does not have.
    """
    if any(not 0 <= row < num_ws(resolution) for row in rows):
        raise ValueError(f"rows: expected 0 to {num_ws(resolution) - 1}, got {list(rows)}")
    return tuple(i for i, row in enumerate(teacher_rows(resolution)) if row in set(rows))


def _check(w_plus: jax.Array, rows: int) -> None:
    if w_plus.ndim < 2 or w_plus.shape[-2] != rows:
        raise ValueError(f"w_plus: expected [..., {rows}, w_dim], got {list(w_plus.shape)}")
