"""GANSpace's components and InterFaceGAN's boundaries, on a tiny generator and on known clouds."""

import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.methods import linear_directions as latent_directions
from jaxface.methods.direction_fitting import BoundarySettings, GANSpaceSettings
from jaxface.methods.linear_directions import conditioned, ganspace, interfacegan_boundary
from jaxface.morphable.attributes import group_places, named_parameter
from jaxface.morphable.parameters import WIDTHS
from jaxface.nets import GeneratorConfig
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.suite import load_suite

CONFIG = GeneratorConfig(8, z_dim=5, w_dim=4, channel_base=16, channel_max=2, mapping_layers=1)


@pytest.fixture(scope="module")
def generator(random_network):
    generator = random_network("Generator", CONFIG)
    layer = generator.mapping.layers[0]
    layer.weight[...] *= 100  # weights are stored divided by the learning rate's multiplier
    layer.bias[...] += 300.0  # a mean far from the origin
    return generator


@pytest.mark.slow
def test_components_are_w_s_principal_axes(generator, monkeypatch):
    key = jax.random.key(3)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(600))
    z = jax.vmap(lambda key: jax.random.normal(key, (5,)))(keys)
    w = np.asarray(generator.mapping.to_w(z), np.float64)
    _, singular, axes = np.linalg.svd(w - w.mean(axis=0), full_matrices=False)
    found = ganspace(generator, key, samples=600, components=3)
    assert found.names == ("component_0", "component_1", "component_2")
    vectors = np.asarray(found.vectors[...])[:, 0]
    # W comes in float32, of size 10: its axes are known to some 1e-5.
    np.testing.assert_allclose(np.abs(np.sum(vectors * axes[:3], axis=1)), 1, atol=1e-5)
    assert (np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1) > 0).all()
    np.testing.assert_allclose(found.units[...], singular[:3] / np.sqrt(600), rtol=1e-4)
    np.testing.assert_allclose(found.mean[...], w.mean(axis=0), rtol=1e-5)
    for name in found.names:  # so coordinates of samples are standardised
        assert np.std(found.coordinate(jnp.asarray(w, jnp.float32), name)) == pytest.approx(
            1, abs=1e-3
        )
    monkeypatch.setattr(latent_directions, "_BATCH", 256)
    again = ganspace(generator, key, samples=600, components=3)
    np.testing.assert_allclose(again.vectors[...], found.vectors[...], atol=1e-4)
    for samples, components in ((1, 1), (10, 0), (10, 5)):
        with pytest.raises(ValueError, match="at least 2 samples and 1 to 4 components"):
            ganspace(generator, key, samples=samples, components=components)


def test_a_boundary_s_normal_is_the_direction_that_scores_grow_in():
    random = np.random.default_rng(0)
    latents = random.normal(size=(4000, 8)) + 5
    truth = random.normal(size=8)
    truth /= np.linalg.norm(truth)
    scores = np.tanh(latents @ truth - 3) + 0.05 * random.normal(size=4000)
    found = interfacegan_boundary(latents, scores, name="smile", share=0.1)
    normal = np.asarray(found.vectors[...])[0, 0]
    assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-6)
    assert normal @ truth > 0.99  # 0.998
    assert found.names == ("smile",)
    assert found.units[...].tolist() == [1.0]
    opposite = interfacegan_boundary(latents, -scores, name="smile", share=0.1)
    # The fit ends at a tolerance, and goes through its inputs in another order.
    np.testing.assert_allclose(np.asarray(opposite.vectors[...])[0, 0], -normal, atol=0.01)
    assert interfacegan_boundary(latents, scores, name="z", space="z").config.space == "z"


def test_the_fit_is_the_support_vector_machine_s():
    """No other normal nearby is better."""
    random = np.random.default_rng(1)
    labels = np.repeat([-1.0, 1.0], 40)
    inputs = random.normal(size=(80, 5)) + 0.6 * labels[:, None]  # not separable
    weights = latent_directions._svm(inputs, labels)

    def objective(w):
        return w @ w / 2 + np.maximum(0, 1 - labels * (inputs @ w)).sum()

    best = objective(weights)
    for scale in (1e-2, 1e-1):
        for step in random.normal(size=(200, 5)):
            assert objective(weights + scale * step) >= best * (1 - 1e-3)


def test_what_is_no_boundary_is_refused(monkeypatch):
    latents = np.zeros((100, 3))
    for arguments, message in (
        ((latents, np.zeros(99)), r"got \(100, 3\) and \(99,\)"),
        ((latents, np.zeros(100)), "expected a score that varies"),
        ((latents, np.arange(100.0), 0.001), "takes none"),
        ((latents, np.arange(100.0), 0.6), "more than half"),
    ):
        with pytest.raises(ValueError, match=message):
            interfacegan_boundary(*arguments[:2], name="a", share=(*arguments, 0.02)[2])
    noise = np.random.default_rng(3).normal(size=(100, 4))
    monkeypatch.setattr(latent_directions, "_SWEEPS", 1)
    with pytest.raises(ValueError, match="40 latents are not parted after 1 sweeps"):
        interfacegan_boundary(noise[:, :3], noise[:, 3], name="a", share=0.2)


def test_a_conditioned_direction_leaves_the_others_coordinates():
    random = np.random.default_rng(2)
    vectors = random.normal(size=(3, 6))
    directions = directions_of(
        ["age", "glasses", "pose"], jnp.asarray(vectors), units=jnp.asarray([1.0, 2.0, 3.0])
    )
    found = conditioned(directions, "pose", others=["age", "glasses"])
    latents = jnp.asarray(random.normal(size=(4, 6)), jnp.float32)
    moved = found.move(latents, "pose", 2.0)
    for name in ("age", "glasses"):
        np.testing.assert_allclose(
            directions.coordinate(moved, name), directions.coordinate(latents, name), atol=1e-5
        )
    # InterFaceGAN's formula for one condition.
    a, p = (vectors[i] / np.linalg.norm(vectors[i]) for i in (0, 2))
    one = p - (p @ a) * a
    found = conditioned(directions, "pose", others=["age"])
    np.testing.assert_allclose(
        np.asarray(found.vectors[...])[0, 0], one / np.linalg.norm(one), atol=1e-6
    )
    assert found.units[...].tolist() == [3.0]
    alone = conditioned(directions, "pose", others=[])
    np.testing.assert_allclose(alone.vectors[...][0, 0], p, atol=1e-6)
    with pytest.raises(ValueError, match="age lies among age"):
        conditioned(directions, "age", others=["age"])
    with pytest.raises(ValueError, match="no 'smile' among age, glasses, pose"):
        conditioned(directions, "age", others=["smile"])
    rows = directions_of(["a"], jnp.ones((1, 4, 6)))
    with pytest.raises(ValueError, match="one row, got 4"):
        conditioned(rows, "a", others=[])


def reading(images):
    """257 parameters of images: the yaw is the mean of red, the smile that of green."""
    flat = jnp.zeros((len(images), sum(WIDTHS.values())))
    for channel, name in enumerate(("yaw", "smile")):
        group, places = named_parameter(name, "embedded")
        place = group_places(group)[places[0]]
        flat = flat.at[:, place].set(images[..., channel].mean(axis=(1, 2)))
    return flat


@pytest.mark.slow
@pytest.mark.parametrize("free", [False, True])
def test_boundaries_of_a_suite_change_what_its_network_reads(generator, free):
    settings = BoundarySettings(
        attributes=("yaw", "smile"), samples=500, share=0.2, conditioned=free, batch_size=64
    )
    networks = {"generator": generator, "reconstruction": jax.tree_util.Partial(reading)}
    recipe = settings.recipe(key=jax.random.key(1), networks=networks, held_out=None)
    ((role, directions),) = recipe.networks(recipe.state).items()
    assert role == "direction_interfacegan"
    assert directions.names == ("yaw", "smile")
    z = jax.random.normal(jax.random.key(2), (64, 5))
    w_plus = jnp.repeat(generator.mapping.to_w(z)[:, None], generator.num_ws, axis=1)
    spread = float(jnp.std(w_plus[:, 0], axis=0).max())
    for name, channel in (("yaw", 0), ("smile", 1)):
        images = [
            generator.synthesis(directions.move(w_plus, name, strength * spread))
            for strength in (-1.0, 1.0)
        ]
        less, more = (np.asarray(each[..., channel].mean(axis=(1, 2))) for each in images)
        assert np.mean(more > less) > 0.9
    if free:
        vectors = np.asarray(directions.vectors[...])[:, 0]
        plain = BoundarySettings(("yaw", "smile"), samples=500, share=0.2)
        others = plain.recipe(key=jax.random.key(1), networks=networks, held_out=None)
        (others,) = others.networks({}).values()
        # Free of the other boundary as it was found.
        np.testing.assert_allclose(vectors[0] @ others.vectors[1, 0], 0, atol=1e-5)


def test_directions_of_a_suite_are_refused_in_one_line(generator, monkeypatch):
    def find(settings, **networks):
        recipe = settings.recipe(key=jax.random.key(0), networks=networks, held_out=None)
        return recipe.networks(recipe.state)

    read = jax.tree_util.Partial(reading)
    for settings, networks, message in (
        (GANSpaceSettings(), {}, "role 'generator': GANSpaceSettings"),
        (GANSpaceSettings(10, 5), {"generator": generator}, "1 to 4 components"),
        (BoundarySettings(), {"generator": generator}, "role 'reconstruction'"),
        (
            BoundarySettings(("smle",), 10),
            {"generator": generator, "reconstruction": read},
            "did you mean 'smile'",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            find(settings, **networks)
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(UsageError, match=r"'jaxface\[directions\]'"):
        interfacegan_boundary(np.eye(10), np.arange(10.0), name="a", share=0.2)


def test_what_train_writes_is_what_edit_moves_along(tiny_suite, tmp_path):
    pytest.importorskip("jaxface.data.sources", reason="training by settings that make a recipe")
    config = tmp_path / "tiny_ganspace.py"
    config.write_text(
        "from jaxface.data.sources import Latents\n"
        "from jaxface.methods.direction_fitting import GANSpaceSettings\n"
        "from jaxface.training.experiment import Experiment\n"
        "def get_config():\n"
        "    method = GANSpaceSettings(samples=64, components=2)\n"
        f"    return Experiment(method, Latents(num_test=0), suite={str(tiny_suite)!r})\n"
    )
    out, folder = tmp_path / "run", tmp_path / "suite"
    assert main(["train", "direction", "--config", str(config), "--out", str(out)]) == 0
    shutil.copytree(tiny_suite, folder)
    shutil.copy(out / "direction_ganspace.safetensors", folder)
    suite = load_suite(folder)
    suite.check()
    assert suite.directions["ganspace"].names == ("component_0", "component_1")
    w_plus = jnp.zeros((1, suite.generator.num_ws, suite.generator.config.w_dim))
    moved = suite.directions["ganspace"].move(w_plus, "component_1", 2.0)
    unit = suite.directions["ganspace"].units[1]
    np.testing.assert_allclose(jnp.linalg.norm(moved[0], axis=-1), 2 * unit, rtol=1e-5)
