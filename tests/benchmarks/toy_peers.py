"""Peers for the benchmark's tests."""

import jax
import numpy as np

from jaxface.benchmark import networks, projection, synthesis


class Zeros:
    """Answers of the right shape and of no value, in NumPy; keeps a log of who was called."""

    log: list[str] = []  # noqa: RUF012
    name = "zeros"

    def __init__(self, problem):
        self.side = problem.resolution
        self.info = {"repository": "none", "commit": "0"}

    def forward(self, w_plus):
        self.log.append(self.name)
        return np.zeros((len(w_plus), self.side, self.side, 3), np.float32)

    def forward_backward(self, w_plus, cotangent):
        return np.zeros_like(cotangent), np.zeros_like(w_plus)


class OtherZeros(Zeros):
    name = "other"


class Boxed:
    """An array that NumPy cannot see into, as one on another device."""

    def __init__(self, array):
        self.array = array


class Equal:
    """jaxface itself behind the protocol, with arrays of its own kind."""

    def __init__(self, problem):
        generator = problem.generator()
        self._forward = jax.jit(lambda w: synthesis._forward(generator, w))
        self._backward = jax.jit(lambda w, c: synthesis._forward_backward(generator, w, c))

    def put(self, array):
        return Boxed(array)

    def get(self, output):
        return output.array

    def forward(self, w_plus):
        return Boxed(self._forward(w_plus.array))

    def forward_backward(self, w_plus, cotangent):
        return [Boxed(output) for output in self._backward(w_plus.array, cotangent.array)]


class ByCotangent:
    """The energy's gradient through the image's: d energy / d image, pulled back to W+."""

    def __init__(self, problem):
        self.generator, self.vgg = problem.generator(), problem.perceptual_network()
        self.lpips = problem.lpips_network()

    def set_targets(self, targets):
        self.targets = targets

    def energy_gradient(self, w_plus):
        images, pull_back = jax.vjp(self.generator.synthesis, w_plus)
        error = np.asarray(images) - self.targets
        energy, cotangent = np.mean(error**2, axis=(1, 2, 3)), 2 * error / error[0].size
        if self.vgg is not None:
            for name in projection.LAYERS:
                wanted = self.vgg.features(self.targets, [name])[name]
                found, to_image = jax.vjp(lambda x, n=name: self.vgg.features(x, [n])[n], images)
                error = np.asarray(found - wanted)
                energy = energy + np.mean(error**2, axis=(1, 2, 3))
                cotangent = cotangent + to_image(2 * error / error[0].size)[0]
        if self.lpips is not None:
            distance = lambda images: self.lpips(images, self.targets)  # noqa: E731
            found, to_image = jax.vjp(distance, images)
            energy = energy + np.asarray(found)
            cotangent = cotangent + to_image(np.ones_like(found))[0]
        return energy, pull_back(cotangent)[0]


class ChannelsFirst(Zeros):
    """The wrong layout, and one output too few."""

    def forward(self, w_plus):
        return super().forward(w_plus).transpose(0, 3, 1, 2)

    def forward_backward(self, w_plus, cotangent):
        return np.zeros_like(cotangent)


class NotFinite(Zeros):
    def forward(self, w_plus):
        return super().forward(w_plus) + np.float32(np.nan)


NOT_A_FACTORY = 3


def nothing(problem):
    """No implementation of anything."""


class _Networks:
    """jaxface's own network behind the protocol of `networks`, with its weights as constants."""

    def __init__(self, problem):
        ours = networks.Network(problem)

        def baked(program):
            return jax.jit(lambda *inputs: program._jitted(*program._networks, *inputs))

        self.forward, self.forward_backward = baked(ours.forward), baked(ours.forward_backward)


def tiny_vgg(problem):
    return _Networks(problem) if problem.name == "vgg16" and problem.tiny else None
