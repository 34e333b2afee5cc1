"""The matrix of directions: a change of head pose and expression to a change of W+.

From "Finding Directions in GAN's Latent Space for Neural Face Reenactment" (Bounareli et al., BMVC
2022):

    dw = A dp                                                   (equation 2)

A column is the direction of one number p_i of a face's pose or expression, in the first rows of
W+: those of the layers up to 32 px, 8 of the 14 of a generator of 256 px. Every number is rescaled
from its own range to [-a, a] first (section 3.1), by a line, n_i(p_i) = slope_i p_i + offset_i.

The authors' code (``libs/models/direction_matrix.py``) has a bias, dw = A dp + b, so that no change
of p still changes w; the paper has none. Both forms are here.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.errors import did_you_mean
from jaxface.nets.variables import Buffer
from jaxface.vocabulary import Basis

INITIAL_DEVIATION = 0.03
"""Of a fresh matrix' normal weights, in the authors' code."""


@dataclasses.dataclass(frozen=True)
class DirectionMatrixConfig:
    """Names and sizes.

    Attributes:
        names: of the columns, no two the same: what each number of a pose is.
        basis: whose expression coefficients the numbers are, one of `jaxface.morphable.motion`'s.
        rows: of W+ that move, counted from the first.
        w_dim: width of a row.
        bias: whether dw has a constant part.
        shared: whether all these rows move alike, as a direction of W does.
        spread: a, the reach of the rescaled numbers.

    Raises:
        ValueError: for no or equal names, or sizes that are not positive.
    """

    names: tuple[str, ...]
    basis: Basis
    rows: int = 8
    w_dim: int = 512
    bias: bool = False
    shared: bool = False
    spread: float = 6.0

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(
                f"DirectionMatrixConfig: expected one name or more, all different, got {self.names}"
            )
        if self.rows < 1 or self.w_dim < 1 or not self.spread > 0:
            raise ValueError(
                "DirectionMatrixConfig: rows, w_dim and spread must be positive, got "
                f"{self.rows}, {self.w_dim} and {self.spread}"
            )


class DirectionMatrix(nnx.Module):
    """A, and what its columns are.

    Arrays: ``weight`` [rows, w_dim, K] (one row where it is shared), ``bias`` [rows, w_dim] or
    None; and, which no optimiser touches, ``slope`` and ``offset`` [K] of the rescaling, ``ranges``
    [K, 2], the least and the largest value of each number where it was estimated, and ``unit`` [K],
    the value of what users call 1: a degree, a standard deviation.
    """

    def __init__(self, config: DirectionMatrixConfig, *, rngs: nnx.Rngs):
        self.config = config
        count, rows = len(config.names), 1 if config.shared else config.rows
        shape = (rows, config.w_dim, count)
        self.weight = nnx.Param(INITIAL_DEVIATION * jax.random.normal(rngs.params(), shape))
        limit = count**-0.5  # of torch.nn.Linear, whose bias the authors leave as it begins
        self.bias = (
            nnx.Param(jax.random.uniform(rngs.params(), shape[:2], minval=-limit, maxval=limit))
            if config.bias
            else None
        )
        self.slope = Buffer(jnp.ones((count,)))
        self.offset = Buffer(jnp.zeros((count,)))
        self.ranges = Buffer(jnp.tile(jnp.array([-1.0, 1.0]) * config.spread, (count, 1)))
        self.unit = Buffer(jnp.ones((count,)))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns, in their order."""
        return self.config.names

    def place(self, name: str) -> int:
        """The number of a column.

        Raises:
            ValueError: there is none of that name; the message gives the nearest.
        """
        if name not in self.names:
            raise ValueError(f"direction matrix: no {name!r}; {did_you_mean(name, self.names)}")
        return self.names.index(name)

    def rescaled(self, values: Float[Array, "n k"]) -> Float[Array, "n k"]:
        """n(p): from a face's own numbers to [-a, a], beyond which there is no limit."""
        return values * self.slope[...] + self.offset[...]

    def unscaled(self, rescaled: Float[Array, "n k"]) -> Float[Array, "n k"]:
        """The inverse of `rescaled`."""
        return (rescaled - self.offset[...]) / self.slope[...]

    def shift(self, change: Float[Array, "n k"]) -> Float[Array, "n r d"]:
        """dw of a change of the rescaled numbers.

        Args:
            change: [N, K], dp.

        Returns:
            [N, rows, w_dim].

        Raises:
            ValueError: another number of columns.
        """
        if change.ndim != 2 or change.shape[1] != len(self.names):
            raise ValueError(
                f"DirectionMatrix: expected a change [N, {len(self.names)}], got "
                f"{list(change.shape)}"
            )
        dw = jnp.einsum("nk,rdk->nrd", change, self.weight[...])
        if self.bias is not None:
            dw = dw + self.bias[...]
        rows = (len(change), self.config.rows, self.config.w_dim)
        return jnp.broadcast_to(dw, rows)

    def __call__(
        self, w_plus: Float[Array, "n l d"], change: Float[Array, "n k"], *, scale: float = 1.0
    ) -> Float[Array, "n l d"]:
        """The latents after a change of pose and expression.

        Without a bias no change leaves them as they are, bit for bit.

        Args:
            w_plus: [N, L, w_dim], L at least `rows`.
            change: [N, K], dp.
            scale: what dw is multiplied by: psi, where the latents are truncated already.

        Raises:
            ValueError: an argument has another shape.
        """
        config = self.config
        if (
            w_plus.ndim != 3
            or w_plus.shape[1] < config.rows
            or w_plus.shape[::2] != (len(change), config.w_dim)
        ):
            raise ValueError(
                f"DirectionMatrix: expected w_plus [{len(change)}, {config.rows} or more, "
                f"{config.w_dim}], got {list(w_plus.shape)}"
            )
        dw = self.shift(change)
        return w_plus.at[:, : config.rows].add(dw if scale == 1.0 else scale * dw)

    def vectors(self, names: Sequence[str], num_ws: int) -> Float[Array, "k l d"]:
        """What the users' unit of some columns adds to a W+ of `num_ws` rows: [K, num_ws, w_dim].

        Raises:
            ValueError: an unknown name, or fewer rows than move.
        """
        config = self.config
        if num_ws < config.rows:
            raise ValueError(f"DirectionMatrix: moves {config.rows} rows, W+ has {num_ws}")
        places = jnp.array([self.place(name) for name in names])
        steps = (self.slope[...] * self.unit[...])[places]
        moved = jnp.moveaxis(self.weight[...][..., places] * steps, -1, 0)
        moved = jnp.broadcast_to(moved, (len(names), config.rows, config.w_dim))
        return jnp.pad(moved, ((0, 0), (0, num_ws - config.rows), (0, 0)))
