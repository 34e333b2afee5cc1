"""The synthesis network: W+ to images, and a cotangent of the images back to W+.

``forward`` is what a sampler pays, ``forward_backward`` what every latent optimisation pays per
iteration before its loss. Weights are frozen: no gradient of theirs is asked for. Noise is the
stored maps.
"""

import jax
import numpy as np

from jaxface.benchmark.problem import Problem
from jaxface.benchmark.workload import Benchmark, Call, Program, Workload
from jaxface.nets import Generator


class Synthesis:
    """jaxface as a contender."""

    def __init__(self, problem: Problem):
        generator = problem.generator()
        self.forward = Program(_forward, generator)
        self.forward_backward = Program(_forward_backward, generator)


def workload(problem: Problem, *, batch: int, rng: np.random.Generator) -> Workload:
    """Standard normal styles and image cotangents."""
    w_plus = random_w_plus(problem, batch=batch, rng=rng)
    shape = (batch, problem.resolution, problem.resolution, 3)
    cotangent = rng.standard_normal(shape, dtype=np.float32)
    return Workload(
        batch=batch,
        calls=(
            Call("forward", (w_plus,), outputs=("images",)),
            Call("forward_backward", (w_plus, cotangent), outputs=("images", "gradient")),
        ),
    )


def random_w_plus(problem: Problem, *, batch: int, rng: np.random.Generator) -> np.ndarray:
    """[N, L, 512] standard normal, float32."""
    shape = (batch, problem.config.num_ws, problem.config.w_dim)
    return rng.standard_normal(shape, dtype=np.float32)


def _forward(generator: Generator, w_plus: jax.Array) -> jax.Array:
    return generator.synthesis(w_plus)


def _forward_backward(
    generator: Generator, w_plus: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, pull_back = jax.vjp(generator.synthesis, w_plus)
    (gradient,) = pull_back(cotangent)
    return images, gradient


BENCHMARK = Benchmark(workload, Synthesis)
