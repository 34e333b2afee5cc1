"""Pivotal tuning at a tiny size: it draws the portrait, row by row, and moves little else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.keys import item_keys
from jaxface.methods import pti
from jaxface.metrics import psnr
from jaxface.nets import GeneratorConfig, LPIPSConfig, MobileGeneratorConfig
from jaxface.runtime.iteration import Phase
from jaxface.solving.solver import Status
from jaxface.suite import load_suite
from jaxface.weights import abstract_network, save_network
from tests.methods.splitting import assert_split

# A gain at each step with few of them; the published rate is for a trained generator.
QUICK = dataclasses.replace(pti.REPO, steps=4, learning_rate=0.01, stop_below=None)


@pytest.fixture(scope="module", name="suite")
def tiny_suite_with_lpips(tmp_path_factory, random_network):
    folder = tmp_path_factory.mktemp("suite")
    generator = GeneratorConfig(
        resolution=16, z_dim=8, w_dim=8, mapping_layers=1, channel_base=64, channel_max=4
    )
    lpips = random_network("LPIPS", LPIPSConfig("vgg", (4, 4, 4, 4, 4)))
    for head in lpips.heads:
        head[...] = jnp.abs(head[...])  # as the published ones
    save_network(folder / "generator.safetensors", random_network("Generator", generator))
    save_network(folder / "lpips.safetensors", lpips)
    return load_suite(folder)


@pytest.fixture(scope="module", name="portraits")
def portraits_and_pivots(suite):
    """Two images near what the generator draws, their pivots and their keys."""
    rng = np.random.default_rng(0)
    w_plus = rng.normal(size=(2, suite.generator.num_ws, 8)).astype(np.float32)
    drawn = np.asarray(jax.jit(lambda g, w: g.synthesis(w))(suite.generator, w_plus))
    images = 0.5 * drawn / np.abs(drawn).max() + 0.2
    return images.astype(np.float32), w_plus, item_keys(jax.random.key(1), ["a", "b"])


@pytest.fixture(scope="module", name="tuned")
def tuned_batch(suite, portraits):
    images, w_plus, keys = portraits
    return pti.tune(suite, images, w_plus, keys=keys, settings=QUICK, chunk=2)


@pytest.mark.slow
def test_the_tuned_generator_draws_the_portrait(suite, portraits, tuned):
    images, w_plus, _ = portraits
    assert tuned.status.tolist() == [Status.RUNNING] * 2
    assert tuned.steps.tolist() == [4, 4]
    draw = jax.jit(lambda generator, w: generator.synthesis(w))
    before = psnr(draw(suite.generator, w_plus), images)
    assert np.all(psnr(jnp.asarray(tuned.images), images) > before + 0.5)
    losses = tuned.traces["loss"]
    assert np.all(tuned.losses["loss"] < losses[0])
    # At the weights before the first update: those of the generator as it was.
    np.testing.assert_allclose(tuned.traces["l2"][0], 4 / 10 ** (np.array(before) / 10), rtol=1e-4)
    for row in range(2):
        generator = pti.tuned_generator(suite.generator, tuned.weights, row)
        alone = draw(generator, w_plus[row : row + 1])[0]
        # The same programs' float32, batched otherwise.
        np.testing.assert_allclose(alone, tuned.images[row], atol=1e-4 * np.abs(alone).max())
        np.testing.assert_array_equal(generator.w_mean, suite.generator.w_mean)


def test_a_portrait_does_not_depend_on_its_neighbours(suite, portraits, tuned):
    images, w_plus, keys = portraits
    others = np.stack([images[0], -images[1]])
    again = pti.tune(suite, others, w_plus, keys=keys, settings=QUICK, chunk=2)
    # The same program on the same numbers.
    np.testing.assert_array_equal(again.images[0], tuned.images[0])
    pairs = zip(jax.tree.leaves(again.weights), jax.tree.leaves(tuned.weights), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one[0], other[0])
    assert np.abs(again.images[1] - tuned.images[1]).max() > 0.01
    assert again.compile_seconds == 0


def test_nearby_latents_are_at_distance_alpha(suite, portraits):
    _, w_plus, keys = portraits
    settings = dataclasses.replace(pti.PAPER, samples=3, alpha=5.0)
    networks = pti.Networks(suite.generator, suite.lpips)
    near = pti.project_to_sphere(settings, networks, w_plus[0], keys[0])
    assert near.shape == (3, *w_plus.shape[1:])
    lengths = np.linalg.norm((near - w_plus[0]).reshape(3, -1), axis=1)
    np.testing.assert_allclose(lengths, 5.0, rtol=1e-5)  # float32 sums
    # Towards samples of the mapping network: where it has gone all the way, it is one.
    z = jax.random.normal(keys[0], (3, 8))
    w_z = suite.generator.mapping(z, truncation=0.5)
    distance = float(np.linalg.norm(w_z[0] - w_plus[0]))
    there = pti.locality_latents(dataclasses.replace(settings, alpha=distance), w_z[:1], w_plus[0])
    np.testing.assert_allclose(there, w_z[:1], atol=1e-5)
    wider = dataclasses.replace(settings, truncation=0.9)
    assert np.abs(pti.project_to_sphere(wider, networks, w_plus[0], keys[0]) - near).max() > 0.01


# The published weights, each changed once.
CHANGES = {
    "l2_weight": 2.0,
    "lpips_weight": 2.0,
    "locality_l2_weight": 0.3,
    "locality_lpips_weight": 0.3,
    "alpha": 3.0,
}


@pytest.fixture(scope="module", name="energy")
def compiled_energy(suite, portraits):
    """L of `PAPER` and its terms, with numbers as arguments: one program for all changes."""
    images, w_plus, keys = portraits
    networks = pti.Networks(suite.generator, suite.lpips)
    rest = dataclasses.replace(pti.PAPER, rows="vmap")

    @jax.jit
    def measure(networks, weights, numbers):
        settings = dataclasses.replace(rest, **numbers)
        targets = pti.read_targets(settings, networks, images, w_plus)
        return pti.energy(settings, weights, networks, targets, keys, jnp.int32(0))

    def energy(weights, **changes):
        numbers = {name: float(getattr(rest, name)) for name in CHANGES} | changes
        return jax.device_get(measure(networks, weights, numbers))

    return energy


def test_the_energy_is_the_sum_of_its_terms(suite, energy, tuned):
    loss, terms = energy(tuned.weights)
    assert np.all(terms["locality"] > 0)
    # Two float32 additions.
    np.testing.assert_allclose(loss, terms["l2"] + terms["lpips"] + terms["locality"], rtol=1e-6)
    # Nothing has moved where the generator is as it was: squares of roundings.
    untouched = pti.start(pti.Networks(suite.generator, suite.lpips), 2)
    assert np.all(energy(untouched)[1]["locality"] < 1e-6 * terms["locality"])


@pytest.mark.parametrize("name", CHANGES)
def test_every_weight_changes_its_terms(name, energy, tuned):
    (before, terms), (after, changed) = (
        energy(tuned.weights),
        energy(tuned.weights, **{name: CHANGES[name]}),
    )
    share = {"l2_weight": "l2", "lpips_weight": "lpips"}.get(name)
    if share:
        np.testing.assert_allclose(after - before, terms[share], rtol=1e-3)
    else:
        assert np.all(np.abs(changed["locality"] / terms["locality"] - 1) > 1e-3)


def test_the_distance_sees_a_smaller_image_where_asked(suite, portraits):
    images = jnp.asarray(np.repeat(np.repeat(portraits[0], 2, axis=1), 2, axis=2))
    networks = pti.Networks(suite.generator, suite.lpips)
    smaller = dataclasses.replace(QUICK, resolution=16)
    found = pti.features(smaller, networks, images)
    expected = pti.features(QUICK, networks, portraits[0])
    for layer, value in expected.items():
        np.testing.assert_allclose(found[layer], value, atol=1e-5)
    with pytest.raises(ValueError, match="resolution must be >= 1"):
        dataclasses.replace(QUICK, resolution=0)


@pytest.mark.slow  # a program for each
@pytest.mark.parametrize(
    ("change", "tolerance"),
    [
        # Convolutions in another order of float32 sums.
        ({"rows": "map"}, 1e-4),
        ({"rows": "unrolled"}, 1e-4),
        # Eight bits a number, averaged over an image.
        ({"dtype": "bfloat16"}, 0.02),
    ],
)
def test_forms_and_dtypes_agree(change, tolerance, suite, portraits, energy, tuned):
    images, w_plus, keys = portraits
    settings = dataclasses.replace(pti.PAPER, **{"rows": "vmap", **change})
    networks = pti.Networks(suite.generator, suite.lpips)
    if settings.dtype != "float32":
        networks = networks._replace(generator=suite.generator.computing_in(settings.dtype))

    @jax.jit
    def measure(networks, weights):
        targets = pti.read_targets(settings, networks, images, w_plus)
        return pti.energy(settings, weights, networks, targets, keys, jnp.int32(0))[0]

    found = measure(networks, tuned.weights)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, energy(tuned.weights)[0], rtol=tolerance)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be >= 1"),
        ({"rows": "grouped"}, "rows must be 'unrolled', 'map', 'vmap' or None"),
        ({"first_resolution": 16, "last_resolution": 8}, "last_resolution must be >= first_resol"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(pti.REPO, **change)


def blocks_tuned(network, **settings):
    """Which resolutions' weights are tuned, and whether the layers of RGB are."""
    chosen = dataclasses.replace(pti.REPO, **settings)
    weights = jax.eval_shape(
        lambda generator: pti.start(pti.Networks(generator, None), 1, settings=chosen), network
    )
    paths = [path for path, _ in nnx.to_flat_state(weights)]
    sizes = [block.resolution for block in network.synthesis.blocks]
    inside = {sizes[path[1]] for path in paths if path[0] == "blocks" and "to_rgb" not in path}
    outside = {path[0] for path in paths if path[0] != "blocks"}
    return inside, outside, any("to_rgb" in path or "to_image" in path for path in paths)


def test_what_is_tuned_can_be_chosen(suite):
    generator = suite.generator
    assert blocks_tuned(generator) == ({4, 8, 16}, set(), True)
    assert blocks_tuned(generator, first_resolution=8) == ({8, 16}, set(), True)
    assert blocks_tuned(generator, last_resolution=8) == ({4, 8}, set(), True)
    assert blocks_tuned(generator, tunes_rgb=False) == ({4, 8, 16}, set(), False)
    between = {"first_resolution": 8, "last_resolution": 8}
    assert blocks_tuned(generator, **between) == ({8}, set(), True)
    with pytest.raises(ValueError, match="no block from 32 px to 64 px"):
        blocks_tuned(generator, first_resolution=32, last_resolution=64)


def test_what_is_tuned_of_mobile_stylegan_can_be_chosen():
    config = MobileGeneratorConfig(resolution=32, w_dim=8, z_dim=8, channel_base=128, channel_max=8)
    generator = abstract_network("MobileGenerator", config)
    assert blocks_tuned(generator) == ({8, 16}, {"const", "first", "to_image"}, True)
    assert blocks_tuned(generator, tunes_rgb=False) == ({8, 16}, {"const", "first"}, False)
    assert blocks_tuned(generator, last_resolution=8) == ({8}, {"const", "first", "to_image"}, True)
    first = {"first_resolution": 8, "tunes_rgb": False}
    assert blocks_tuned(generator, **first) == ({8, 16}, set(), False)


def test_wrong_shapes_are_refused(suite, portraits):
    images, w_plus, keys = portraits
    with pytest.raises(ValueError, match=r"w_plus must be \(2, 6, 8\), got \(2, 5, 8\)"):
        pti.tune(suite, images, w_plus[:, :5], keys=keys, settings=QUICK)
    with pytest.raises(ValueError, match="images must be"):
        pti.tune(suite, images[:, :8], w_plus, keys=keys, settings=QUICK)


@pytest.mark.parametrize("rows", ["unrolled", pytest.param("map", marks=pytest.mark.slow)])
def test_rows_are_done_by_the_device_that_has_them(suite, rows):
    """Rows come one after the other, for all devices if nothing says whose they are."""
    settings = dataclasses.replace(pti.REPO, rows=rows, locality=True, samples=1)
    networks = pti.Networks(suite.generator, suite.lpips)
    images = jnp.zeros((2, 16, 16, 3))
    w_plus = jnp.zeros((2, suite.generator.num_ws, 8))
    batch = {
        "weights": pti.start(networks, 2, settings=settings),
        "targets": pti.read_targets(settings, networks, images, w_plus),
        "key": jax.random.key_data(jax.random.split(jax.random.key(0), 2)),
    }

    def step(state, networks, batch, key):
        keys = jax.random.wrap_key_data(batch["key"])

        def total(weights):
            return pti.evaluate(settings, weights, networks, batch["targets"], keys)[0].sum()

        return state, jax.grad(total)(batch["weights"])

    assert_split(Phase("tune", step), jnp.zeros(()), networks, batch, each=1)
