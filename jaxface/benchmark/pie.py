"""One iteration of PIE's whole energy without its optimiser: energy and gradient.

All six terms (`jaxface.methods.pie.energy`) with the published weights and layers: two syntheses a
portrait (itself and one edit), VGG-16 on one of them, face reconstruction and recognition on both,
and a sampled v, synthesised and read without a gradient, unless a bank replaces it. Networks have
random weights, so nothing need be downloaded, and published widths unless smaller ones are asked
for.

Tewari et al. 2020 state about 10 minutes a portrait for the 3000 iterations at 1024 px on a V100
(section 5), hence 0.2 s an iteration. Theirs is one portrait at a time with the optimiser's update,
which is a few operations on [L, 512] numbers.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.benchmark.lines import summary_lines
from jaxface.benchmark.problem import Problem, fields_of, random_weights
from jaxface.benchmark.synthesis import random_w_plus
from jaxface.benchmark.workload import Benchmark, Call, Program, Workload
from jaxface.methods import pie
from jaxface.methods.pie.inversion import read_targets
from jaxface.methods.pie.sampling import fill_bank
from jaxface.morphable import EDITABLE_GROUPS
from jaxface.morphable.models import embedded_models
from jaxface.nets import (
    IRSE,
    Deep3D,
    Deep3DConfig,
    FaceReconstruction,
    IRSEConfig,
    ReconstructionConfig,
    RigNet,
    RigNetConfig,
    VGGFace,
    VGGFaceConfig,
)
from jaxface.weights import build_network

ITERATIONS = pie.PAPER_ALL.w_steps + pie.PAPER_ALL.w_plus_steps

PAPER_SECONDS = 0.2
"""An iteration of one portrait at 1024 px on a V100 (section 5: 3000 in about 10 minutes)."""

_SMALL_IRSE = IRSEConfig((8, 8, 16, 16), (1, 1, 1, 1), embedding_dim=64, resolution=32)

# By the option's value: the class and its configuration.
RECOGNITION: Mapping[str, tuple[type, Any]] = {
    "ir-se50": (IRSE, IRSEConfig()),
    "vgg-face": (VGGFace, VGGFaceConfig()),
    "small": (IRSE, _SMALL_IRSE),
}
RECONSTRUCTION: Mapping[str, tuple[type, Any]] = {
    "deep3d": (Deep3D, Deep3DConfig()),
    "small": (FaceReconstruction, ReconstructionConfig()),
}


@dataclasses.dataclass(frozen=True)
class PIEProblem(Problem):
    """A problem with the networks that the energy needs beside generator and VGG-16.

    Attributes:
        seed: of the networks and of v.
        recognition: a key of ``RECOGNITION``.
        reconstruction: a key of ``RECONSTRUCTION``.
        edits: how many semantic groups an iteration edits, "one" or "all".
        bank: how many precomputed v replace the sampling; 0 samples.
    """

    seed: int
    recognition: str = "ir-se50"
    reconstruction: str = "deep3d"
    edits: Literal["one", "all"] = "one"
    bank: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """What a report says beside the generator's sizes."""
        names = ("recognition", "reconstruction", "edits", "bank")
        return {name: getattr(self, name) for name in names}

    def settings(self) -> pie.Settings:
        """The published energy, over all groups and with landmarks of the face model."""
        return dataclasses.replace(
            pie.PAPER_ALL,
            groups=tuple(EDITABLE_GROUPS),
            groups_per_step=self.edits,
            landmarks="model",
            bank=self.bank,
            dtype=self.dtype,
        )


def whole_problem(problem: Problem, **options: Any) -> PIEProblem:
    """A problem with a perceptual network, and the options of :class:`PIEProblem`."""
    return PIEProblem(**fields_of(problem), **options)


class PIE:
    """jaxface as a contender."""

    def __init__(self, problem: PIEProblem):
        self._settings = problem.settings()
        self._networks = _networks(problem)
        self._key = jax.random.key(problem.seed)
        if problem.bank:
            bank = fill_bank(self._settings, self._networks, self._key)
            self._networks = self._networks._replace(bank=bank)

    def set_targets(self, targets: jax.Array) -> None:
        """Take the portraits [N, R, R, 3] and read what does not change."""
        read = jax.jit(read_targets, static_argnums=0)(self._settings, self._networks, targets)
        keys = jax.random.split(self._key, len(targets))
        fn = _energy_gradient(self._settings)
        self.energy_gradient = Program(fn, self._networks, read, keys)


def workload(problem: PIEProblem, *, batch: int, rng: np.random.Generator) -> Workload:
    """Standard normal styles; portraits uniform in [-1, 1]."""
    w_plus = random_w_plus(problem, batch=batch, rng=rng)
    shape = (batch, problem.resolution, problem.resolution, 3)
    return Workload(
        batch=batch,
        calls=(Call("energy_gradient", (w_plus,), outputs=("energy", "gradient")),),
        targets=rng.uniform(-1, 1, shape).astype(np.float32),
    )


def summary(report: Mapping[str, Any]) -> str:
    """Iterations a second and portraits an hour of each batch size, beside the paper's."""
    published = (
        f"paper, 1024 px, V100, with the optimiser's update: {PAPER_SECONDS} s per portrait and "
        f"iteration, {3600 / (ITERATIONS * PAPER_SECONDS):.3g} images/hour"
    )
    return summary_lines(report, f"PIE, {ITERATIONS} iterations a portrait", _told, published)


def _told(row: Mapping[str, Any]) -> str:
    seconds, batch = row["seconds"]["median"], row["batch"]
    return (
        f"{1 / seconds:.3g} iterations/s of the batch, {seconds / batch:.3g} s per portrait and "
        f"iteration, {row['images_per_hour']:.3g} images/hour"
    )


def _energy_gradient(settings: pie.Settings) -> Callable[..., Any]:
    def energy_gradient(networks, targets, keys, w_plus):
        """Energies [N] and the gradient of each with respect to its own styles [N, L, 512]."""

        def total(w_plus):
            num_ws, step = w_plus.shape[1], jnp.int32(0)
            energy, _ = pie.energy(settings, num_ws, None, w_plus, networks, targets, keys, step)
            return energy.sum(), energy

        gradient, energy = jax.grad(total, has_aux=True)(w_plus)
        return energy, gradient

    return energy_gradient


def _networks(problem: PIEProblem) -> pie.Networks:
    def random(network: type, config: Any) -> Any:
        weights = random_weights(network, config, seed=problem.seed)
        return build_network(network.__name__, config, weights)

    sizes = {"num_ws": problem.config.num_ws, "w_dim": problem.config.w_dim}
    return pie.Networks(
        generator=problem.generator(),
        perceptual=problem.perceptual_network(),
        reconstruction=random(*RECONSTRUCTION[problem.reconstruction]),
        rignets={group: random(RigNet, RigNetConfig(group, **sizes)) for group in EDITABLE_GROUPS},
        recognition=random(*RECOGNITION[problem.recognition]),
        models=embedded_models(),
    )


BENCHMARK = Benchmark(
    workload,
    PIE,
    perceptual=True,
    completed=whole_problem,
    iterations=ITERATIONS,
    summary=summary,
)
