"""One iteration of a W+ projection without its optimiser: energy and gradient.

The energy of image i is the mean squared pixel difference to its target, plus, each with weight 1
and on images box-averaged to at most 256 px, what the problem has a network for:

* the perceptual term of Image2StyleGAN (Abdal et al. 2019, equation 2): the mean squared
  difference of VGG-16's conv1_1, conv1_2, conv3_2 and conv4_2 (before the ReLU);
* LPIPS (Zhang et al. 2018), the term of StyleGAN2's own projector, on images of the same 256 px
  (stylegan2-ada-pytorch's ``projector.py``), and of most of its successors.

A target's features are computed once, in ``set_targets``, as in a real projection.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.benchmark.problem import Problem
from jaxface.benchmark.synthesis import random_w_plus
from jaxface.benchmark.workload import Benchmark, Call, Program, Workload
from jaxface.losses import perceptual, photometric
from jaxface.nets import LPIPS, VGG16, Generator
from jaxface.runtime.devices import Dtype

LAYERS: tuple[str, ...] = ("conv1_1", "conv1_2", "conv3_2", "conv4_2")
FEATURE_RESOLUTION = 256

# Of one image, as many as that projector takes (num_steps).
ITERATIONS = 1000

Features = dict[str, perceptual.Features]


class Projection:
    """jaxface as a contender."""

    def __init__(self, problem: Problem):
        self._generator = problem.generator()
        self._dtype: Dtype = problem.dtype
        networks = {"perceptual": problem.perceptual_network(), "lpips": problem.lpips_network()}
        self._judges = {name: network for name, network in networks.items() if network is not None}

    def set_targets(self, targets: jax.Array) -> None:
        """Take the target images [N, R, R, 3] and compute their features."""
        measured = functools.partial(_features, dtype=self._dtype)
        features = jax.jit(measured)(self._judges, targets)
        energy_gradient = functools.partial(_energy_gradient, dtype=self._dtype)
        self.energy_gradient = Program(
            energy_gradient, self._generator, self._judges, targets, features
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


def _features(judges: Mapping[str, VGG16 | LPIPS], images: jax.Array, *, dtype: Dtype) -> Features:
    """By term, what is compared of the images; float32, computed in `dtype`."""
    result: Features = {}
    for term, judge in judges.items():
        small = perceptual.downsample(images, FEATURE_RESOLUTION).astype(dtype)
        is_lpips = isinstance(judge, LPIPS)
        features = judge.features(small) if is_lpips else judge.features(small, LAYERS)
        result[term] = {layer: x.astype(jnp.float32) for layer, x in features.items()}
    return result


def _energy_gradient(
    generator: Generator,
    judges: Mapping[str, VGG16 | LPIPS],
    targets: jax.Array,
    features: Features,
    w_plus: jax.Array,
    *,
    dtype: Dtype,
) -> tuple[jax.Array, jax.Array]:
    """Energies [N] and the gradient of each with respect to its own styles [N, L, 512]."""

    def total(w_plus: jax.Array) -> tuple[jax.Array, jax.Array]:
        images = generator.synthesis(w_plus)
        energy = photometric.l2(images, targets)
        for term, shown in _features(judges, images, dtype=dtype).items():
            judge, wanted = judges[term], features[term]
            if isinstance(judge, LPIPS):
                energy = energy + judge.distance(shown, wanted)
            else:
                energy = energy + perceptual.distance(shown, wanted, dict.fromkeys(LAYERS, 1.0))
        return energy.sum(), energy

    gradient, energy = jax.grad(total, has_aux=True)(w_plus)
    return energy, gradient


BENCHMARK = Benchmark(workload, Projection, energy=True, iterations=ITERATIONS)
