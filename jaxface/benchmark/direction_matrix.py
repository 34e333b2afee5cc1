"""The direction matrix (`jaxface.methods.direction_matrix`): a step of its training, and frames.

A step is the synthetic stage's: sources and targets are drawn, both are read by a reconstruction
network, the sources are moved and drawn again, and the losses of the paper are differentiated by
the matrix alone; Adam's update is part of it. A frame is what reenactment does once the driver is
read: w + A dp, drawn (forward). The face model is the embedded world's with a network of its own
size, or Deep3DFaceRecon's ResNet-50, which is DECA's trunk too. Networks have random weights.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.benchmark.pie import RECOGNITION, RECONSTRUCTION
from jaxface.benchmark.problem import Problem, fields_of, random_weights
from jaxface.benchmark.synthesis import random_w_plus
from jaxface.benchmark.workload import Benchmark, Call, Program, Workload
from jaxface.methods import direction_matrix as method
from jaxface.methods.direction_matrix.losses import draw
from jaxface.methods.direction_matrix.training import initial_matrix, matrix_optimizer
from jaxface.nets import DirectionMatrix, Generator, LPIPSConfig
from jaxface.training import averaged
from jaxface.weights import build_network

COLUMNS_OF_EXPRESSION = 12  # m_e
"""Columns that are no angles, in the paper."""


@dataclasses.dataclass(frozen=True)
class MatrixProblem(Problem):
    """A problem with the networks that judge a reenactment.

    Attributes:
        seed: of the random networks and of the items.
        recognition: a key of `jaxface.benchmark.pie.RECOGNITION`.
        reconstruction: a key of `jaxface.benchmark.pie.RECONSTRUCTION`.
    """

    seed: int
    recognition: str = "ir-se50"
    reconstruction: str = "deep3d"

    @property
    def options(self) -> dict[str, Any]:
        """What a report says beside the generator's sizes."""
        return {name: getattr(self, name) for name in ("recognition", "reconstruction")}

    @property
    def settings(self) -> method.MatrixSettings:
        """The paper's losses with the code's LPIPS, and its columns."""
        losses = dataclasses.replace(method.PAPER_LOSSES, perceptual="lpips")
        stage = method.MatrixStage("synthetic", steps=1)
        return method.MatrixSettings((stage,), losses, expressions=COLUMNS_OF_EXPRESSION)

    def models(self) -> method.Models:
        """What a step reads and does not change."""

        def random(network: type, config: Any) -> Any:
            weights = random_weights(network, config, seed=self.seed)
            return build_network(network.__name__, config, weights)

        network = random(*RECONSTRUCTION[self.reconstruction])
        return method.Models(
            generator=self.generator(),
            faces=method.faces_of({"reconstruction": network}),
            recognition=random(*RECOGNITION[self.recognition]),
            distance=self.lpips_network(),
        )


def matrix_problem(problem: Problem, **options: Any) -> MatrixProblem:
    """A problem with the options of :class:`MatrixProblem`."""
    return MatrixProblem(**fields_of(problem), **options)


class Matrix:
    """jaxface as a contender."""

    def __init__(self, problem: MatrixProblem):
        settings, models = problem.settings, problem.models()
        phase = method.matrix_phase(settings, settings.stages[0])
        key = jax.random.key(problem.seed)
        matrix = initial_matrix(settings, models.generator, models.faces, key)
        state = averaged.init_state(matrix, matrix_optimizer(settings))

        def step(state: Any, models: method.Models, words: jax.Array) -> Any:
            _, terms = phase.fn(state, models, {"key": words}, key)
            return terms["loss"]

        self.step = Program(step, state, models)
        self.forward = Program(_forward, matrix, models.generator)


def workload(problem: MatrixProblem, *, batch: int, rng: np.random.Generator) -> Workload:
    """Standard normal latents, changes of a deviation, and words of keys."""
    columns = 3 + COLUMNS_OF_EXPRESSION
    change = rng.standard_normal((batch, columns)).astype(np.float32)
    words = rng.integers(0, 2**32, (batch, 2), np.uint32)
    w_plus = random_w_plus(problem, batch=batch, rng=rng)
    return Workload(
        batch=batch,
        calls=(
            Call("step", (words,), outputs=("loss",)),
            Call("forward", (w_plus, change), outputs=("images",)),
        ),
    )


def _forward(
    matrix: DirectionMatrix, generator: Generator, w_plus: jax.Array, change: jax.Array
) -> jax.Array:
    return draw(generator, matrix(w_plus, jnp.asarray(change)), 1.0)


BENCHMARK = Benchmark(workload, Matrix, lpips=LPIPSConfig("alex"), completed=matrix_problem)
