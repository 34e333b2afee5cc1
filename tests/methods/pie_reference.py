"""PIE's energy written from the paper in float64 NumPy, and toy networks that NumPy can repeat.

Only the face model's drawing is the library's own (`vertex_view`, `landmarks`), tested elsewhere.
"""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.morphable import LANDMARKS_66, SEMANTIC_GROUPS, FaceParameters, landmarks, vertex_view
from jaxface.morphable.parameters import WIDTHS
from jaxface.nets import RigNet, RigNetConfig, VGGFaceConfig
from jaxface.weights import abstract_network, build_network, network_names

RESOLUTION, L, DIM, Z = 8, 2, 4, 3


class Config(types.SimpleNamespace):
    """A generator's configuration, which compiled programs are kept by."""

    __hash__ = object.__hash__


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LinearGenerator:
    """z [N, 3] to w_plus [N, 2, 4] to images [N, 8, 8, 3], linearly; noise adds its own image.

    At 4 px the image is brighter than its means, as a sum of fewer RGB outputs is another image.
    """

    to_w: jax.Array
    weight: jax.Array
    w_mean: jax.Array
    resolution = RESOLUTION
    num_ws = L
    config = Config(
        num_ws=L,
        z_dim=Z,
        architecture="skip",
        resolution=RESOLUTION,
        image_resolutions=(4, RESOLUTION),
    )

    def mapping(self, z, truncation):
        w = self.w_mean + truncation * (z @ self.to_w)
        return jnp.tile(w[:, None], (1, L, 1))

    def computing_in(self, dtype):
        return dataclasses.replace(self, weight=self.weight.astype(dtype).astype(jnp.float32))

    def synthesis(self, w_plus, noise, *, resolution=None):
        image = jnp.tensordot(w_plus, self.weight, 2)
        if isinstance(noise, str):
            image = image + {"const": 0.3, "none": 0.0}[noise]
        else:
            image += 0.3 * jax.vmap(lambda key: jax.random.normal(key, (8, 8, 3)))(noise)
        if resolution is None:
            return image
        assert resolution == 4
        return 0.1 + image.reshape(-1, 4, 2, 4, 2, 3).mean(axis=(2, 4))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LinearFeatures:
    """Features that are linear in the pixels, another map for each layer."""

    weight: jax.Array

    def features(self, images, layers):
        return {name: images @ self.weight[int(name[4])] for name in layers}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Linear:
    """Images [N, 8, 8, 3] to vectors, linearly."""

    weight: jax.Array
    bias: jax.Array

    def __call__(self, images):
        return images.reshape(len(images), -1) @ self.weight + self.bias


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LinearLandmarks(Linear):
    """68 points around the middle, in pixels."""

    def __call__(self, images):
        return super().__call__(images).reshape(-1, 68, 2) * images.shape[1]


def toy_suite(seed=0):
    """Every network of the energy, so weak that parameters stay those of a face."""
    rng = np.random.default_rng(seed)

    def normal(*shape, scale=1.0):
        return jnp.asarray(scale * rng.normal(size=shape), jnp.float32)

    spread = np.concatenate(
        [
            np.full(width, {"rotation": 0.1, "translation": 0.03}.get(name, 0.2))
            for name, width in WIDTHS.items()
        ]
    )
    mean = np.zeros(257)
    mean[-27:-24] = 2.5  # an even light
    pixels = RESOLUTION * RESOLUTION * 3
    reconstruction = rng.normal(size=(pixels, 257)) * spread / np.sqrt(pixels)
    return ToySuite(
        generator=LinearGenerator(
            normal(Z, DIM), normal(L, DIM, 8, 8, 3, scale=0.2), normal(DIM, scale=0.3)
        ),
        perceptual=LinearFeatures(normal(6, 3, 5)),
        reconstruction=Linear(
            jnp.asarray(reconstruction, jnp.float32), jnp.asarray(mean, jnp.float32)
        ),
        recognition=Linear(normal(pixels, 6), normal(6)),
        descriptor=toy_descriptor(),
        landmarks=LinearLandmarks(normal(pixels, 136, scale=0.002), jnp.full(136, 0.5)),
        rignets={group: toy_rignet(rng, group) for group in ("pose", "expression", "illumination")},
    )


def toy_descriptor(seed=0):
    """A VGG-Face of four channels a convolution."""
    config = VGGFaceConfig(channels=(4, 4, 4, 4, 4), width=8, resolution=32, mean=(120, 110, 90))
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, spec in network_names(abstract_network("VGGFace", config)).items():
        gain = np.sqrt(2 / np.prod(spec.shape[:-1]))  # keeps the size of what a ReLU passes
        arrays[name] = (gain * rng.normal(size=spec.shape)).astype(np.float32)
        if name.endswith("bias"):
            arrays[name] = np.full(spec.shape, 0.1, np.float32)
    return build_network("VGGFace", config, arrays)


class ToySuite(types.SimpleNamespace):
    """Networks by role."""

    def __contains__(self, role):
        return hasattr(self, role)


def toy_rignet(rng, group):
    config = RigNetConfig(group, num_ws=L, w_dim=DIM, hidden=3)
    names = network_names(abstract_network("RigNet", config))
    arrays = {
        name: (1 + rng.random(spec.shape) if name == "scale" else 0.2 * rng.normal(size=spec.shape))
        for name, spec in names.items()
    }
    network = build_network("RigNet", config, {n: a.astype(np.float32) for n, a in arrays.items()})
    assert isinstance(network, RigNet)
    return network


class Paper:
    """The equations for one portrait I and one v, in float64."""

    def __init__(self, suite, settings, portrait, v):
        self.suite, self.settings = suite, settings
        self.I, self.v = portrait.astype(np.float64), np.asarray(v, np.float64)

    def image(self, w):
        weight = np.asarray(self.suite.generator.weight, np.float64)
        noise = 0.0 if self.settings.noise == "none" else 0.3
        return np.tensordot(w, weight, 2) + noise

    def theta(self, image):
        network = self.suite.reconstruction
        flat = image.reshape(-1) @ np.asarray(network.weight, np.float64)
        return flat + np.asarray(network.bias, np.float64)

    def fields(self, group):
        """The group's places among the 257."""
        ends = np.cumsum(list(WIDTHS.values()))
        starts = dict(zip(WIDTHS, ends - list(WIDTHS.values()), strict=True))
        return np.concatenate(
            [starts[name] + np.arange(WIDTHS[name]) for name in SEMANTIC_GROUPS[group]]
        )

    def rignet(self, w, theta, group):
        """StyleRig: w_i + decoder_i [encoder_i w_i, parameters]."""
        net = self.suite.rignets[group]
        encoder, decoder = (np.asarray(p[...], np.float64) for p in (net.encoder, net.decoder))
        bias, end = (np.asarray(p[...], np.float64) for p in (net.encoder_bias, net.decoder_bias))
        mean, scale = (np.asarray(p[...], np.float64) for p in (net.mean, net.scale))
        wanted = (theta[self.fields(group)] - mean) / scale
        rows = []
        for i in range(L):
            code = w[i] @ encoder[i] + bias[i]
            rows.append(w[i] + np.concatenate([code, wanted]) @ decoder[i] + end[i])
        return np.stack(rows)

    def replaced(self, rest, other, group):
        """[rest^not-tau, other^tau]."""
        mixed = rest.copy()
        mixed[self.fields(group)] = other[self.fields(group)]
        return mixed

    def landmarks(self, image):
        if self.settings.landmarks == "model":
            return self.drawn_landmarks(self.theta(image))
        network = self.suite.landmarks
        flat = image.reshape(-1) @ np.asarray(network.weight, np.float64)
        points = flat + np.asarray(network.bias, np.float64)
        return points.reshape(68, 2)[list(LANDMARKS_66)]

    def drawn_landmarks(self, theta):
        points = landmarks(face(theta), RESOLUTION)[0] / RESOLUTION
        return np.asarray(points, np.float64)[list(LANDMARKS_66)]

    def equation_10(self, image, theta):
        view = vertex_view(face(theta), RESOLUTION)
        visible = np.asarray(view.visible[0], np.float64)
        here = bilinear(image, np.asarray(view.positions[0], np.float64))
        squares = np.square(np.asarray(view.colours[0], np.float64) - here).sum(-1)
        if self.settings.occluded is not None:
            squares = squares / (1 + squares / self.settings.occluded**2)
        photometric = (visible * squares).sum() / visible.sum()
        offset = self.landmarks(image) - self.drawn_landmarks(theta)
        landmark = np.square(offset).sum(-1).mean()
        settings = self.settings
        return settings.photometric_weight * photometric + settings.landmark_weight * landmark

    def l2(self, w):
        return np.square(self.I - self.image(w)).mean()

    def perceptual(self, w):
        weight = np.asarray(self.suite.perceptual.weight, np.float64)
        size = self.settings.perceptual_resolution
        total = 0.0
        for name, factor in self.settings.layers:
            a, b = (box(x, size) @ weight[int(name[4])] for x in (self.I, self.image(w)))
            total += factor * np.square(a - b).mean()
        return total

    def identity(self, w, group):
        theta_w = self.theta(self.image(w))
        return np.square(w - self.rignet(w, theta_w, group)).mean()

    def edited(self, w, group):
        """I_w^."""
        return self.image(self.rignet(w, self.theta(self.image(self.v)), group))

    def edit(self, w, group):
        image_v = self.image(self.v)
        theta = self.theta(self.edited(w, group))
        mixed = self.replaced(self.theta(image_v), theta, group)
        return self.equation_10(image_v, mixed)

    def invariance(self, w, group):
        theta = self.theta(self.edited(w, group))
        return self.equation_10(self.I, self.replaced(theta, self.theta(self.I), group))

    def equation_14(self, image):
        if self.settings.psi == "descriptor":
            return self.descriptor_distance(image)
        network = self.suite.recognition
        weight, bias = (np.asarray(p, np.float64) for p in (network.weight, network.bias))
        psi = [x.reshape(-1) @ weight + bias for x in (self.I, image)]
        a, b = (x / np.linalg.norm(x) for x in psi)
        return np.square(a - b).sum()

    def descriptor_distance(self, image):
        """Of VGG-Face, whose own arithmetic is tested elsewhere, of rows 2 to 6, columns 1 to 5."""
        faces = np.float32([x[2:7, 1:6] for x in (self.I, image)])
        a, b = np.asarray(self.suite.descriptor(faces), np.float64)
        return np.square(a / np.linalg.norm(a) - b / np.linalg.norm(b)).sum()

    def recognition(self, w):
        return self.equation_14(self.image(w))

    def edit_recognition(self, w, group):
        return self.equation_14(self.edited(w, group))

    def terms(self, w, groups):
        """Every term of equations 7 to 15 without its weight, means over the groups."""
        w = np.asarray(w, np.float64)
        found = {name: getattr(self, name)(w) for name in ("l2", "perceptual", "recognition")}
        for name in ("identity", "edit", "invariance", "edit_recognition"):
            found[name] = np.mean([getattr(self, name)(w, group) for group in groups])
        return found


def face(theta):
    return FaceParameters.from_flat(jnp.asarray(theta, jnp.float32)[None])


def box(image, size):
    factor = max(1, len(image) // size)
    side = len(image) // factor
    return image.reshape(side, factor, side, factor, 3).mean(axis=(1, 3))


def bilinear(image, positions):
    """Positions in pixels, the first one's centre at (0.5, 0.5), clamped at the border."""
    found = []
    for x, y in np.clip(positions - 0.5, 0, len(image) - 1):
        i, j = min(int(y), len(image) - 2), min(int(x), len(image) - 2)
        a, b = y - i, x - j
        upper = image[i, j] * (1 - b) + image[i, j + 1] * b
        lower = image[i + 1, j] * (1 - b) + image[i + 1, j + 1] * b
        found.append(upper * (1 - a) + lower * a)
    return np.stack(found)
