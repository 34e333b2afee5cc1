"""One step of pivotal tuning (`jaxface.methods.pti`) without its optimiser: energy and gradient.

Each image has a generator of its own, and the gradient is in all parameters of its synthesis
network: 446.6 GFLOP at 1024 px, three times the forward pass, where a gradient in W+ takes two. The
energy is L2 and LPIPS on AlexNet, of the full size; with `regularized` the locality term on one
sample too, which draws two more images and differentiates one.

What is returned of a gradient is its length: the gradient of one image at 1024 px has 120 MB.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.benchmark.problem import Problem, fields_of
from jaxface.benchmark.synthesis import random_w_plus
from jaxface.benchmark.workload import Benchmark, Call, Program, Workload
from jaxface.methods import pti
from jaxface.nets import LPIPSConfig

ITERATIONS = pti.REPO.steps


@dataclasses.dataclass(frozen=True)
class PTIProblem(Problem):
    """A problem with an LPIPS network, and how a step is computed.

    Attributes:
        seed: of the samples of the locality term.
        regularized: whether there is one.
        rows: see :class:`jaxface.methods.pti.Settings`.
    """

    seed: int
    regularized: bool = False
    rows: pti.Rows | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What a report says beside the generator's sizes."""
        return {"regularized": self.regularized, "rows": self.rows}

    def settings(self) -> pti.Settings:
        """The published energy."""
        return dataclasses.replace(
            pti.REPO, locality=self.regularized, rows=self.rows, dtype=self.dtype
        )


def tuning_problem(problem: Problem, **options: Any) -> PTIProblem:
    """A problem with an LPIPS network, and the options of :class:`PTIProblem`."""
    return PTIProblem(**fields_of(problem), **options)


class PTI:
    """jaxface as a contender."""

    def __init__(self, problem: PTIProblem):
        lpips = problem.lpips_network()
        if lpips is None:
            raise ValueError("PTI: the problem needs an LPIPS network")
        self._settings = problem.settings()
        self._networks = pti.Networks(problem.generator(), lpips)
        self._key = jax.random.key(problem.seed)

    def set_targets(self, targets: jax.Array) -> None:
        """Take the portraits [N, R, R, 3] and compute their features."""
        measured = functools.partial(pti.features, self._settings)
        features = jax.jit(measured)(self._networks, targets)
        weights = pti.start(self._networks, len(targets))
        keys = jax.random.split(self._key, len(targets))
        step = functools.partial(_step, self._settings)
        self.step = Program(step, self._networks, weights, targets, features, keys)


def workload(problem: PTIProblem, *, batch: int, rng: np.random.Generator) -> Workload:
    """Standard normal pivots; portraits uniform in [-1, 1]."""
    w_plus = random_w_plus(problem, batch=batch, rng=rng)
    shape = (batch, problem.resolution, problem.resolution, 3)
    return Workload(
        batch=batch,
        calls=(Call("step", (w_plus,), outputs=("energy", "length")),),
        targets=rng.uniform(-1, 1, shape).astype(np.float32),
    )


def _step(
    settings: pti.Settings,
    networks: pti.Networks,
    weights: Any,
    images: jax.Array,
    features: Any,
    keys: jax.Array,
    w_plus: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Energies [N] and the length of each one's gradient in its own weights [N]."""
    targets = pti.Targets(images, features, w_plus)

    def total(weights: Any) -> tuple[jax.Array, jax.Array]:
        energy, _ = pti.energy(settings, weights, networks, targets, keys, jnp.int32(0))
        return energy.sum(), energy

    gradient, energy = jax.grad(total, has_aux=True)(weights)
    squares = [
        jnp.sum(jnp.square(leaf.reshape(len(leaf), -1)), axis=1)
        for leaf in jax.tree.leaves(gradient)
    ]
    return energy, jnp.sqrt(jnp.sum(jnp.stack(squares), axis=0))


BENCHMARK = Benchmark(
    workload, PTI, lpips=LPIPSConfig("alex"), completed=tuning_problem, iterations=ITERATIONS
)
