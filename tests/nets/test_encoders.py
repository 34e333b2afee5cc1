"""The encoders against float64 loops, their reading of images, and what they refuse."""

import dataclasses

import irse_reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from irse_reference import value
from PIL import Image

from jaxface.nets import EncoderConfig
from jaxface.nets.encoders.styles import read_generated, read_portraits

# Nine styles reach the third map; at 32 px the maps have 2, 4 and 8 px.
CONFIG = EncoderConfig(
    channels=(2, 3, 4, 5), units=(1, 1, 2, 1), reduction=2, num_ws=9, w_dim=6, resolution=32
)
ENCODERS = ("PSPEncoder", "E4EEncoder", "RestylePSPEncoder", "RestyleE4EEncoder", "WEncoder")

# Some twenty layers of float32 sums; a wrong weight changes a code by its whole size.
TOLERANCE = 2e-5

# Unoptimised code compiles in half the time, and these networks run in no time at all.

encode = jax.jit(lambda encoder, *inputs: encoder(*inputs))
offsets = jax.jit(
    lambda encoder, *inputs, **options: encoder.offsets(*inputs, **options), static_argnames="stage"
)


@pytest.fixture(scope="module")
def encoders(random_network):
    return {name: irse_reference.tame(random_network(name, CONFIG)) for name in ENCODERS}


def pictures(*shape):
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def inputs_of(name, count=2, side=32):
    """What the encoder's call takes."""
    images, generated = pictures(2, count, side, side, 3)
    w_plus = pictures(count, CONFIG.num_ws, CONFIG.w_dim)
    return (images, generated, w_plus) if name.startswith("Restyle") else (images,)


def dense(x, layer):
    return x @ value(layer.weight) / np.sqrt(layer.weight.shape[0]) + value(layer.bias)


def enlarged(x):
    """Bilinear to twice the side, corners on corners: a loop over output pixels."""
    side = x.shape[1]
    y = np.zeros((len(x), 2 * side, 2 * side, x.shape[3]))
    for i in range(2 * side):
        for j in range(2 * side):
            u, v = (k * (side - 1) / (2 * side - 1) for k in (i, j))
            a, b = min(int(u), side - 2), min(int(v), side - 2)
            u, v = u - a, v - b
            upper = (1 - v) * x[:, a, b] + v * x[:, a, b + 1]
            lower = (1 - v) * x[:, a + 1, b] + v * x[:, a + 1, b + 1]
            y[:, i, j] = (1 - u) * upper + u * lower
    return y


def style(x, block):
    for conv in block.convs:
        x = reference.correlate(x, value(conv.weight), pad=1)[:, ::2, ::2] + value(conv.bias)
        x = np.where(x >= 0, x, 0.01 * x)
    assert x.shape[1:3] == (1, 1)
    return dense(x[:, 0, 0], block.dense)


def loop(name, encoder, *inputs):
    """The codes before the start is added, in float64; e4e's as those of the last stage."""
    stages = irse_reference.body(encoder.body, np.concatenate(inputs[:2], axis=-1))
    if name == "WEncoder":
        return dense(stages[-1].mean(axis=(1, 2)), encoder.dense)
    maps = [stages[3]] * 3
    if name in ("PSPEncoder", "E4EEncoder"):
        for level, lateral in ((1, encoder.lateral1), (2, encoder.lateral2)):
            finer = stages[3 - level] @ value(lateral.weight)[0, 0] + value(lateral.bias)
            maps[level] = enlarged(maps[level - 1]) + finer
    levels = [0] * 3 + [1] * 4 + [2] * 2
    codes = [style(maps[level], block) for level, block in zip(levels, encoder.styles, strict=True)]
    if "E4E" in name:
        codes = [codes[0], *(codes[0] + delta for delta in codes[1:])]
    return np.stack(codes, axis=1)


def assert_close(found, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("name", ENCODERS)
def test_codes_match_a_float64_loop(name, encoders):
    encoder, inputs = encoders[name], inputs_of(name)
    expected = loop(name, encoder, *inputs)
    assert_close(offsets(encoder, *inputs[:2]), expected)
    start = inputs[2] if len(inputs) == 3 else value(encoder.w_start)
    expected = expected + start
    if name == "WEncoder":
        expected = np.repeat(expected[:, None], CONFIG.num_ws, axis=1)
    assert_close(encode(encoder, *inputs), expected)


@pytest.mark.parametrize(
    "name", ["E4EEncoder", pytest.param("RestyleE4EEncoder", marks=pytest.mark.slow)]
)
def test_progressive_stages(name, encoders):
    encoder, inputs = encoders[name], inputs_of(name)[:2]
    full = np.asarray(offsets(encoder, *inputs))
    for stage in (0, 4, 9):
        found = np.asarray(offsets(encoder, *inputs, stage=stage))
        assert_close(found[:, : stage + 1], full[:, : stage + 1])
        for row in range(stage + 1, CONFIG.num_ws):
            np.testing.assert_array_equal(found[:, row], found[:, 0])
    for stage in (-1, 10):
        with pytest.raises(ValueError, match=r"expected a progressive stage in 0\.\.9"):
            encoder.offsets(*inputs, stage=stage)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name.startswith("Restyle") else name
        for name in ENCODERS
    ],
)
def test_an_item_does_not_depend_on_its_batch(name, encoders):
    inputs = inputs_of(name, count=3)
    alone = [encode(encoders[name], *(x[i : i + 1] for x in inputs)) for i in range(3)]
    assert_close(encode(encoders[name], *inputs), np.concatenate(alone))


@pytest.mark.parametrize("side", [20, 32, 45, 100])
def test_portraits_are_resized_as_pil_does_it(side):
    image = pictures(1, side, side, 3)
    # In PIL's floating-point mode, one channel at a time; the originals' 8-bit images round.
    expected = [
        np.asarray(Image.fromarray(image[0, ..., c]).resize((32, 32), Image.Resampling.BILINEAR))
        for c in range(3)
    ]
    found = read_portraits("X", jnp.asarray(image), 32)[0]
    # PIL's weights of a dozen pixels are float32.
    np.testing.assert_allclose(found, np.stack(expected, axis=-1), atol=1e-5)


def test_generated_images_are_averaged():
    image = pictures(1, 128, 128, 3)
    expected = image.reshape(1, 32, 4, 32, 4, 3).mean(axis=(2, 4))
    found = read_generated("X", jnp.asarray(image), 32)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    small = pictures(1, 8, 8, 3)
    found = read_generated("X", jnp.asarray(small), 32)
    np.testing.assert_allclose(found, small.repeat(4, axis=1).repeat(4, axis=2), atol=1e-6)


@pytest.mark.parametrize("name", ["PSPEncoder", "RestylePSPEncoder"])
def test_pictures_of_any_size_are_read(name, encoders):
    inputs = inputs_of(name, side=48)
    resized = (read_portraits("X", jnp.asarray(inputs[0]), 32),)
    if len(inputs) == 3:
        resized += (read_generated("X", jnp.asarray(inputs[1]), 32), inputs[2])
    assert_close(encode(encoders[name], *inputs), encode(encoders[name], *resized))


@pytest.mark.parametrize("name", ENCODERS)
def test_other_pictures_are_refused(name, encoders):
    images, *rest = inputs_of(name)
    for wrong in (images[:, :, :20], images[..., :1], images[0]):
        with pytest.raises(ValueError, match=rf"{name}: expected aligned portraits \[N, S, S, 3\]"):
            encoders[name](wrong, *rest)
        if rest:
            with pytest.raises(ValueError, match=rf"{name}: expected aligned portraits"):
                encoders[name](images, wrong, *rest[1:])


def test_wrong_sizes_are_refused():
    for change in ({"num_ws": 0}, {"w_dim": 0}, {"resolution": 48}, {"resolution": 16}):
        with pytest.raises(ValueError, match="EncoderConfig"):
            dataclasses.replace(CONFIG, **change)


def test_the_configuration_takes_effect(random_network):
    encoder = random_network("PSPEncoder", dataclasses.replace(CONFIG, num_ws=4, w_dim=3))
    shape = jax.eval_shape(encoder, jnp.zeros((1, 40, 40, 3))).shape
    assert shape == (1, 4, 3)
    depths = [len(block.convs) for block in encoder.styles]
    assert depths == [1, 1, 1, 2]
    deeper = random_network("PSPEncoder", dataclasses.replace(CONFIG, num_ws=4, resolution=64))
    assert [len(block.convs) for block in deeper.styles] == [2, 2, 2, 3]
