"""ReStyle: A Residual-Based StyleGAN Encoder via Iterative Refinement (Alaluf et al., ICCV 2021).

The encoder sees a portrait beside what the generator makes of its codes so far, and returns a step
of the codes. The first codes are the mean of W+, the first image the
generator's of that mean. As the authors' ``utils/inference_utils.py`` does it: five iterations,
stored noise, and every image averaged to the encoder's resolution before it is seen again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxface.nets import Generator
from jaxface.nets.encoders.restyle import RestyleEncoder
from jaxface.nets.mobile_stylegan import as_rows_of, rows_known

# options/test_options.py: n_iters_per_batch.
ITERATIONS = 5


class Refinement(NamedTuple):
    """What the iteration gave."""

    w_plus: jax.Array
    """[N, num_ws, w_dim], the last codes."""
    images: jax.Array
    """[N, R, R, 3], what the generator makes of them."""
    trace: jax.Array
    """[N, iterations, num_ws, w_dim], the codes after each iteration."""


def invert(
    encoder: RestyleEncoder,
    generator: Generator,
    images: jax.Array,
    *,
    iterations: int = ITERATIONS,
) -> Refinement:
    """Embed portraits by iterative refinement; one program under ``jax.jit``, any batch.

    Args:
        encoder: ReStyle's over pSp or e4e.
        generator: the one that the encoder was trained with, or its student.
        images: [N, S, S, 3] RGB in [-1, 1], aligned as FFHQ's, of any size.
        iterations: at least 1; a constant of the program.

    Raises:
        ValueError: if the two networks' codes differ in shape, the images are not square RGB, or
            there is no iteration.
    """
    codes = (encoder.config.num_ws, encoder.config.w_dim)
    known = rows_known(generator.config)
    if codes not in [(rows, generator.config.w_dim) for rows in known]:
        raise ValueError(
            f"restyle: the encoder gives codes {list(codes)}, the generator takes "
            f"{[generator.num_ws, generator.config.w_dim]}"
        )
    if iterations < 1:
        raise ValueError(f"restyle: expected at least one iteration, got {iterations}")
    start = encoder.w_start[...][None]
    count = images.shape[0]

    def draw(w_plus: jax.Array) -> jax.Array:
        return generator.synthesis(as_rows_of(generator.config, w_plus), "const")

    def step(state: tuple[jax.Array, jax.Array], _: None):
        w_plus, generated = state
        w_plus = encoder(images, generated, w_plus)
        generated = draw(w_plus)
        return (w_plus, generated), w_plus

    # One image of the mean serves the batch.
    first = draw(start)
    state = (jnp.repeat(start, count, axis=0), jnp.repeat(first, count, axis=0))
    (w_plus, generated), trace = jax.lax.scan(step, state, length=iterations)
    return Refinement(w_plus, generated, jnp.swapaxes(trace, 0, 1))
