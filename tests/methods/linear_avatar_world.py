"""A linear world for tests of PVP: a generator and a reader that are matrices, and their frames."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxface.methods.pvp import (
    MapperSettings,
)
from jaxface.methods.pvp.features import (
    Features,
    Layout,
    features_of,
)
from jaxface.methods.pvp.losses import Batch, Frozen
from jaxface.methods.pvp.training import Training, fresh_mappers
from jaxface.morphable.motion import Motion
from jaxface.nets import GeneratorConfig
from jaxface.nets.variables import Buffer

SIZE, ROWS, WIDTH, ANCHORS = 16, 10, 6, 12
RNG = np.random.default_rng(0)
PIXELS = np.linalg.qr(RNG.normal(size=(SIZE * SIZE * 3, ROWS * WIDTH)))[0].T * 2
POINTS = RNG.normal(size=(ANCHORS, ROWS, WIDTH)).astype(np.float32) * 0.5


class Synthesis(nnx.Module):
    """Draws codes, a line in all of them; its basis is what tuning changes."""

    def __init__(self):
        self.basis = nnx.Param(jnp.asarray(PIXELS, jnp.float32))
        self.blocks = nnx.List([])
        self.noise_const = Buffer(jnp.zeros((SIZE, SIZE, 1)))

    def __call__(self, w_plus, noise="const"):
        images = w_plus.reshape(len(w_plus), -1) @ self.basis[...]
        return images.reshape(-1, SIZE, SIZE, 3) + self.noise_const[...]


class World(nnx.Module):
    num_ws, resolution = ROWS, SIZE

    def __init__(self):
        self.config = GeneratorConfig(16, w_dim=WIDTH)
        self.synthesis = Synthesis()


class Reader(nnx.Module):
    """Reads pose and expression off an image, by fixed lines."""

    def __init__(self):
        lines = np.random.default_rng(5).normal(size=(SIZE * SIZE * 3, 9)) / 20
        self.lines = Buffer(jnp.asarray(lines, jnp.float32))

    def read(self, images):
        return images.reshape(len(images), -1) @ self.lines[...]

    def motion(self, found):
        return Motion(found[:, :3], found[:, 3:6], found[:, 6:], "flame")


def motion_of(count, seed=3):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(count, 3)).astype(np.float32) * 0.3 for _ in range(3)]
    return Motion(*parts, "flame")


SETTINGS = MapperSettings(
    steps=20,
    batch_size=4,
    perceptual_weight=0.0,
    identity_weight=0.0,
    learning_rate=5e-3,
    hidden=16,
)


def batch_like(motion, images):
    features = features_of(motion)
    return Batch(
        images=jnp.asarray(images),
        pose=jnp.asarray(features.pose),
        expression=jnp.asarray(features.expression),
        rotation=jnp.asarray(motion.rotation),
        identity=jnp.zeros((len(images), 1)),
        moving=jnp.zeros((len(images), SIZE, SIZE)),
    )


def world_frames(motion):
    """Images whose codes follow pose along the anchors' hull and expression in the first rows."""
    pose = np.asarray(motion.rotation)[:, :2]
    line = RNG_LINES[0]
    weights = np.exp(pose @ line[:2])
    weights /= weights.sum(axis=1, keepdims=True)
    codes = np.einsum("tk,kld->tld", weights, POINTS)
    codes[:, :8] += 0.2 * np.tanh(np.asarray(motion.expression) @ RNG_LINES[1]).reshape(
        -1, 8, WIDTH
    )
    return np.asarray(World().synthesis(jnp.asarray(codes, jnp.float32)))


RNG_LINES = (
    np.random.default_rng(7).normal(size=(2, ANCHORS)) * 2,
    np.random.default_rng(8).normal(size=(3, 8 * WIDTH)),
)


def training_of(settings, count=40, **more):
    motion = motion_of(count)
    frames = batch_like(motion, world_frames(motion))
    mappers = fresh_mappers(
        settings, POINTS, Features(frames.pose, frames.expression), key=jax.random.key(0)
    )
    options = {"selection": None, "layout": Layout(3, 0), "key": jax.random.key(1)} | more
    return Training(settings, mappers, Frozen(World(), Reader()), frames, **options), frames
