"""Run a converted network on a seeded input and say what came out: ``--check``.

Images are uniform noise in [-1, 1], latents normal. The ranges are no proof that a network does
what its source does (the tests are); they show what a reader of the file would meet first: NaN,
infinity, or outputs that are all alike.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.convert.refusal import Refusal
from jaxface.morphable.modes import EXPRESSION_MODES, IDENTITY_MODES
from jaxface.nets.features import alexnet, vgg

SEED = 0
COUNT = 2
"""Items of a batch; the minibatch deviation of a discriminator takes its own number."""
SIDE = 256
"""Of the images, where the network reads them at any size."""
ROWS = 18
"""Of W+, where the network takes any."""

Inputs = tuple[Any, ...]
Run = Callable[..., Any]


def check_network(network: Any) -> list[str]:
    """One line for every output of the network: its shape and range.

    Raises:
        Refusal: if an output is not finite everywhere.
    """
    name = type(network).__name__
    inputs, run = CHECKS.get(name, IMAGES)
    outputs = jax.jit(run)(network, *inputs(network.config, np.random.default_rng(SEED)))
    lines = []
    for path, output in jax.tree_util.tree_leaves_with_path(outputs):
        label = jax.tree_util.keystr(path, simple=True, separator=".") or "output"
        lines.append(_line(label, np.asarray(output, np.float64)))
    return lines


def _line(label: str, values: np.ndarray) -> str:
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise Refusal(
            f"the check's {label} {list(values.shape)} holds NaN or infinity "
            f"({100 * bad / values.size:.3g} %)"
        )
    return (
        f"check    {label} {list(values.shape)}: min {values.min():.5g}, max {values.max():.5g}, "
        f"mean {values.mean():.5g}, non-finite 0 %"
    )


def _images(random: np.random.Generator, *shape: int) -> jax.Array:
    return jnp.asarray(random.uniform(-1, 1, shape), jnp.float32)


def _normal(random: np.random.Generator, *shape: int) -> jax.Array:
    return jnp.asarray(random.standard_normal(shape), jnp.float32)


def _labels(config: Any, count: int) -> Inputs:
    """The first class for every item, where there are classes."""
    return (jax.nn.one_hot(jnp.zeros(count, int), config.c_dim),) if config.c_dim else ()


def _images_alone(config: Any, random: np.random.Generator) -> Inputs:
    return (_images(random, COUNT, SIDE, SIDE, 3),)


def _squares(config: Any, random: np.random.Generator) -> Inputs:
    return (_images(random, COUNT, config.input_size, config.input_size, 3),)


def _mesh(config: Any, random: np.random.Generator) -> Inputs:
    return (SIDE * _images(random, COUNT, 478, 2),)


def _heads_of_points(config: Any, random: np.random.Generator) -> Inputs:
    return (SIDE * _images(random, COUNT, config.points, 3),)


def _pairs(config: Any, random: np.random.Generator) -> Inputs:
    return (*_images_alone(config, random), *_images_alone(config, random))


def _latents(config: Any, random: np.random.Generator) -> Inputs:
    return (_normal(random, COUNT, config.z_dim), *_labels(config, COUNT))


def _judged(config: Any, random: np.random.Generator) -> Inputs:
    count = config.mbstd_group_size or COUNT
    side = config.resolution
    images = _images(random, count, side, side, config.image_channels)
    return (images, *_labels(config, count))


def _heads(config: Any, random: np.random.Generator) -> Inputs:
    shape, expression = (_normal(random, COUNT, n) for n in (config.shape, config.expression))
    return shape, expression, 0.1 * _normal(random, COUNT, 6)


def _basel(config: Any, random: np.random.Generator) -> Inputs:
    identity, expression = (_normal(random, COUNT, n) for n in (IDENTITY_MODES, EXPRESSION_MODES))
    return (identity, expression) if config.has_expression else (identity,)


def _edited(config: Any, random: np.random.Generator) -> Inputs:
    rows = _normal(random, COUNT, config.num_ws, config.w_dim)
    return rows, 0.1 * _normal(random, COUNT, config.num_parameters)


def _moved_rows(config: Any, random: np.random.Generator) -> Inputs:
    rows = _normal(random, COUNT, config.rows, config.w_dim)
    return rows, _normal(random, COUNT, len(config.names))


def _driven(config: Any, random: np.random.Generator) -> Inputs:
    return (_normal(random, COUNT, config.num_ws, config.w_dim), *_images_alone(config, random))


def _moving(config: Any, random: np.random.Generator) -> Inputs:
    return (_normal(random, COUNT, *([config.rows] if config.rows > 1 else []), config.dim),)


def _text(config: Any, random: np.random.Generator) -> Inputs:
    return (_normal(random, config.text_dim),)


def _styled(config: Any, random: np.random.Generator) -> Inputs:
    return (_normal(random, COUNT, ROWS, config.w_dim),)


def _styles(config: Any, random: np.random.Generator) -> Inputs:
    return (1 + _normal(random, COUNT, sum(config.widths)),)


def _call(network: Any, *inputs: jax.Array) -> Any:
    return network(*inputs)


def _generate(network: Any, z: jax.Array, *label: jax.Array) -> dict[str, jax.Array]:
    w_plus = network.mapping(z, *label)
    return {"w_plus": w_plus, "images": network.synthesis(w_plus, noise="const")}


def _refine(network: Any, images: jax.Array, generated: jax.Array) -> jax.Array:
    """The first iteration, from the start of all."""
    start = jnp.broadcast_to(network.w_start[...], (COUNT, *network.w_start.shape))
    return network(images, generated, start)


def _move(network: Any, latents: jax.Array) -> dict[str, jax.Array]:
    names = network.names
    coordinates = [network.coordinate(latents, name) for name in names]
    moved = [network.move(latents, name, 1.0) for name in names]
    return {"coordinates": jnp.stack(coordinates), "moved": jnp.stack(moved)}


def _steer(network: Any, text: jax.Array) -> jax.Array:
    return network.direction(text, threshold=0.0)


def _last_features(names: tuple[str, ...]) -> Run:
    def run(network: Any, images: jax.Array) -> dict[str, jax.Array]:
        return network.features(images, [names[0], names[-1]])

    return run


def _landmarks(network: Any, images: jax.Array) -> dict[str, jax.Array]:
    return {"heatmaps": network.heatmaps(images)[-1], "points": network(images, mirrored=False)}


Check = tuple[Callable[[Any, np.random.Generator], Inputs], Run]

IMAGES: Check = (_images_alone, _call)
CHECKS: dict[str, Check] = {
    "AlexNet": (_images_alone, _last_features(alexnet.LAYER_NAMES)),
    "BaselModel": (_basel, _call),
    "Blendshapes": (_mesh, _call),
    "CanonicalFace": (_heads_of_points, _call),
    "DirectionMatrix": (_moved_rows, _call),
    "Discriminator": (_judged, _call),
    "FaceDetector": (_squares, _call),
    "FaceMesh": (_squares, _call),
    "FAN": (_images_alone, _landmarks),
    "FLAME": (_heads, _call),
    "Generator": (_latents, _generate),
    "LatentDirections": (_moving, _move),
    "LatentMapper": (_styled, _call),
    "LPIPS": (_pairs, _call),
    "MobileGenerator": (_latents, _generate),
    "RestyleE4EEncoder": (_pairs, _refine),
    "RestylePSPEncoder": (_pairs, _refine),
    "RigNet": (_edited, _call),
    "StyleDirections": (_text, _steer),
    "StyleMapper": (_styles, _call),
    "TransferNetwork": (_driven, _call),
    "VGG16": (_images_alone, _last_features(vgg.LAYER_NAMES)),
}
"""By class: what it is given, and how; a class that is not here is given ``IMAGES``."""
