"""A suite's own generator, of whichever class, with its own weights: W to images.

``forward`` draws, ``forward_backward`` (with ``--gradient``) also pulls a cotangent of the images
back to W, which is what an inversion pays per step before its loss. Rows of W+ are equal; noise is
the stored maps.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.benchmark.workload import Benchmark, Call, Program, Workload
from jaxface.methods.inversion import generator_in
from jaxface.runtime.devices import Dtype
from jaxface.suite import load_suite


@dataclasses.dataclass(frozen=True)
class SuiteProblem:
    """What every contender gets.

    Attributes:
        suite: the name or folder of the suite.
        dtype: what the network computes in; latents and images are float32.
        generator: the suite's.
        gradient: whether the gradient in W is measured too.
        wheels: the folder of the wheels that a photo suite was made of, for peers that run the
            originals; None without.
    """

    suite: str
    dtype: Dtype
    generator: Any = dataclasses.field(repr=False)
    gradient: bool = False
    wheels: str | None = None

    @property
    def sizes(self) -> dict[str, Any]:
        """What a report says of it, in JSON's types."""
        return {
            "suite": self.suite,
            "resolution": self.generator.resolution,
            "dtype": self.dtype,
        }


def suite_problem(suite: str, *, dtype: Dtype, **options: Any) -> SuiteProblem:
    """The problem of a suite.

    Args:
        suite: a name or a folder.
        dtype: what the generator computes in.
        options: of `SuiteProblem`.

    Raises:
        SuiteError: there is no such suite, or it has no generator.
    """
    generator = generator_in(load_suite(suite), dtype)
    name = suite.rstrip("/").rpartition("/")[-1]
    return SuiteProblem(name, dtype, generator, **options)


class SuiteGenerator:
    """jaxface as a contender."""

    def __init__(self, problem: SuiteProblem):
        self.forward = Program(_forward, problem.generator)
        self.forward_backward = Program(_forward_backward, problem.generator)


def workload(problem: SuiteProblem, *, batch: int, rng: np.random.Generator) -> Workload:
    """W of standard normal Z through the suite's mapping network, and normal cotangents."""
    generator = problem.generator
    z = rng.standard_normal((batch, generator.config.z_dim), dtype=np.float32)
    w = np.asarray(jax.jit(_to_w)(generator, z))
    calls = [Call("forward", (w,), outputs=("images",))]
    if problem.gradient:
        shape = (batch, generator.resolution, generator.resolution, 3)
        cotangent = rng.standard_normal(shape, dtype=np.float32)
        calls.append(Call("forward_backward", (w, cotangent), outputs=("images", "gradient")))
    return Workload(batch=batch, calls=tuple(calls))


def _to_w(generator: Any, z: jax.Array) -> jax.Array:
    return generator.mapping.to_w(z)


def _forward(generator: Any, w: jax.Array) -> jax.Array:
    rows = jnp.broadcast_to(w[:, None], (len(w), generator.num_ws, w.shape[-1]))
    return generator.synthesis(rows)


def _forward_backward(
    generator: Any, w: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, pull_back = jax.vjp(lambda w: _forward(generator, w), w)
    return images, pull_back(cotangent)[0]


BENCHMARK = Benchmark(workload, SuiteGenerator)
