"""Contact sheets of a generator: samples, truncation, interpolation, style mixing.

Each function returns images [N, R, R, 3] in [-1, 1] and the number of columns to lay them out in,
ready for `jaxface.media.images.grid`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxface.latents import broadcast_w, truncate
from jaxface.morphable.worlds import World
from jaxface.nets import Generator

TRUNCATIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)


@jax.jit
def _draw(generator: Generator, w_plus: jax.Array) -> jax.Array:
    return generator.synthesis(w_plus)


def _latents(generator: Generator, key: jax.Array, count: int) -> jax.Array:
    """w_plus [count, L, w_dim] of random latents."""
    return generator.mapping(jax.random.normal(key, (count, generator.config.z_dim)))


def sample_sheet(generator: Generator, key: jax.Array, *, count: int = 64) -> tuple[jax.Array, int]:
    """Random samples without truncation, eight to a row."""
    return _draw(generator, _latents(generator, key, count)), 8


def factor_sheet(
    generator: Generator, of: World, key: jax.Array, *, count: int = 32
) -> tuple[jax.Array, int]:
    """Renders, eight to a row, and below each row the generator's images of their factors."""
    return _beside_renders(generator, of, jax.random.normal(key, (count, generator.config.z_dim)))


def gaze_sheet(
    generator: Generator, of: World, key: jax.Array, *, rows: int = 3
) -> tuple[jax.Array, int]:
    """The same of heads from the front that look from one side to the other, one a row.

    Raises:
      KeyError: the world's eyes do not move.
    """
    head, gaze = of.factors["rotation"], of.factors["gaze"].start
    z = jax.random.normal(key, (rows, 1, generator.config.z_dim)).repeat(8, axis=1)
    z = z.at[..., head].set(0.0).at[..., gaze].set(jnp.linspace(-2.0, 2.0, 8))
    return _beside_renders(generator, of, z.reshape(-1, z.shape[-1]))


def _beside_renders(generator: Generator, of: World, z: jax.Array) -> tuple[jax.Array, int]:
    """Renders of latents' factors, eight to a row, each row above what the generator draws."""
    rendered = of.render(of.scenes(z[:, : of.num_factors]), generator.resolution)
    drawn = _draw(generator, generator.mapping(z))
    pairs = jnp.stack([each.reshape(-1, 8, *each.shape[1:]) for each in (rendered, drawn)], 1)
    return pairs.reshape(-1, *rendered.shape[1:]), 8


def truncation_sheet(
    generator: Generator,
    key: jax.Array,
    *,
    rows: int = 4,
    truncations: Sequence[float] = TRUNCATIONS,
) -> tuple[jax.Array, int]:
    """A latent a row, from the mean of W outwards."""
    w_plus = _latents(generator, key, rows)
    columns = [truncate(w_plus, generator.w_mean, psi) for psi in truncations]
    return _draw(generator, _by_row(columns)), len(truncations)


def interpolation_sheet(
    generator: Generator, key: jax.Array, *, rows: int = 4, columns: int = 8
) -> tuple[jax.Array, int]:
    """From one latent to another along a straight line in W, a pair a row."""
    w_plus = _latents(generator, key, 2 * rows)
    start, stop = w_plus[:rows], w_plus[rows:]
    shares = [i / (columns - 1) for i in range(columns)]
    return _draw(generator, _by_row([start + t * (stop - start) for t in shares])), columns


def mixing_sheet(
    generator: Generator, key: jax.Array, *, coarse: int, rows: int = 4, columns: int = 6
) -> tuple[jax.Array, int]:
    """Rows of W+ below `coarse` from the latent of the column, the others from that of the row.

    The first row and the first column show the latents themselves; the corner is the mean of W.
    """
    if not 0 < coarse < generator.num_ws:
        raise ValueError(
            f"mixing_sheet: coarse must be 1 to {generator.num_ws - 1} of the rows of W+, got "
            f"{coarse}."
        )
    w_plus = _latents(generator, key, rows + columns)
    fine, coarse_rows = w_plus[:rows], w_plus[rows:]
    mean = broadcast_w(generator.w_mean[None], generator.num_ws)
    from_column = jnp.arange(generator.num_ws)[:, None] < coarse
    cells = [mean, coarse_rows]
    for row in fine:
        cells += [row[None], jnp.where(from_column, coarse_rows, row)]
    return _draw(generator, jnp.concatenate(cells)), columns + 1


def _by_row(columns: Sequence[jax.Array]) -> jax.Array:
    """Columns of [rows, ...] each, row by row: [rows * columns, ...]."""
    stacked = jnp.stack(columns, axis=1)
    return stacked.reshape(-1, *stacked.shape[2:])


def generator_sheets(generator: Generator) -> dict[str, tuple[jax.Array, int]]:
    """All of the above by name, with the keys of the published sheets."""
    keys = jax.random.split(jax.random.key(0), 4)
    # Coarse styles are those up to 8 px (Karras et al. 2019, figure 3).
    coarse = min(4, generator.num_ws - 1)
    return {
        "samples": sample_sheet(generator, keys[0]),
        "truncation": truncation_sheet(generator, keys[1]),
        "interpolation": interpolation_sheet(generator, keys[2]),
        "mixing": mixing_sheet(generator, keys[3], coarse=coarse),
    }
