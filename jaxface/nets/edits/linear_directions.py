"""Editing directions in Z, W and W+: a latent moves along a vector, by a strength in a stated unit.

Two published kinds have this form. *InterFaceGAN* (Shen et al. 2020): the unit normal of a linear
boundary, in Z or W; a strength is a distance from the boundary (``linear_interpolate`` of its
``utils/manipulator.py``). *GANSpace* (Härkönen et al. 2020): principal components of W, each with
the samples' standard deviation along it; a strength is a number of standard deviations, and an edit
is confined to some layers, rows of W+ here (``notebooks/notebook_utils.py``: ``layer_start`` to
``layer_end``, exclusive). `jaxface.methods.linear_directions` finds both for any generator.

A direction k has a vector v of length 1, a unit u and the latents' mean m. Its coordinate of a
latent x is ``(x - m) . v / u``; ``move`` adds to it and ``place`` sets it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.errors import did_you_mean
from jaxface.nets.variables import Buffer

Space = Literal["z", "w"]


@dataclasses.dataclass(frozen=True)
class DirectionsConfig:
    """Names and sizes.

    Args:
        names: one for each direction, no two the same.
        dim: of the latents.
        space: ``z`` for the mapping network's input, ``w`` for W and the rows of W+.
        rows: 1 where a direction is the same for every row, else the rows of W+.
        unit_names: what a strength of 1 is, one for each direction, such as "degree"; none where
            the unit is a length or a deviation of the latents.

    Raises:
        ValueError: for no or equal names, sizes below 1, rows in Z, or unit names for other
            directions.
    """

    names: tuple[str, ...]
    dim: int = 512
    space: Space = "w"
    rows: int = 1
    unit_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"names: expected one name or more, all different, got {self.names}")
        if self.dim < 1 or self.rows < 1:
            raise ValueError(f"dim, rows: expected at least 1, got {self.dim}, {self.rows}")
        if self.space not in ("z", "w"):
            raise ValueError(f"space: expected 'z' or 'w', got {self.space!r}")
        if self.space == "z" and self.rows != 1:
            raise ValueError(f"rows: Z has one, got {self.rows}")
        if self.unit_names and len(self.unit_names) != len(self.names):
            raise ValueError(
                f"unit_names: expected none or {len(self.names)}, got {self.unit_names}"
            )


class LatentDirections(nnx.Module):
    """Named directions of one latent space.

    Stored arrays, none of which an optimiser touches: ``vectors`` [K, rows, dim], ``units`` [K] and
    ``mean`` [dim].
    """

    def __init__(self, config: DirectionsConfig, *, rngs: nnx.Rngs):
        del rngs  # nothing is random: weights come from a file or from `directions_of`
        self.config = config
        count = len(config.names)
        self.vectors = Buffer(jnp.zeros((count, config.rows, config.dim)))
        self.units = Buffer(jnp.ones((count,)))
        self.mean = Buffer(jnp.zeros((config.dim,)))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the directions, in their order."""
        return self.config.names

    def coordinate(self, latents: Float[Array, "n *rows d"], name: str) -> Float[Array, " n *rows"]:
        """Where latents lie along a direction, in its unit.

        Args:
            latents: [N, dim], or W+ [N, L, dim].
            name: of the direction.

        Returns:
            [N], or of every row [N, L].

        Raises:
            ValueError: for an unknown name or latents of another shape.
        """
        vector, unit = self._direction(latents, name)
        return jnp.sum((latents - self.mean[...]) * vector, axis=-1) / unit

    def move(
        self,
        latents: Float[Array, "n *rows d"],
        name: str,
        strength: float | jax.Array,
        *,
        rows: Sequence[int] | None = None,
    ) -> Float[Array, "n *rows d"]:
        """Latents plus ``strength`` units of a direction.

        Args:
            latents: [N, dim], or W+ [N, L, dim].
            name: of the direction.
            strength: one, or [N].
            rows: which rows of W+ move; None for all of them.

        Returns:
            The shape of ``latents``.

        Raises:
            ValueError: for an unknown name, latents of another shape, rows that W+ does not have,
                or rows of latents that have none.
        """
        strength = jnp.asarray(strength)
        steps = strength.reshape(strength.shape + (1,) * (latents.ndim - 1 - strength.ndim))
        return self._moved(latents, name, steps, rows)

    def place(
        self,
        latents: Float[Array, "n *rows d"],
        name: str,
        coordinate: float | jax.Array,
        *,
        rows: Sequence[int] | None = None,
    ) -> Float[Array, "n *rows d"]:
        """Latents moved along a direction until their coordinate is as given.

        InterFaceGAN's ``linear_interpolate`` in Z and W, and GANSpace's ``create_strip_centered``,
        where every row of W+ starts from its own coordinate.

        Args:
            latents: [N, dim], or W+ [N, L, dim].
            name: of the direction.
            coordinate: one, or [N].
            rows: which rows of W+ are placed; None for all of them.

        Returns:
            The shape of ``latents``.

        Raises:
            ValueError: as :meth:`move`.
        """
        now = self.coordinate(latents, name)
        wanted = jnp.asarray(coordinate)
        wanted = wanted.reshape(wanted.shape + (1,) * (now.ndim - wanted.ndim))
        return self._moved(latents, name, wanted - now, rows)

    def of_rows(self, rows: Sequence[int]) -> "LatentDirections":
        """The same for another W+: each of its rows moves as one of this one's.

        Args:
            rows: for each row of the other W+, one of this one's.

        Raises:
            ValueError: for a row that these directions do not have.
        """
        if not rows or not 0 <= min(rows) <= max(rows) < self.config.rows:
            raise ValueError(f"of_rows: expected rows in 0..{self.config.rows - 1}, got {rows}")
        config = dataclasses.replace(self.config, rows=len(rows))
        found = LatentDirections(config, rngs=nnx.Rngs(0))
        found.vectors[...] = self.vectors[:, np.array(rows)]
        found.units[...], found.mean[...] = self.units[...], self.mean[...]
        return found

    def _moved(
        self, latents: jax.Array, name: str, steps: jax.Array, rows: Sequence[int] | None
    ) -> jax.Array:
        vector, unit = self._direction(latents, name)
        moved = latents + steps[..., None] * unit * vector
        if rows is None:
            return moved
        if latents.ndim != 3:
            raise ValueError(f"directions: only W+ has rows to choose, got {list(latents.shape)}")
        chosen = np.zeros(latents.shape[1], bool)
        for row in rows:
            if not 0 <= row < len(chosen):
                raise ValueError(f"directions: expected rows in 0..{len(chosen) - 1}, got {row}")
            chosen[row] = True
        return jnp.where(chosen[:, None], moved, latents)

    def _direction(self, latents: jax.Array, name: str) -> tuple[jax.Array, jax.Array]:
        """The vector, [dim] or [L, dim], and the unit."""
        config = self.config
        if name not in config.names:
            raise ValueError(f"directions: no {name!r}; {did_you_mean(name, config.names)}")
        ranks = (2,) if config.space == "z" else (2, 3) if config.rows == 1 else (3,)
        rows = latents.shape[1] if latents.ndim == 3 else 1
        if (
            latents.ndim not in ranks
            or latents.shape[-1] != config.dim
            or config.rows not in (1, rows)
        ):
            shapes = {2: f"[N, {config.dim}]", 3: f"[N, {_rows(config)}, {config.dim}]"}
            expected = " or ".join(shapes[rank] for rank in ranks)
            raise ValueError(
                f"directions in {config.space}: expected latents {expected}, got "
                f"{list(latents.shape)}"
            )
        index = config.names.index(name)
        vector = self.vectors[index]
        return (vector[0] if config.rows == 1 else vector), self.units[index]


def directions_of(
    names: Sequence[str],
    vectors: Float[Array, "k *rows d"],
    *,
    space: Space = "w",
    units: Float[Array, " k"] | Sequence[float] | None = None,
    mean: Float[Array, " d"] | None = None,
    unit_names: Sequence[str] = (),
) -> LatentDirections:
    """Directions from arrays.

    Args:
        names: K names.
        vectors: [K, dim], or [K, L, dim] for W+; divided by their lengths here, each row's where
            there are several.
        space: what the latents are.
        units: [K], the length that a strength of 1 moves; None for 1.
        mean: [dim], where coordinates are 0; None for the origin.
        unit_names: see `DirectionsConfig`.

    Raises:
        ValueError: if the shapes do not fit, or a vector is zero.
    """
    vectors = jnp.asarray(vectors, jnp.float32)
    vectors = vectors[:, None] if vectors.ndim == 2 else vectors
    if vectors.ndim != 3 or len(vectors) != len(names):
        raise ValueError(
            f"directions: expected a vector for each of {len(names)} names, got "
            f"{list(vectors.shape)}"
        )
    lengths = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (lengths > 0).all():
        raise ValueError("directions: a vector of length 0 leads nowhere")
    _, rows, dim = vectors.shape
    config = DirectionsConfig(tuple(names), dim, space, rows, tuple(unit_names))
    found = LatentDirections(config, rngs=nnx.Rngs(0))
    found.vectors[...] = vectors / lengths
    for name, stored, given in (("units", found.units, units), ("mean", found.mean, mean)):
        if given is None:
            continue
        given = jnp.asarray(given, jnp.float32)
        if given.shape != stored[...].shape:
            raise ValueError(
                f"directions: expected {name} {list(stored[...].shape)}, got {list(given.shape)}"
            )
        stored[...] = given
    return found


def _rows(config: DirectionsConfig) -> str:
    return "L" if config.rows == 1 else str(config.rows)
