"""StyleGAN2's training: what each phase changes and by how much; published settings."""

import dataclasses
import functools
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.errors import UsageError
from jaxface.methods import stylegan2
from jaxface.methods.scene_regression import Reconstruction
from jaxface.methods.stylegan2 import losses
from jaxface.nets import DiscriminatorConfig, GeneratorConfig
from jaxface.runtime.devices import data_mesh
from jaxface.training.ema import update_average
from jaxface.training.loop import replicate, shard_batch
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

CONFIGS = Path(__file__).parents[2] / "configs"
# Unoptimised code compiles in half the time.

GENERATOR = GeneratorConfig(8, z_dim=6, w_dim=8, mapping_layers=1, channel_base=32, channel_max=4)
DISCRIMINATOR = DiscriminatorConfig(8, channel_base=32, channel_max=4)
SETTINGS = stylegan2.StyleGAN2Settings(
    GENERATOR, DISCRIMINATOR, num_images=64, batch_size=8, ema_half_life=80.0, ada_images=3200
)
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def batch():
    images = jax.random.normal(jax.random.key(1), (8, 8, 8, 3))
    factors = jax.random.normal(jax.random.key(2), (8, 3))
    return {"image": np.asarray(images), "factors": np.asarray(factors)}


@pytest.fixture(scope="module")
def networks(random_network):
    return {
        "generator": random_network("Generator", GENERATOR),
        "discriminator": random_network("Discriminator", DISCRIMINATOR),
    }


@pytest.fixture(scope="module")
def initial(networks):
    return stylegan2.initial_state(SETTINGS, jax.random.key(0), networks)


@functools.cache
def compiled(name, **changes):
    """A phase's function, compiled."""
    phases = stylegan2.phases(dataclasses.replace(SETTINGS, **changes))
    (phase,) = [phase for phase in phases if phase.name == name]
    return jax.jit(phase.fn)


def run(name, state, batch, **changes):
    return compiled(name, **changes)(state, {"perceptual": None}, batch, KEY)


def leaves(module):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(module)]


def moved(before, after):
    return max(np.abs(a - b).max() for a, b in zip(leaves(before), leaves(after), strict=True))


def test_a_step_has_the_references_phases():
    def names(**changes):
        phases = stylegan2.phases(dataclasses.replace(SETTINGS, **changes))
        return [(phase.name, phase.interval) for phase in phases]

    assert names() == [
        ("adapt", 4),
        ("generator", 1),
        ("path_length", 4),
        ("discriminator", 1),
        ("r1", 16),
        ("average", 1),
    ]
    assert "adapt" not in dict(names(augment=None))
    assert "adapt" not in dict(names(ada_target=None))
    assert dict(names(path_length_weight=0.0, r1_gamma=0.0)).keys() == {
        "adapt",
        "generator",
        "discriminator",
        "average",
    }
    assert SETTINGS.num_steps == 8


@pytest.mark.slow
def test_generator_phase(initial, batch):
    state = initial
    after, metrics = run("generator", state, batch)
    # Adam's first step with beta1 = 0 moves every weight by the learning rate, which lazy
    # regularisation every 4 steps scales by 4 / 5.
    assert moved(state.generator.synthesis, after.generator.synthesis) == pytest.approx(
        0.002 * 4 / 5, rel=1e-3
    )
    assert moved(state.discriminator, after.discriminator) == 0
    assert moved(state.average, after.average) == 0
    assert not np.array_equal(state.generator.w_mean, after.generator.w_mean)
    assert metrics["loss"] > 0


@pytest.mark.slow
def test_path_length_phase(initial, batch):
    state = initial
    after, metrics = run("path_length", state, batch)
    assert metrics["mean"] == after.path_length_mean > 0
    assert metrics["penalty"] > 0
    assert moved(state.generator, after.generator) > 0
    assert moved(state.discriminator, after.discriminator) == 0


@pytest.mark.slow
def test_discriminator_phases(initial, batch):
    state = initial
    after, _ = run("discriminator", state, batch)
    assert moved(state.discriminator, after.discriminator) == pytest.approx(
        0.002 * 16 / 17, rel=1e-3
    )
    assert moved(state.generator.synthesis, after.generator.synthesis) == 0
    assert after.sign_count == 8
    assert abs(after.sign_sum) <= 8
    again, metrics = run("r1", after, batch)
    assert again.sign_count == 16  # the reference counts the logits of both phases
    assert metrics["penalty"] > 0
    assert moved(after.discriminator, again.discriminator) > 0


@pytest.mark.parametrize(("sign", "move"), [(1.0, 0.01), (0.0, -0.01), (0.6, 0.0)])
def test_adapt_moves_towards_the_target(initial, batch, sign, move):
    # 8 images times 4 steps over 3200 images.
    state = dataclasses.replace(
        initial,
        augment_p=jnp.float32(0.5),
        sign_sum=jnp.float32(sign) * 32,
        sign_count=jnp.float32(32),
    )
    after, metrics = run("adapt", state, batch)
    assert metrics["p"] == after.augment_p
    assert float(after.augment_p) == pytest.approx(0.5 + move)
    assert after.sign_count == after.sign_sum == 0
    # Without a new logit nothing is known, so nothing moves; and p does not fall below 0.
    assert run("adapt", after, batch)[0].augment_p == after.augment_p
    low = dataclasses.replace(state, augment_p=jnp.float32(0.005), sign_sum=jnp.float32(0))
    assert run("adapt", low, batch)[0].augment_p == 0


def test_average_phase(initial, batch):
    state = initial
    generator = jax.tree.map(lambda leaf: leaf + 1.0, state.generator)
    after, _ = run("average", dataclasses.replace(state, generator=generator), batch)
    # 8 images at a half-life of 80: one weight of 2 ** -0.1 for the old.
    old, new = state.average.synthesis.blocks[0], after.average.synthesis.blocks[0]
    np.testing.assert_allclose(new.const[...] - old.const[...], 1 - 0.5**0.1, rtol=1e-4)
    np.testing.assert_array_equal(after.average.w_mean, generator.w_mean)
    assert after.images_seen == 8
    ramped, _ = run("average", dataclasses.replace(state, generator=generator), batch, ema_ramp=0.5)
    # Nothing seen yet: the average is the network.
    assert moved(ramped.average, generator) < 1e-6


def test_average_weights_copies_buffers(networks):
    generator = networks["generator"]
    other = jax.tree.map(lambda leaf: leaf + 1.0, generator)
    half = update_average(generator, other, 0.5)
    # atol 1e-6: float32 values of order 1 that were rounded on the way up and back.
    np.testing.assert_allclose(
        half.synthesis.blocks[0].const[...],
        generator.synthesis.blocks[0].const[...] + 0.5,
        atol=1e-6,
    )
    np.testing.assert_array_equal(half.w_mean, other.w_mean)
    assert not np.array_equal(half.w_mean, generator.w_mean)


def test_style_mixing_cuts_between_the_rows(networks):
    generator = networks["generator"]
    z = jax.random.normal(KEY, (3, 6))

    @functools.partial(jax.jit, static_argnames="probability")
    def mix(generator, key, probability):
        return losses.mix_styles(generator, z, key, probability=probability)

    own = generator.mapping(z)
    plain, _, cut = mix(generator, KEY, probability=0.0)
    # The same in two compilations, whose matrix products round apart.
    np.testing.assert_allclose(plain, own, rtol=1e-6, atol=2e-8)
    assert cut == generator.num_ws == 4
    cuts = []
    for seed in range(24):
        mixed, _, cut = mix(generator, jax.random.key(seed), probability=0.9)
        np.testing.assert_allclose(mixed[:, :cut], own[:, :cut], rtol=1e-5, atol=1e-6)
        assert np.all(np.abs(mixed[:, cut:] - own[:, cut:]).max(axis=(0, 2)) > 0.01)
        cuts.append(int(cut))
    assert set(cuts) == {1, 2, 3, 4}  # 4 is no mixing; each value misses 24 draws once in 10


def test_reconstruction_pulls_towards_the_renders(initial, batch):
    changes = {
        "reconstruction": Reconstruction(2),
        "reconstruction_weight": 10.0,
        "num_factors": 3,
        "style_mixing_prob": 0.0,
        "noise": "none",
        "augment": None,
    }
    settings = dataclasses.replace(SETTINGS, **changes)
    (phase,) = [phase for phase in stylegan2.phases(settings) if phase.name == "generator"]
    step = jax.jit(phase.fn)
    state, distances = initial, []
    for i in range(30):
        state, metrics = step(state, {"perceptual": None}, batch, jax.random.key(i))
        distances.append(float(metrics["reconstruction"]))
    assert np.mean(distances[-3:]) < 0.98 * np.mean(distances[:3])


@pytest.mark.slow
def test_same_numbers_on_eight_devices(initial, batch):
    """The discriminator's statistics mix items, so this is not a matter of course."""
    mesh = data_mesh()
    assert mesh.size == 8
    state, images = replicate(initial, mesh), shard_batch(batch, mesh)
    for name in ("generator", "discriminator"):
        one, _ = run(name, initial, batch)
        # A program of its own: its signature has the mesh in it.
        eight, _ = run(name, state, images)
        for first, second in zip(leaves(one), leaves(eight), strict=True):
            # Adam's first step is the sign of the gradient, whatever its size: sums in another
            # order may turn the sign of a gradient that is nothing but rounding.
            close = np.isclose(first, second, rtol=1e-4, atol=1e-5)
            assert close.mean() > 0.99


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"discriminator": DiscriminatorConfig(16)}, "16 px"),
        ({"batch_size": 7}, "multiple"),
        ({"noise": "gaussian"}, "'gaussian'"),
        ({"reconstruction_weight": 1.0}, "num_factors"),
        ({"generator": dataclasses.replace(GENERATOR, c_dim=2)}, "labels"),
    ],
)
def test_settings_refuse_what_cannot_be(changes, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(SETTINGS, **changes)


def test_networks_to_begin_with_must_fit(networks):
    other = dataclasses.replace(SETTINGS, generator=dataclasses.replace(GENERATOR, channel_max=2))
    with pytest.raises(UsageError, match="other sizes"):
        stylegan2.initial_state(other, KEY, networks)
    with pytest.raises(UsageError, match="perceptual"):
        dataclasses.replace(
            SETTINGS,
            reconstruction=Reconstruction(1, {"conv1_1": 1.0}),
            reconstruction_weight=1.0,
            num_factors=3,
        ).recipe(key=KEY, networks=networks, held_out=None)


def test_published_settings():
    paper = stylegan2.published("paper256", resolution=256)
    assert (paper.batch_size, paper.r1_gamma, paper.ema_half_life) == (64, 1.0, 20_000.0)
    assert paper.generator.channels(64) == 256
    assert paper.discriminator.mbstd_group_size == 8
    auto = stylegan2.published("auto", resolution=256, devices=1)
    assert (auto.batch_size, auto.learning_rate, auto.ema_ramp) == (16, 0.0025, 0.05)
    assert auto.r1_gamma == pytest.approx(0.8192)
    assert auto.ema_half_life == 5000
    cifar = stylegan2.published("cifar", resolution=32)
    assert cifar.discriminator.architecture == "orig"
    assert cifar.path_length_weight == cifar.style_mixing_prob == 0
    with pytest.raises(UsageError, match="paper512"):
        stylegan2.published("paper", resolution=256)


@pytest.mark.parametrize(
    ("name", "resolution", "batch_size"),
    [("stylegan2_ffhq", 1024, 32), ("stylegan2_auto", 256, 16)],
)
def test_configurations_load(name, resolution, batch_size):
    experiment = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]()
    assert experiment.method.generator.resolution == experiment.data.resolution == resolution
    assert experiment.method.batch_size == batch_size


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        pytest.param("generator", "generator_optimizer", marks=pytest.mark.slow),
        pytest.param("discriminator", "discriminator_optimizer", marks=pytest.mark.slow),
    ],
)
def test_microbatches_change_nothing_where_nothing_is_drawn(initial, batch, name, optimizer):
    """Groups of the minibatch deviation included; noise and the like are drawn by each part."""
    settings = dataclasses.replace(
        SETTINGS,
        discriminator=dataclasses.replace(DISCRIMINATOR, mbstd_group_size=4),
        noise="const",
        augment=None,
        style_mixing_prob=0.0,
        reconstruction_weight=0.5,
        num_factors=3,
    )

    def make(settings):
        return {phase.name: phase for phase in stylegan2.phases(settings)}[name]

    assert_parts_agree(make, settings, initial, {"perceptual": None}, batch, optimizer=optimizer)


@pytest.mark.slow
def test_microbatches_draw_for_themselves_and_regularise(initial, batch):
    one, _ = run("path_length", initial, batch)
    two, metrics = run("path_length", initial, batch, microbatches=2)
    assert metrics["penalty"] > 0
    # Other directions, the same quantity: lengths scatter by about a half around their mean.
    np.testing.assert_allclose(two.path_length_mean, one.path_length_mean, rtol=1)
    assert two.path_length_mean != one.path_length_mean
    _, metrics = run("r1", initial, batch, microbatches=2)
    _, whole = run("r1", initial, batch)
    # R1 is taken before the augmentation, whose probability is still 0: nothing is drawn.
    np.testing.assert_allclose(metrics["penalty"], whole["penalty"], rtol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("generator", marks=pytest.mark.slow),
        "path_length",
        pytest.param("discriminator", marks=pytest.mark.slow),
        pytest.param("r1", marks=pytest.mark.slow),
    ],
)
def test_every_phase_is_split_over_the_devices(initial, name):
    (phase,) = [phase for phase in stylegan2.phases(SETTINGS) if phase.name == name]
    batch = {"image": jax.ShapeDtypeStruct((8, 8, 8, 3), jnp.float32)}
    assert_split(phase, initial, {"perceptual": None}, batch)
