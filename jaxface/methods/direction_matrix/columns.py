"""What the columns of a direction matrix are: numbers of a head's pose and expression.

``pitch``, ``yaw`` and ``roll`` are degrees, with the signs of `jaxface.morphable.motion` (the
authors' yaw is the negative of this one: the lines of a converted matrix have that sign).
``jaw`` is the first component of FLAME's jaw, radians. The rest are coefficients of the basis's
expressions: the embedded world's by their names (in its version 3 ARKit's), others as
``expression_K``.
"""

import contextlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxface.errors import UsageError
from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.motion import Basis, Motion, pie_group, pie_group_given
from jaxface.nets import DirectionMatrix, LatentDirections
from jaxface.nets.edits.linear_directions import DirectionsConfig
from jaxface.suite import Suite
from jaxface.vocabulary import ANGLES, EXPRESSION_NAMES

JAW = "jaw"
NUMBERED = "expression_"

POSE, EXPRESSION = "pose", "expression"
"""The names of a matrix' directions for `jaxface edit --direction`."""
DEGREE, DEVIATION = "degree", "deviation"

_FLAME_EXPRESSIONS = 50  # that DECA gives
_PIE_EXPRESSIONS = 64


def column_names(
    basis: Basis, expressions: int, *, angles: Sequence[str] = ("yaw", "pitch", "roll")
) -> tuple[str, ...]:
    """The columns of a new matrix: angles, FLAME's jaw, the first expressions of the basis.

    Args:
      basis: "flame", "embedded", "anatomical" or "basel".
      expressions: how many.
      angles: of the head that move.

    Raises:
      ValueError: another basis, angle, or more expressions than it has.
    """
    if basis not in ("flame", "embedded", "anatomical", "basel"):
        raise ValueError(f"column_names: a matrix has no columns of the basis {basis!r}.")
    most = _FLAME_EXPRESSIONS if basis == "flame" else _PIE_EXPRESSIONS
    if not 0 <= expressions <= most or set(angles) - set(ANGLES):
        raise ValueError(
            f"column_names: expected 0 to {most} expressions and angles out of "
            f"{', '.join(ANGLES)}; got {expressions} and {', '.join(angles)}."
        )
    named = {"embedded": EXPRESSION_NAMES, "anatomical": ARKIT_UNITS}.get(basis, ())
    rest = (f"{NUMBERED}{k}" for k in range(len(named), expressions))
    jaw = (JAW,) if basis == "flame" else ()
    return (*angles, *jaw, *named[:expressions], *rest)


def expression_place(name: str) -> int | None:
    """Which expression coefficient a column is; None for an angle or the jaw.

    Raises:
      ValueError: no column is called this.
    """
    if name in ANGLES or name == JAW:
        return None
    for named in (EXPRESSION_NAMES, ARKIT_UNITS):
        if name in named:
            return named.index(name)
    number = name.removeprefix(NUMBERED)
    if not name.startswith(NUMBERED) or not number.isdecimal():
        raise ValueError(f"a column {name!r} is no angle, no jaw and no expression.")
    return int(number)


def column_values(names: Sequence[str], basis: Basis, motion: Motion) -> jax.Array:
    """The numbers of T frames, [T, K]; 0 where the motion says nothing of them.

    Args:
      names: of the columns.
      basis: whose expressions they are.
      motion: of T frames, in any basis.

    Raises:
      ValueError: an unknown column, or an expression that the basis has not.
    """
    expression = _expressions(basis, motion)
    columns = []
    for name in names:
        place = expression_place(name)
        if name in ANGLES:
            columns.append(motion.degrees[:, ANGLES.index(name)])
        elif place is None:
            columns.append(jnp.zeros(len(motion)) if motion.jaw is None else motion.jaw[:, 0])
        elif place >= expression.shape[1]:
            raise ValueError(
                f"a column {name!r} needs more expressions than the {expression.shape[1]} of "
                f"{basis!r}."
            )
        else:
            columns.append(expression[:, place])
    return jnp.stack(columns, axis=1)


def _expressions(basis: Basis, motion: Motion) -> jax.Array:
    """[T, E] of a basis; of another basis's motion 0, but for the jaw where it is an expression."""
    if basis != "flame":
        return pie_group(motion, "expression", face=basis)
    if motion.basis == basis:
        return motion.expression
    return jnp.zeros((len(motion), _FLAME_EXPRESSIONS))


def columns_given(names: Sequence[str], basis: Basis, motion: Motion) -> np.ndarray:
    """Which columns a motion determines, [K] bool: all in one basis; angles and jaw in others."""
    given = np.zeros(_PIE_EXPRESSIONS, bool)
    if basis == "flame":
        given[:] = motion.basis == basis
    elif motion.basis == basis or motion.jaw is not None:
        with contextlib.suppress(ValueError):  # none of it
            given = pie_group_given("expression", driver=motion.basis, face=basis)
    places = [expression_place(name) for name in names]
    return np.array(
        [
            name in ANGLES or (motion.jaw is not None if place is None else bool(given[place]))
            for name, place in zip(names, places, strict=True)
        ]
    )


def latent_directions(matrix: DirectionMatrix, num_ws: int) -> dict[str, LatentDirections]:
    """The columns as directions of W+: `POSE` in degrees, `EXPRESSION` in deviations.

    A strength of 1 moves by a degree, or by what the matrix calls a unit of that expression
    (`DirectionMatrix.unit`). The bias has no part in an edit. Coordinates have no meaning.

    Args:
      matrix: A.
      num_ws: rows of the generator's W+.
    """
    found = {}
    for group, unit in ((POSE, DEGREE), (EXPRESSION, DEVIATION)):
        names = tuple(name for name in matrix.names if (name in ANGLES) == (group == POSE))
        if not names:
            continue
        config = DirectionsConfig(
            names, matrix.config.w_dim, rows=num_ws, unit_names=(unit,) * len(names)
        )
        directions = LatentDirections(config, rngs=nnx.Rngs(0))
        directions.vectors[...] = matrix.vectors(names, num_ws)
        found[group] = directions
    return found


def direction_sets(suite: Suite) -> dict[str, LatentDirections]:
    """What `--direction` moves along: the suite's own directions, and those of its matrix.

    Raises:
      SuiteError: it has neither.
    """
    found = {}
    if "direction_matrix" in suite:
        found = latent_directions(suite.direction_matrix, suite.generator.num_ws)
    if not found or "directions" in suite:
        found |= suite.directions
    return found


def check_matrix(owner: str, matrix: DirectionMatrix, basis: Basis) -> None:
    """Insist on a matrix of the faces that the suite reads.

    Raises:
      UsageError: its columns are of another basis.
    """
    if matrix.config.basis != basis:
        raise UsageError(
            f"{owner}: the direction matrix has expressions of {matrix.config.basis!r}, the suite "
            f"reads {basis!r}; take a matrix trained with this suite's face model"
        )
