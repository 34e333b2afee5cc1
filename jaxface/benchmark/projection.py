"""One iteration of a W+ projection without its optimiser: energy and gradient.

The energy of image i is the mean squared pixel difference to its target, plus, where the problem
has a perceptual network, Image2StyleGAN's perceptual term (Abdal et al. 2019, equation 2): the
mean squared difference of VGG-16's conv1_1, conv1_2, conv3_2 and conv4_2 (before the ReLU), each
with weight 1, on images box-averaged to at most 256 px. A target's features are computed once, in
``set_targets``, as in a real projection.
"""

import jax
import numpy as np

from jaxface.benchmark.problem import Problem
from jaxface.benchmark.synthesis import random_w_plus
from jaxface.benchmark.workload import Call, Program, Workload
from jaxface.losses import perceptual, photometric
from jaxface.nets import VGG16, Generator

LAYERS: tuple[str, ...] = ("conv1_1", "conv1_2", "conv3_2", "conv4_2")
FEATURE_RESOLUTION = 256


class Projection:
    """jaxface as a contender."""

    def __init__(self, problem: Problem):
        self._generator = problem.generator()
        self._vgg = problem.perceptual_network()

    def set_targets(self, targets: jax.Array) -> None:
        """Take the target images [N, R, R, 3] and compute their features."""
        features = None if self._vgg is None else jax.jit(_features)(self._vgg, targets)
        self.energy_gradient = Program(
            _energy_gradient, self._generator, self._vgg, targets, features
        )


def workload(problem: Problem, *, batch: int, rng: np.random.Generator) -> Workload:
    """Standard normal styles; targets uniform in [-1, 1]."""
    w_plus = random_w_plus(problem, batch=batch, rng=rng)
    shape = (batch, problem.resolution, problem.resolution, 3)
    return Workload(
        batch=batch,
        calls=(Call("energy_gradient", (w_plus,), outputs=("energy", "gradient")),),
        targets=rng.uniform(-1, 1, shape).astype(np.float32),
    )


def _features(vgg: VGG16, images: jax.Array) -> perceptual.Features:
    return perceptual.features(vgg, images, LAYERS, resolution=FEATURE_RESOLUTION)


def _energy_gradient(
    generator: Generator,
    vgg: VGG16 | None,
    targets: jax.Array,
    features: perceptual.Features | None,
    w_plus: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Energies [N] and the gradient of each with respect to its own styles [N, L, 512]."""

    def total(w_plus: jax.Array) -> tuple[jax.Array, jax.Array]:
        images = generator.synthesis(w_plus)
        energy = photometric.l2(images, targets)
        if vgg is not None and features is not None:
            weights = dict.fromkeys(LAYERS, 1.0)
            energy = energy + perceptual.distance(_features(vgg, images), features, weights)
        return energy.sum(), energy

    gradient, energy = jax.grad(total, has_aux=True)(w_plus)
    return energy, gradient
