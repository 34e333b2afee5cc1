"""Editing directions, style edits and latent mappers, each against its formula in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from seeded import seeded_network

from jaxface.nets import (
    DirectionsConfig,
    GeneratorConfig,
    LatentMapperConfig,
    StyleDirectionsConfig,
    StyleMapperConfig,
)
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.weights import abstract_network

RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(2, 6))
UNITS, MEAN = np.array([0.5, 2.0]), RNG.normal(size=6)
W, W_PLUS = RNG.normal(size=(3, 6)), RNG.normal(size=(3, 4, 6))
STRENGTHS = np.array([1.5, -2.0, 0.0])
# Sums of some ten products of order 1 in float32.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def directions():
    return directions_of(
        ("age", "smile"), jnp.asarray(VECTORS), units=jnp.asarray(UNITS), mean=jnp.asarray(MEAN)
    )


def unit(index):
    return VECTORS[index] / np.linalg.norm(VECTORS[index])


@pytest.mark.parametrize("latents", [W, W_PLUS], ids=["W", "W+"])
def test_moving_adds_units_of_the_direction(directions, latents):
    steps = STRENGTHS.reshape(3, *[1] * (latents.ndim - 1)) * UNITS[1] * unit(1)
    found = directions.move(jnp.asarray(latents), "smile", jnp.asarray(STRENGTHS))
    np.testing.assert_allclose(found, latents + steps, **CLOSE)
    found = directions.move(jnp.asarray(latents), "age", 3.0)
    np.testing.assert_allclose(found, latents + 3 * 0.5 * unit(0), **CLOSE)
    moved = directions.coordinate(found, "age") - directions.coordinate(latents, "age")
    np.testing.assert_allclose(moved, 3, **CLOSE)


@pytest.mark.parametrize("latents", [W, W_PLUS], ids=["W", "W+"])
def test_placing_sets_the_coordinate_and_leaves_the_rest(directions, latents):
    placed = np.asarray(directions.place(jnp.asarray(latents), "smile", jnp.asarray(STRENGTHS)))
    found = (placed - MEAN) @ unit(1) / UNITS[1]
    wanted = STRENGTHS.reshape(3, *[1] * (latents.ndim - 2))
    np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), **CLOSE)
    across = np.eye(6) - np.outer(unit(1), unit(1))
    np.testing.assert_allclose(placed @ across, latents @ across, **CLOSE)


def test_only_the_chosen_rows_move(directions):
    whole = np.asarray(directions.move(jnp.asarray(W_PLUS), "age", 2.0))
    part = np.asarray(directions.move(jnp.asarray(W_PLUS), "age", 2.0, rows=range(1, 3)))
    np.testing.assert_array_equal(part[:, 1:3], whole[:, 1:3])
    np.testing.assert_array_equal(part[:, [0, 3]], W_PLUS[:, [0, 3]].astype(np.float32))


def test_a_direction_of_w_plus_has_a_vector_for_every_row():
    vectors = RNG.normal(size=(1, 4, 6))
    found = directions_of(["pose"], jnp.asarray(vectors)).move(jnp.asarray(W_PLUS), "pose", 2.0)
    rows = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    np.testing.assert_allclose(found, W_PLUS + 2 * rows, **CLOSE)


def test_wrong_calls_are_explained(directions):
    w_plus = jnp.asarray(W_PLUS)
    for call, message in (
        (lambda: directions.move(w_plus, "smiel", 1.0), "did you mean 'smile'"),
        (lambda: directions.move(w_plus[..., :5], "age", 1.0), r"or \[N, L, 6\], got \[3, 4, 5\]"),
        (lambda: directions.move(w_plus[0, 0], "age", 1.0), r"expected latents \[N, 6\]"),
        (lambda: directions.move(w_plus, "age", 1.0, rows=[4]), r"rows in 0\.\.3, got 4"),
        (lambda: directions.move(w_plus[:, 0], "age", 1.0, rows=[0]), r"only W\+ has rows"),
        (lambda: directions_of(["a"], jnp.zeros((1, 3))), "length 0"),
        (lambda: directions_of(["a", "b"], jnp.ones((1, 3))), "each of 2 names"),
        (lambda: directions_of(["a"], jnp.ones((1, 3)), units=jnp.ones(2)), r"units \[1\]"),
        (lambda: DirectionsConfig(("a", "a")), "all different"),
        (lambda: DirectionsConfig(("a",), space="s"), "'z' or 'w'"),  # pyright: ignore
        (lambda: DirectionsConfig(("a",), space="z", rows=4), "Z has one"),
        (lambda: DirectionsConfig(("a",), dim=0), "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    in_z = directions_of(["a"], jnp.ones((1, 6)), space="z")
    with pytest.raises(ValueError, match=r"in z: expected latents \[N, 6\], got \[3, 4, 6\]"):
        in_z.move(w_plus, "a", 1.0)


# Style space.

SMALL = GeneratorConfig(8, z_dim=4, w_dim=4, channel_base=32, channel_max=4, mapping_layers=1)


def test_style_space_has_the_published_size():
    widths = GeneratorConfig(1024).style_widths
    assert len(widths) == 26
    assert sum(widths) == 9088
    assert StyleDirectionsConfig(widths).edited.sum() == 6048  # rows of StyleCLIP's fs3.npy


def affine_layers(synthesis):
    """The maps from W to styles, in the order of computation."""
    for block in synthesis.blocks:
        for layer in (block.conv0, block.conv1, block.to_rgb):
            if layer is not None:
                yield layer.affine


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_style_widths_are_those_of_the_layers(architecture):
    config = GeneratorConfig(64, channel_base=256, channel_max=16, architecture=architecture)
    layers = affine_layers(abstract_network("Generator", config).synthesis)
    assert config.style_widths == tuple(layer.bias.shape[0] for layer in layers)


def test_a_style_shift_is_a_change_of_the_affine_biases(random_network):
    generator, changed = (random_network("Generator", SMALL) for _ in range(2))
    shift = jnp.asarray(RNG.normal(size=sum(SMALL.style_widths)), jnp.float32)
    parts = np.split(shift, np.cumsum(SMALL.style_widths)[:-1])
    for layer, part in zip(affine_layers(changed.synthesis), parts, strict=True):
        layer.bias[...] += part
    draw = jax.jit(
        lambda network, w_plus, shift: network.synthesis(w_plus, "none", style_shift=shift)
    )
    w_plus = jnp.asarray(RNG.normal(size=(2, SMALL.num_ws, 4)), jnp.float32)
    still = jnp.zeros_like(shift)[None]
    found, wanted = draw(generator, w_plus, shift[None]), draw(changed, w_plus, still)
    # The same sum, associated in another way: some roundings of the largest value.
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    assert np.abs(found - draw(generator, w_plus, still)).max() > 0.1 * np.abs(wanted).max()
    with pytest.raises(ValueError, match=r"style_shift of shape \[N, 20\], got \[2, 3\]"):
        generator.synthesis(w_plus, "none", style_shift=jnp.zeros((2, 3)))


def test_a_text_s_edit_of_styles():
    config = StyleDirectionsConfig((3, 3, 3, 2, 2), text_dim=5)
    network = seeded_network("StyleDirections", config)
    relevance = RNG.normal(size=(8, 5))
    relevance /= np.linalg.norm(relevance, axis=1, keepdims=True)
    deviation = np.arange(1.0, 14.0)
    network.relevance[...], network.deviation[...] = jnp.asarray(relevance), jnp.asarray(deviation)
    text = RNG.normal(size=5)
    scores = relevance @ text / np.linalg.norm(text)
    threshold = float(np.median(np.abs(scores)))
    kept = np.where(np.abs(scores) < threshold, 0, scores)
    kept /= np.abs(kept).max()
    assert 0 < np.count_nonzero(kept) < 8
    expected = np.zeros(13)  # styles 1 and 4 are RGB layers'
    expected[[0, 1, 2, 6, 7, 8, 9, 10]] = kept
    found = network.direction(jnp.asarray(text), threshold=threshold)
    np.testing.assert_allclose(found, expected * deviation, **CLOSE)
    assert not network.direction(jnp.asarray(text), threshold=1.1).any()
    with pytest.raises(ValueError, match=r"expected a text \[5\], got \[4\]"):
        network.direction(jnp.zeros(4), threshold=0.1)
    for widths in ((), (3, 3, 3), (3, 0)):
        with pytest.raises(ValueError, match="widths"):
            StyleDirectionsConfig(widths)


def test_styles_are_what_the_affine_maps_make_of_their_rows(random_network):
    generator = random_network("Generator", SMALL)
    w_plus = RNG.normal(size=(2, SMALL.num_ws, 4))
    blocks = SMALL.num_ws // 2
    rows = [0, 1] + [row for b in range(1, blocks) for row in (2 * b - 1, 2 * b, 2 * b + 1)]
    expected = [
        w_plus[:, row] @ np.asarray(layer.weight[...], np.float64) / np.sqrt(4)
        + np.asarray(layer.bias[...])
        for row, layer in zip(rows, affine_layers(generator.synthesis), strict=True)
    ]
    found = generator.synthesis.styles(jnp.asarray(w_plus))
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), **CLOSE)
    with pytest.raises(ValueError, match=r"expected w_plus of shape \[N, "):
        generator.synthesis.styles(jnp.zeros((2, 4)))


def test_a_mapper_of_styles():
    config = StyleMapperConfig((3, 3, 3, 2, 2), layers=2)
    network = seeded_network("StyleMapper", config)
    for layers in network.styles:
        for layer in layers:  # as large as trained
            layer.weight[...] *= 100
            layer.bias[...] *= 100
    styles = RNG.normal(size=(3, 13))
    expected = np.zeros((3, 13))
    for part, layers in zip((slice(3), slice(6, 9), slice(9, 11)), network.styles, strict=True):
        x = styles[:, part]
        x = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-8)
        for layer in layers:
            weight = np.asarray(layer.weight[...], np.float64) * 0.01 / np.sqrt(x.shape[1])
            x = x @ weight + np.asarray(layer.bias[...], np.float64) * 0.01
            x = np.where(x >= 0, x, 0.2 * x) * np.sqrt(2)
        expected[:, part] = 0.1 * x
    assert np.abs(expected).max() > 0.01
    found = network(jnp.asarray(styles, jnp.float32))
    np.testing.assert_allclose(found, expected, **CLOSE)
    scaled = network(jnp.asarray(styles, jnp.float32), strength=jnp.asarray(STRENGTHS))
    np.testing.assert_allclose(scaled, STRENGTHS[:, None] * expected, **CLOSE)
    with pytest.raises(ValueError, match=r"expected styles \[N, 13\], got \[3, 12\]"):
        network(jnp.zeros((3, 12)))
    for fields in ({"widths": (3, 3, 3)}, {"widths": (3, 0)}, {"widths": (3, 3), "layers": 0}):
        with pytest.raises(ValueError, match=r"(widths|layers): expected"):
            StyleMapperConfig(**fields)


# Latent mappers.


def reference(network, w_plus):
    """``mapper/latent_mappers.py``: PixelNorm over rows, then EqualLinear with fused leaky ReLU."""
    rows = {
        "coarse": slice(0, 4),
        "medium": slice(4, 8),
        "fine": slice(8, None),
        "all": slice(None),
    }
    found = np.zeros_like(w_plus)
    for name, layers in zip(network.config.levels, network.levels, strict=True):
        x = w_plus[:, rows[name]]
        if not x.size:
            continue
        x = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-8)
        for layer in layers:
            weight = np.asarray(layer.weight[...], np.float64) * 0.01 / np.sqrt(x.shape[2])
            x = x @ weight + np.asarray(layer.bias[...], np.float64) * 0.01
            x = np.where(x >= 0, x, 0.2 * x) * np.sqrt(2)
        found[:, rows[name]] = x
    return found


@pytest.mark.parametrize(
    ("levels", "count"),
    [(("coarse", "medium", "fine"), 18), (("coarse", "fine"), 6), (("medium",), 6), (("all",), 6)],
)
def test_mapper(levels, count):
    network = seeded_network("LatentMapper", LatentMapperConfig(levels, w_dim=5, layers=2))
    for layers in network.levels:
        for layer in layers:  # as large as trained
            layer.weight[...] *= 100
            layer.bias[...] *= 100
    w_plus = RNG.normal(size=(3, count, 5))
    offsets = reference(network, w_plus)
    assert np.abs(offsets).max() > 0.1
    assert offsets[:, 4:].any() == (levels != ("coarse", "fine"))
    edit = jax.jit(lambda network, w_plus, strength: network(w_plus, strength=strength))
    found = edit(network, jnp.asarray(w_plus, jnp.float32), jnp.ones(3))
    np.testing.assert_allclose(found, w_plus + 0.1 * offsets, **CLOSE)
    scaled = edit(network, jnp.asarray(w_plus, jnp.float32), jnp.asarray(STRENGTHS))
    wanted = w_plus + 0.1 * STRENGTHS[:, None, None] * offsets
    np.testing.assert_allclose(scaled, wanted, **CLOSE)


def test_a_mapper_has_a_gradient_and_refuses_other_latents():
    network = seeded_network("LatentMapper", LatentMapperConfig(w_dim=5, layers=1))
    w_plus = jnp.asarray(RNG.normal(size=(1, 6, 5)), jnp.float32)
    gradient = jax.jit(jax.grad(lambda w, network: jnp.sum(network(w) ** 2)))(w_plus, network)
    assert jnp.isfinite(gradient).all()
    with pytest.raises(ValueError, match=r"expected w_plus \[N, L, 5\], got \[1, 5\]"):
        network(w_plus[:, 0])
    for fields in ({"levels": ("fine", "coarse")}, {"levels": ()}, {"levels": ("all", "fine")}):
        with pytest.raises(ValueError, match="levels"):
            LatentMapperConfig(**fields)
    with pytest.raises(ValueError, match="at least 1"):
        LatentMapperConfig(layers=0)
