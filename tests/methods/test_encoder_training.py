"""Training of encoders: pSp's, e4e's and ReStyle's objectives, and exact resume."""

import dataclasses
import shutil

import irse_reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxface.cli
from jaxface.errors import UsageError
from jaxface.methods import encoder_training as method
from jaxface.methods import restyle
from jaxface.methods.encoder_training import objective
from jaxface.metrics import psnr
from jaxface.nets import (
    LPIPS,
    DiscriminatorConfig,
    EncoderConfig,
    InDomainConfig,
    InDomainEncoder,
    IRSEConfig,
)
from jaxface.suite import load_suite
from jaxface.weights import load_network, read_header, save_network
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

NETWORK = EncoderConfig(
    channels=(4, 4, 6, 8),
    units=(1, 1, 1, 1),
    reduction=2,
    num_ws=6,
    w_dim=32,
    resolution=32,
    style_channels=5,
)
SETTINGS = method.EncoderSettings(
    "e4e",
    NETWORK,
    steps=4,
    batch_size=4,
    samples=4,
    warmup_steps=1,
    learning_rate=1e-3,
    delta_weight=2e-4,
    latent_weight=0.1,
    w_norm_weight=0.01,
    progressive_start=1,
    progressive_every=1,
    distance="perceptual",
)
RESTYLE = dataclasses.replace(
    SETTINGS,
    encoder="restyle_psp",
    delta_weight=0.0,
    progressive_start=0,
    progressive_every=0,
    iterations=2,
)


@pytest.fixture(scope="module")
def suite_folder(tiny_suite, random_network, tmp_path_factory):
    """The tiny suite and a recognition network."""
    folder = tmp_path_factory.mktemp("encoder") / "suite"
    shutil.copytree(tiny_suite, folder)
    config = IRSEConfig(
        channels=(4, 4, 6, 8),
        units=(1, 1, 1, 1),
        reduction=2,
        embedding_dim=8,
        resolution=16,
        portrait_size=16,
        crop=(0, 16, 0, 16),
    )
    recognition = irse_reference.tame(random_network("IRSE", config))
    save_network(folder / "recognition.safetensors", recognition)
    return folder


@pytest.fixture(scope="module")
def networks(suite_folder):
    suite = load_suite(suite_folder)
    return {role: suite.network(role) for role in ("generator", "perceptual", "recognition")}


@pytest.fixture
def random_restyle(random_network):
    """With codes of a size that a generator sees."""
    network = irse_reference.tame(random_network("RestylePSPEncoder", NETWORK))
    for style in network.styles:
        style.dense.weight[...] *= 1e-3
    return network


def recipe_of(settings, networks, **options):
    return settings.recipe(key=jax.random.key(0), networks=networks, held_out=None, **options)


def portraits(count, seed=0, size=16):
    coarse = np.random.default_rng(seed).uniform(-1, 1, (count, 4, 4, 3))
    return np.kron(coarse, np.ones((1, size // 4, size // 4, 1))).astype(np.float32)


def test_the_stage_grows_as_the_reference_grows_it():
    settings = dataclasses.replace(SETTINGS, progressive_start=20, progressive_every=2)
    steps = {0: 0, 19: 0, 20: 1, 21: 1, 22: 2, 27: 4, 28: 5, 1000: 5}
    found = {step: int(objective.progressive_stage(settings, step)) for step in steps}
    assert found == steps
    at_once = dataclasses.replace(SETTINGS, progressive_start=3, progressive_every=0)
    assert [int(objective.progressive_stage(at_once, step)) for step in (2, 3)] == [0, 5]


@pytest.mark.parametrize("stage", [0, 2, 5])
def test_stages_are_the_network_s_own(stage, random_network):
    network = irse_reference.tame(random_network("E4EEncoder", NETWORK))
    images = portraits(2, size=32)
    encode = jax.jit(
        lambda network, images, stage: network.w_start[...] + network.offsets(images, stage),
        static_argnames="stage",
    )
    whole, wanted = encode(network, images, None), encode(network, images, stage)
    # Random weights give codes of up to 1e5, sums of such terms: rounding goes by the largest.
    largest = float(jnp.abs(wanted).max())
    np.testing.assert_allclose(
        objective.staged(whole, stage) / largest, wanted / largest, atol=1e-4
    )


def test_fresh_encoders_begin_at_the_mean(networks):
    network = recipe_of(SETTINGS, networks).state.network
    mean = networks["generator"].w_mean
    np.testing.assert_array_equal(network.w_start[...], np.tile(mean, (6, 1)))
    codes = jax.jit(lambda network, images: network(images))(network, portraits(2, size=32))
    np.testing.assert_array_equal(codes, np.tile(mean, (2, 6, 1)))


def test_samples_have_known_codes(networks):
    generator = networks["generator"]
    images = portraits(4)
    made = jax.jit(lambda g, x, key: objective.with_samples(SETTINGS, g, x, key))(
        generator, images, jax.random.key(3)
    )
    found, w_plus, known = made
    assert found.shape == (8, 32, 32, 3)
    np.testing.assert_array_equal(known, [0] * 4 + [1] * 4)
    again = jax.jit(lambda g, w: objective.draw(g, w, 32))(generator, w_plus[4:])
    np.testing.assert_allclose(found[4:], again, atol=1e-5)
    assert np.ptp(np.asarray(w_plus[4:]), axis=1).max() == 0  # of W
    assert np.ptp(np.asarray(w_plus[4:]), axis=0).min() > 0


def test_terms_are_the_references(networks):
    """Each beside its definition: F.mse_loss, LPIPS, 1 - cosine, norms; each item by itself."""
    judges = recipe_of(SETTINGS, networks).constants
    rng = np.random.default_rng(0)
    images, generated = portraits(4, 1, 32), portraits(4, 2, 32)
    w_plus, true = rng.normal(size=(2, 4, 6, 32)).astype(np.float32)
    mean, known = np.zeros(32, np.float32), np.array([0, 0, 1, 1], np.float32)

    @jax.jit
    def found_and_wanted(judges, w_plus, generated, images):
        targets = objective.targets_of(judges, objective.Items(images, true, known))
        found = objective.terms(judges, w_plus, generated, targets, mean=mean, stage=3)
        a, b = judges.recognition(generated), judges.recognition(images)
        return found, judges.lpips(generated, images), jnp.sum(a * b, axis=1)

    found, lpips, cosine = found_and_wanted(judges, w_plus, generated, images)
    wanted = {
        "pixel": np.mean((generated - images) ** 2, axis=(1, 2, 3)),
        "lpips": lpips,
        "identity": 1 - cosine,
        "w_norm": np.linalg.norm(w_plus.reshape(4, -1), axis=1),
        "delta": np.linalg.norm(w_plus[:, 1:4] - w_plus[:, :1], axis=2).sum(axis=1),
        "latent": 2 * known * np.mean((w_plus - true) ** 2, axis=(1, 2)),
    }
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_restyle_passes_are_its_iterations(networks, random_restyle):
    """Each pass sees what the one before made; by running statistics, as inference does it."""
    network, generator = random_restyle, networks["generator"]
    images = portraits(2, size=32)
    settings = dataclasses.replace(RESTYLE, iterations=3)
    made = jax.jit(lambda n, g, x: objective.passes(settings, n, g, x, 0))(
        network, generator, images
    )
    whole = jax.jit(lambda n, g, x: restyle.invert(n, g, x, iterations=3))(
        network, generator, images
    )
    for index, (w_plus, _) in enumerate(made):
        largest = float(jnp.abs(w_plus).max())  # rounding goes by it, see above
        np.testing.assert_allclose(
            w_plus / largest, whole.trace[:, index] / largest, rtol=1e-4, atol=1e-4
        )


@pytest.mark.slow
def test_no_gradient_goes_from_pass_to_pass(networks, random_restyle):
    """The gradient of the sum is that of each pass with its inputs held fixed."""
    generator, images = networks["generator"], portraits(2, size=32)
    graphdef, params, rest = nnx.split(random_restyle, nnx.Param, ...)

    def second(params):
        network = nnx.merge(graphdef, params, rest)
        return jnp.sum(objective.passes(RESTYLE, network, generator, images, 0)[1][0] ** 2)

    def alone(params, w_plus, generated):
        network = nnx.merge(graphdef, params, rest)
        return jnp.sum((w_plus + network.offsets(images, generated)) ** 2)

    first = jax.jit(lambda n: objective.passes(RESTYLE, n, generator, images, 0)[0])(random_restyle)
    found = jax.jit(jax.grad(second))(params)
    wanted = jax.jit(jax.grad(alone))(params, *first)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max() + 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SETTINGS, RESTYLE], ids=["e4e", "restyle"])
def test_a_step_s_loss_is_its_weighted_terms(settings, networks):
    recipe = recipe_of(settings, networks)
    step = jax.jit(recipe.stages[0].phases[0].fn)
    batch = {"image": portraits(4)}
    after, metrics = step(recipe.state, recipe.constants, batch, jax.random.key(1))
    if settings is SETTINGS:
        weights = {"pixel": 1.0, "lpips": 0.8, "identity": 0.1}
        weights |= {"w_norm": 0.01, "delta": 2e-4, "latent": 0.1}
        total = sum(weight * float(metrics[name]) for name, weight in weights.items())
        assert float(metrics["loss"]) == pytest.approx(total, rel=1e-5)
        assert float(metrics["delta"]) == 0  # before the first stage
    else:  # two passes, of which the last is reported
        assert float(metrics["loss"]) > float(metrics["pixel"]) + 0.8 * float(metrics["lpips"])
    assert jax.tree.structure(after) == jax.tree.structure(recipe.state)
    for old, new in zip(jax.tree.leaves(recipe.state), jax.tree.leaves(after), strict=True):
        assert (new.shape, new.dtype, new.weak_type) == (old.shape, old.dtype, old.weak_type)
    assert np.any(after.network.body.norm.mean[...] != recipe.state.network.body.norm.mean[...])
    assert after.network.body.norm.use_running_average


@pytest.mark.slow
def test_microbatches_normalise_by_their_own_statistics(networks, random_restyle):
    """Where both microbatches hold the same items they change nothing."""
    settings = dataclasses.replace(RESTYLE, samples=0, latent_weight=0.0)
    recipe = recipe_of(settings, {**networks, "encoder": random_restyle})
    twice = {"image": np.repeat(portraits(2), 2, axis=0)}
    assert_parts_agree(method.encoder_phase, settings, recipe.state, recipe.constants, twice)


@pytest.mark.slow
def test_learns_to_invert_its_generator(networks):
    """From samples alone; the codes come nearer to the true ones than the mean is."""
    settings = dataclasses.replace(
        SETTINGS, steps=60, learning_rate=1e-2, latent_weight=1.0, progressive_start=10
    )
    recipe = recipe_of(settings, networks)
    step, state = jax.jit(recipe.stages[0].phases[0].fn), recipe.state
    rows = []
    for index in range(settings.steps):
        key = jax.random.fold_in(jax.random.key(1), index)
        state, metrics = step(state, recipe.constants, {"image": portraits(4, index)}, key)
        rows.append({name: float(value) for name, value in metrics.items()})
    first, last = rows[:5], rows[-5:]
    for name in ("loss", "latent"):
        assert np.mean([r[name] for r in last]) < np.mean([r[name] for r in first])
    assert [rows[i]["stage"] for i in (0, 10, 59)] == [0, 1, 5]


@pytest.mark.slow
def test_a_run_may_begin_with_the_codes_of_samples(networks):
    """One pass over samples alone; the data's images do not matter; the steps count on."""
    settings = dataclasses.replace(RESTYLE, latent_steps=3, w_norm_weight=0.0)
    recipe = recipe_of(settings, networks)
    assert [stage.steps for stage in recipe.stages] == [3, 4]
    assert [stage.phases[0].name for stage in recipe.stages] == ["latents", "encoder"]
    step = jax.jit(recipe.stages[0].phases[0].fn)
    states, rows = [], []
    for seed in (0, 1):
        batch = {"image": portraits(4, seed)}
        state, metrics = step(recipe.state, recipe.constants, batch, jax.random.key(7))
        states.append(state)
        rows.append(metrics)
    assert set(rows[0]) == {"loss", "latent", "stage"}
    assert float(rows[0]["loss"]) == pytest.approx(0.1 * float(rows[0]["latent"]), rel=1e-5)
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(states[0].step) == 1


def test_what_does_not_fit_is_refused(networks):
    for changes, words in (
        ({"encoder": "psp"}, "delta_weight"),
        ({"samples": 0}, "needs samples"),
        ({"latent_weight": 0.0, "latent_steps": 1}, "need a latent_weight"),
        ({"microbatches": 3}, "samples must be a multiple"),
        ({"iterations": 0}, "iterations"),
        ({"encoder": "dream"}, "encoder must be"),
        ({"distance": "far"}, "distance must be"),
    ):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(SETTINGS, **changes)
    for role in ("generator", "perceptual", "recognition"):
        rest = {name: network for name, network in networks.items() if name != role}
        with pytest.raises(UsageError, match=f"role '{role}'"):
            recipe_of(SETTINGS, rest)
    other = dataclasses.replace(SETTINGS, network=dataclasses.replace(NETWORK, num_ws=7))
    with pytest.raises(UsageError, match="change num_ws"):
        recipe_of(other, networks)
    network = recipe_of(RESTYLE, networks).state.network
    with pytest.raises(UsageError, match="the settings say E4EEncoder"):
        recipe_of(SETTINGS, {**networks, "encoder": network})


CONFIG = """
from jaxface.data.sources import RenderedPortraits
from jaxface.methods.encoder_training import EncoderSettings
from jaxface.nets import EncoderConfig
from jaxface.training.experiment import Experiment


def get_config():
    network = EncoderConfig(
        channels=(4, 4, 6, 8), units=(1, 1, 1, 1), reduction=2, num_ws=6, w_dim=32,
        resolution=32, style_channels=5,
    )
    return Experiment(
        method=EncoderSettings(
            "e4e", network, steps=4, batch_size=8, samples=8, delta_weight=2e-4,
            latent_weight=0.1, progressive_start=1, progressive_every=1, distance="perceptual",
        ),
        data=RenderedPortraits(16, num_train=32, num_test=8),
        suite={suite!r}, log_every=1, checkpoint_every=2, eval_every=2,
    )
"""


@pytest.mark.slow
def test_trains_by_the_verb_and_resumes(tmp_path, suite_folder, networks):
    config = tmp_path / "tiny.py"
    config.write_text(CONFIG.replace("{suite!r}", repr(str(suite_folder))))
    out = tmp_path / "run"
    call = ["train", "encoder", "--config", str(config), "--out", str(out)]
    call += ["--set", f"data.directory={tmp_path / 'data'}"]
    assert jaxface.cli.main(call) == 0
    path = out / "encoder.safetensors"
    assert read_header(path)["method"] == "EncoderSettings"
    network = load_network(path)
    assert sorted(file.name for file in (out / "samples").iterdir())[-1] == "00000004.png"
    shutil.rmtree(out / "checkpoints" / "4")
    assert jaxface.cli.main([*call, "--resume"]) == 0
    again = load_network(path)
    for a, b in zip(jax.tree.leaves(network), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)

    held_out = {"image": np.asarray((portraits(8) + 1) * 127.5, np.uint8)}
    recipe = SETTINGS.recipe(
        key=jax.random.key(0), networks=networks | {"encoder": network}, held_out=held_out
    )
    scores = recipe.score(recipe.state)
    assert set(scores) == {"psnr", "lpips", "identity"}
    images = recipe.sample_images(recipe.state)
    given, made = images[:8], images[8:]
    assert scores["psnr"] == pytest.approx(
        float(jnp.mean(psnr(jnp.clip(made, -1, 1), given))), abs=1e-3
    )
    distance = LPIPS.of_trunk(networks["perceptual"])
    wanted = jax.jit(lambda network, a, b: jnp.mean(network(a, b)))(distance, made, given)
    assert scores["lpips"] == pytest.approx(float(wanted), rel=1e-3)


IN_DOMAIN = method.EncoderSettings(
    "in_domain",
    InDomainConfig(resolution=16, width=4, max_width=6, num_ws=6, w_dim=32),
    steps=2,
    batch_size=4,
    samples=0,
    learning_rate=1e-3,
    warmup_steps=1,
    lpips_weight=0.0,
    identity_weight=0.0,
    features_weight=5e-5,
    features_size=None,
    adversarial_weight=0.05,
    discriminator=DiscriminatorConfig(16, channel_base=64, channel_max=4),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": NETWORK}, "'in_domain' cannot have a network of EncoderConfig"),
        ({"discriminator": None}, "adversarial_weight needs a discriminator"),
        ({"resolution": 8}, "must read images of 8 px"),
        ({"r1_interval": 0}, "r1_interval must be >= 1"),
    ],
)
def test_wrong_in_domain_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(IN_DOMAIN, **change)


@pytest.mark.slow
@pytest.mark.parametrize("interval", [1, 2])
def test_in_domain_inversion_trains_both_networks(networks, interval):
    """Encoder and discriminator move by turns; codes begin at the mean of W."""
    settings = dataclasses.replace(IN_DOMAIN, r1_interval=interval)
    recipe = recipe_of(settings, networks)
    (stage,) = recipe.stages
    names = [phase.name for phase in stage.phases]
    assert names == ["encoder", "discriminator", *(["r1"] if interval > 1 else [])]
    batch = {"image": portraits(4, size=16)}
    state = recipe.state
    assert isinstance(state.network, InDomainEncoder)
    begun = jax.jit(lambda network, x: network(x))(state.network, batch["image"])
    np.testing.assert_array_equal(
        begun, jnp.broadcast_to(networks["generator"].w_mean, begun.shape)
    )
    for phase, moves in zip(
        stage.phases, ("network", "discriminator", "discriminator"), strict=False
    ):
        before = state
        state, metrics = jax.jit(phase.fn)(before, recipe.constants, batch, jax.random.key(0))
        assert all(np.isfinite(float(value)) for value in metrics.values())
        for name in ("network", "discriminator"):
            pairs = zip(
                jax.tree.leaves(nnx.state(getattr(before, name), nnx.Param)),
                jax.tree.leaves(nnx.state(getattr(state, name), nnx.Param)),
                strict=True,
            )
            moved = max(float(jnp.abs(a - b).max()) for a, b in pairs)
            assert (moved > 0) == (name == moves)
    assert set(recipe.networks(state)) == {"in_domain_encoder"}


@pytest.mark.parametrize(
    "name",
    [
        "latents",
        pytest.param("encoder", marks=pytest.mark.slow),
        pytest.param("discriminator", marks=pytest.mark.slow),
        pytest.param("r1", marks=pytest.mark.slow),
    ],
)
def test_every_phase_is_split_over_the_devices(networks, name):
    """Samples are as many as portraits, and drawn from one key."""
    settings = dataclasses.replace(SETTINGS, latent_steps=1)
    if name in ("discriminator", "r1"):
        settings = dataclasses.replace(IN_DOMAIN, r1_interval=2)
    recipe = recipe_of(settings, networks)

    def phase(count):
        samples = count if settings.samples else 0
        sized = dataclasses.replace(settings, batch_size=count, samples=samples)
        phases = [each for stage in recipe_of(sized, networks).stages for each in stage.phases]
        return next(each for each in phases if each.name == name)

    assert_split(phase, recipe.state, recipe.constants, {"image": portraits(4)})
