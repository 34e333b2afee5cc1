"""The augmentation pipeline against float64 NumPy, and its statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.methods.stylegan2 import AugmentSettings
from jaxface.methods.stylegan2 import augmentation as pipeline

SETTINGS = AugmentSettings()


@pytest.fixture(scope="module")
def drawn():
    return jax.jit(lambda key: pipeline.draw(key, 8, jnp.float32(1.0), SETTINGS))(jax.random.key(1))


@pytest.fixture(scope="module")
def many():
    """20000 draws at p = 1 and at p = 0.4, as NumPy arrays."""
    draw = jax.jit(lambda key, p: pipeline.draw(key, 20_000, p, SETTINGS))
    return [
        {name: np.asarray(value) for name, value in vars(draw(jax.random.key(7), p)).items()}
        for p in (1.0, 0.4)
    ]


def translation(x, y):
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def scaling(x, y):
    return np.diag([x, y, 1.0])


def rotation(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def test_geometry_is_the_inverse_of_the_transforms_in_order(drawn):
    side = 10
    found = pipeline.geometry_matrix(drawn, side)
    for i in range(8):
        d = {name: np.asarray(value[i], np.float64) for name, value in vars(drawn).items()}
        # What happens to the image, the first transform rightmost.
        forward = translation(*(d["fraction"] * side))
        forward = forward @ rotation(-d["rotation_after"])
        forward = forward @ scaling(d["stretch"], 1 / d["stretch"])
        forward = forward @ rotation(-d["rotation_before"])
        forward = forward @ scaling(d["scale"], d["scale"])
        forward = forward @ translation(*np.round(d["shift"] * side))
        forward = forward @ rotation(-np.pi / 2 * d["quarter_turns"])
        forward = forward @ scaling(1 - 2 * d["flip"], 1)
        # Products of eight float32 matrices with entries of some ten pixels.
        np.testing.assert_allclose(found[i], np.linalg.inv(forward), atol=3e-5)


def test_colours_are_the_transforms_in_order(drawn):
    found = pipeline.colour_matrix(drawn)
    grey = np.ones(3) / np.sqrt(3)
    along = np.outer(grey, grey)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    for i in range(8):
        d = {name: np.asarray(value[i], np.float64) for name, value in vars(drawn).items()}
        for colour in np.eye(4, 3):
            x = colour + d["brightness"]
            x = x * d["contrast"]
            x = x - 2 * d["luma_flip"] * grey * (grey @ x)
            turn = np.cos(d["hue"]), np.sin(d["hue"])
            x = (along + turn[0] * (np.eye(3) - along) + turn[1] * cross) @ x
            x = along @ x + d["saturation"] * (x - along @ x)
            result = found[i] @ np.append(colour, 1.0)
            np.testing.assert_allclose(result[:3], x, atol=2e-5)  # float32 products


def warp_reference(image, matrix):
    """`training/augment.py`'s geometric part for one image [R, R, C], in float64 NumPy."""
    taps, side = pipeline.SYM6, len(image)
    pad = side - 1  # one whole reflection on each side, the most the reference pads
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")

    def along_axes(x, function):
        for axis in (0, 1):
            x = np.apply_along_axis(function, axis, x)
        return x

    def up(row):
        zeros = np.zeros(2 * len(row) + 11)
        zeros[6 : 6 + 2 * len(row) : 2] = row
        return np.convolve(zeros, 2 * taps, "valid")

    large = along_axes(padded, up)
    size = 2 * (side + 6)
    found = np.zeros((size, size, image.shape[-1]))
    half = translation(-0.5, -0.5)
    full = half @ scaling(2, 2) @ matrix @ scaling(0.5, 0.5) @ np.linalg.inv(half)
    centre = (len(large) - 1) / 2
    for row in range(size):
        for column in range(size):
            x, y, _ = full @ [column - (size - 1) / 2, row - (size - 1) / 2, 1]
            x, y = x + centre, y + centre
            left, top = int(np.floor(x)), int(np.floor(y))
            for i, wy in ((top, top + 1 - y), (top + 1, y - top)):
                for j, wx in ((left, left + 1 - x), (left + 1, x - left)):
                    found[row, column] += wy * wx * large[i, j]

    def down(row):
        return np.convolve(row[1:-1], taps[::-1], "valid")[::2]

    return along_axes(found, down)


def test_warp_is_the_references():
    side = 12
    images = np.asarray(jax.random.normal(jax.random.key(0), (3, side, side, 2)))
    matrices = np.stack(
        [
            rotation(0.4) @ scaling(1.1, 0.9) @ translation(1.3, -0.7),
            scaling(-1, 1) @ translation(2, 1),
            rotation(np.pi / 2) @ scaling(0.8, 0.8),
        ]
    )
    found = jax.jit(pipeline.warp)(images, matrices.astype(np.float32))
    for i in range(3):
        # Positions of some ten pixels in float32, times slopes of order one.
        np.testing.assert_allclose(found[i], warp_reference(images[i], matrices[i]), atol=2e-5)


def test_nothing_happens_at_p_zero():
    images = jax.random.normal(jax.random.key(0), (4, 16, 16, 3))
    found = jax.jit(lambda x, p: pipeline.augment(x, p, jax.random.key(1), SETTINGS))(images, 0.0)
    # The wavelet is orthogonal: only the rounding of 4 x 12 taps is left.
    np.testing.assert_allclose(found, images, atol=1e-5)


def test_quarter_turns_and_flips_turn_and_flip():
    side = 16
    axis = np.linspace(-1, 1, side)
    smooth = np.sin(2 * axis[:, None] + axis) + 0.3 * axis[:, None]
    images = np.repeat(smooth[None, :, :, None], 2, 0).astype(np.float32)
    matrices = np.stack([rotation(np.pi / 2), scaling(-1, 1)]).astype(np.float32)
    found = np.asarray(pipeline.warp(images, matrices))[..., 0]
    # Not exact, since the wavelet is only nearly symmetric; a wrong turn would be off by order 1.
    np.testing.assert_allclose(found[0], np.rot90(smooth), atol=0.02)
    np.testing.assert_allclose(found[1], smooth[:, ::-1], atol=0.02)


def test_distributions_at_p_one(many):
    d = many[0]
    # Standard errors with 20000 draws are below 1% of each deviation; the bounds are 3% and more.
    assert abs(d["flip"].mean() - 0.5) < 0.02
    assert np.all(np.abs(np.bincount(d["quarter_turns"].astype(int)) / 20_000 - 0.25) < 0.02)
    assert np.abs(d["shift"]).max() <= 0.125
    assert abs(d["shift"].std() - 0.125 / np.sqrt(3)) < 0.003
    for name, deviation in (("scale", 0.2), ("stretch", 0.2), ("contrast", 0.5), ("saturation", 1)):
        assert abs(np.log2(d[name]).std() / deviation - 1) < 0.03, name
        assert abs(np.log2(d[name]).mean()) < 0.03 * deviation, name
    for name, deviation in (("fraction", 0.125), ("brightness", 0.2)):
        assert abs(d[name].std() / deviation - 1) < 0.03, name
    for name in ("rotation_before", "rotation_after", "hue"):
        assert abs(d[name].std() / (np.pi / np.sqrt(3)) - 1) < 0.03, name
    assert abs(d["luma_flip"].mean() - 0.5) < 0.02
    assert abs(np.corrcoef(d["scale"], d["stretch"])[0, 1]) < 0.03


def test_probability_scales_each_transform(many):
    d = many[1]
    # 20000 Bernoulli draws: a standard error of 0.0035.
    for name, neutral in (("scale", 1), ("stretch", 1), ("brightness", 0), ("hue", 0)):
        assert abs(np.mean(d[name] != neutral) - 0.4) < 0.015, name
    for name in ("shift", "fraction"):
        moved = d[name] != 0
        assert np.array_equal(moved[:, 0], moved[:, 1]), name  # one decision for both axes
        assert abs(moved[:, 0].mean() - 0.4) < 0.015, name
    assert abs(np.mean(d["flip"]) - 0.2) < 0.015
    turned = (d["rotation_before"] != 0) | (d["rotation_after"] != 0)
    assert abs(turned.mean() - 0.4) < 0.015  # either of the two rotations


@pytest.mark.parametrize(
    ("multiplier", "field", "neutral"),
    [
        ("xflip", "flip", 0),
        ("rotate90", "quarter_turns", 0),
        ("xint", "shift", 0),
        ("scale", "scale", 1),
        ("rotate", "rotation_before", 0),
        ("rotate", "rotation_after", 0),
        ("aniso", "stretch", 1),
        ("xfrac", "fraction", 0),
        ("brightness", "brightness", 0),
        ("contrast", "contrast", 1),
        ("lumaflip", "luma_flip", 0),
        ("hue", "hue", 0),
        ("saturation", "saturation", 1),
    ],
)
def test_every_transform_can_be_turned_off(multiplier, field, neutral):
    drawn = pipeline.draw(
        jax.random.key(0), 32, jnp.float32(1.0), AugmentSettings(**{multiplier: 0.0})
    )
    assert np.all(getattr(drawn, field) == neutral)
    others = [name for name in vars(drawn) if name != field and not name.startswith("rotation")]
    assert all(len(np.unique(getattr(drawn, name))) > 1 for name in others)


@pytest.mark.slow
def test_gradients_pass_through():
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    other = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))

    def run(x):
        return pipeline.augment(x, jnp.float32(0.9), jax.random.key(2), SETTINGS)

    found, pull = jax.vjp(run, images)
    offset = run(jnp.zeros_like(images))  # the pipeline is affine in the images
    forward = jnp.sum((found - offset) * other, axis=(1, 2, 3))
    backward = jnp.sum(images * pull(other)[0], axis=(1, 2, 3))
    # Both are sums of 192 float32 products.
    np.testing.assert_allclose(forward, backward, rtol=1e-4, atol=1e-4)

    def penalty(scale):
        gradient = jax.grad(lambda x: jnp.sum(jnp.tanh(scale * run(x))))(images)
        return jnp.sum(gradient**2)

    with jax.enable_x64(True):
        images = images.astype(jnp.float64)
        slope, e = jax.grad(penalty)(1.0), 1e-4
        difference = (penalty(1.0 + e) - penalty(1.0 - e)) / (2 * e)
    # Second derivatives; the filters and draws stay float32, which bounds the difference quotient.
    np.testing.assert_allclose(slope, difference, rtol=1e-2)


def test_items_do_not_touch_each_other():
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    run = jax.jit(lambda x: pipeline.augment(x, jnp.float32(1.0), jax.random.key(2), SETTINGS))
    changed = run(images.at[1:].set(0.0))
    assert np.array_equal(run(images)[0], changed[0])
