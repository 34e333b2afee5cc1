"""Transfer at a tiny size: what trains and what does not, a world where the answer is known, the
recipe's ends, and reenactment. Parity with the authors' code is in tests/convert."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.errors import UsageError
from jaxface.keys import item_keys
from jaxface.methods.reenactment import Driving, drive_chunks, reenact
from jaxface.methods.transfer import CODE, COS, GEN, PAPER, LatentArithmetic, TransferReenactment
from jaxface.methods.transfer import losses as transfer_losses
from jaxface.methods.transfer import settings as transfer_settings
from jaxface.methods.transfer.losses import Frozen
from jaxface.methods.transfer.reenactment import _sample
from jaxface.methods.transfer.scores import Judges, merit
from jaxface.methods.transfer.settings import CENTRE_CROP, TransferSettings
from jaxface.methods.transfer.training import Constants, initial_state, transfer_phase
from jaxface.nets import (
    EncoderConfig,
    GeneratorConfig,
    IRSEConfig,
    LPIPSConfig,
    TransferConfig,
    TransferNetwork,
)
from jaxface.nets.variables import Buffer
from jaxface.suite import load_suite
from jaxface.weights import save_network
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

# A linear world: of a code's two rows the first is who, the second how, and pixels are a sum.
SIZE, WHO = 16, 4
BASIS = np.linalg.qr(np.random.default_rng(0).normal(size=(SIZE * SIZE * 3, 2 * WHO)))[0].T * 8


class World(nnx.Module):
    """Draws codes; its basis is a parameter, so that the variant Gen can train it."""

    num_ws, resolution = 2, SIZE

    def __init__(self):
        self.config = GeneratorConfig(16, w_dim=WHO)
        self.synthesis = Drawing()


class Drawing(nnx.Module):
    def __init__(self):
        self.basis = nnx.Param(jnp.asarray(BASIS, jnp.float32))

    def __call__(self, w_plus, noise="const"):
        images = w_plus.reshape(len(w_plus), -1) @ self.basis[...]
        return images.reshape(-1, SIZE, SIZE, 3)


class Reader(nnx.Module):
    """Who is drawn, of unit length."""

    def __init__(self):
        self.basis = Buffer(jnp.asarray(BASIS[:WHO] / 64, jnp.float32))

    def __call__(self, images):
        who = images.reshape(len(images), -1) @ self.basis[...].T
        return who / jnp.linalg.norm(who, axis=1, keepdims=True)


SETTINGS = TransferSettings(
    TransferConfig((8, 8, 8, 8), (1, 1, 1, 1), None, 2, WHO, resolution=16, pool=1, hidden=16),
    steps=400,
    batch_size=16,
    learning_rate=1e-2,
    pixel_weight=1.0,
    perceptual_weight=0.0,
    pixel_crop_weight=0.0,
    perceptual_crop_weight=0.0,
    identity_crop="face",
)


def drawn(who, how):
    return np.float32(np.concatenate([who, how], axis=-1) @ BASIS).reshape(-1, SIZE, SIZE, 3)


def batch_of(rng, count=16):
    who, how, other, target, other_target = rng.normal(size=(5, count, WHO))
    return {
        "source": drawn(who, how),
        "other_source": drawn(other, rng.normal(size=(count, WHO))),
        "other_target": drawn(other, other_target),
        "identity": np.float32(np.stack([who, target], axis=1)),
        "other_identity": np.float32(np.stack([other, other_target], axis=1)),
    }


def fresh(settings=SETTINGS):
    network = TransferNetwork(settings.network, rngs=nnx.Rngs(0))
    network.mapper.start_as_identity(jax.random.key(1))
    world = World()
    state = initial_state(settings, network, world)
    constants = Constants(None if settings.train_generator else world, Frozen(None, Reader()))
    return state, constants


def test_presets_are_the_published_settings():
    numbers = (PAPER.batch_size, PAPER.learning_rate, PAPER.steps)
    assert numbers == (8, 1e-5, 1_000_000)
    assert (CODE.batch_size, CODE.learning_rate, CODE.steps) == (4, 1e-4, 500_000)
    assert PAPER.weights == {
        "pixel": 0,
        "perceptual": 0.05,
        "identity": 0.3,
        "contrast": 0,
        "pixel_crop": 2,
        "perceptual_crop": 0.3,
    }
    assert CODE.weights == PAPER.weights
    assert (CODE.noise, CODE.lpips_norm_offset) == ("random", 1e8 - 1)
    assert (PAPER.contrast_scale, PAPER.contrast_margin) == (5, 0.2)
    assert dataclasses.replace(PAPER, train_generator=True) == GEN
    assert COS.contrast_weight > 0
    assert PAPER.fields == ("source", "identity", "other_identity")
    assert "other_source" in COS.fields
    assert "other_target" in dataclasses.replace(PAPER, identity_target="target").fields


def test_crops_in_shares_of_the_side():
    assert PAPER.crop_at(256) == (slice(55, 243), slice(32, 220))
    assert PAPER.crop_at(64) == (slice(14, 61), slice(8, 55))
    centre = dataclasses.replace(PAPER, crop=CENTRE_CROP)
    assert centre.crop_at(256) == (slice(34, 222), slice(34, 222))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel": "l1"}, "pixel must be 'mean_square' or 'norm'"),
        ({"identity_weight": -1.0}, "weights must be >= 0"),
        ({"crop": (0.5, 0.2, 0.0, 1.0)}, "crop must be rows and columns"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PAPER, **change)


@pytest.fixture(scope="module")
def step():
    return jax.jit(transfer_phase(SETTINGS).fn)


@pytest.mark.slow
def test_only_the_two_networks_move(step):
    state, constants = fresh()
    before = jax.tree.map(np.array, constants)
    after, metrics = step(state, constants, batch_of(np.random.default_rng(1)), jax.random.key(0))
    assert set(metrics) == {"loss", "pixel", "identity"}
    assert after.generator is None
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(constants), strict=True):
        np.testing.assert_array_equal(old, new)
    for part in (
        lambda network: network.mapper.weight,
        lambda network: network.encoder.body.conv.weight,
        lambda network: network.encoder.body.norm.mean,  # running statistics
    ):
        assert np.any(part(state.network)[...] != part(after.network)[...])
    assert after.network.encoder.norm.use_running_average
    # The second step looks to the compiler as the first.
    again = jax.eval_shape(transfer_phase(SETTINGS).fn, state, constants, _batch(), _key())[0]
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
        assert (new.shape, new.dtype, new.weak_type) == (old.shape, old.dtype, old.weak_type)


def _batch():
    return batch_of(np.random.default_rng(1))


def _key():
    return jax.random.key(0)


def test_the_generator_moves_in_gen():
    settings = dataclasses.replace(SETTINGS, train_generator=True)
    state, constants = fresh(settings)
    after, _ = jax.jit(transfer_phase(settings).fn)(state, constants, _batch(), _key())
    assert constants.generator is None
    assert np.any(after.generator.synthesis.basis[...] != state.generator.synthesis.basis[...])


@pytest.mark.slow
def test_microbatches_add_up():
    """Without batch statistics, whose parts differ: the norms are left in evaluation."""
    settings = dataclasses.replace(SETTINGS, contrast_weight=0.1, batch_size=16)
    state, constants = fresh(settings)
    batch = _batch()
    # Equal halves have equal statistics.
    halves = {name: np.concatenate([x[:8], x[:8]]) for name, x in batch.items()}
    order = np.arange(16).reshape(2, 8).T.reshape(-1)
    halves = {name: x[order] for name, x in halves.items()}
    assert_parts_agree(transfer_phase, settings, state, constants, halves)


@pytest.mark.slow
def test_learns_motion_and_keeps_identity(step):
    """Of a frame the mapper gets who from the code, and how from the motion encoder alone."""
    state, constants = fresh()
    rng = np.random.default_rng(2)
    first = None
    for number in range(SETTINGS.steps):
        batch = batch_of(rng)
        state, metrics = step(state, constants, batch, jax.random.key(number))
        first = first or float(metrics["pixel"])
    errors = transfer_errors(state.network, np.random.default_rng(3))
    begun = transfer_errors(fresh()[0].network, np.random.default_rng(3))
    assert float(metrics["pixel"]) < 0.1 * first
    assert errors["motion"] < 0.1 * begun["motion"]
    assert errors["identity"] > 0.9


def test_the_beginning_in_the_latent_space_draws_nothing():
    settings = dataclasses.replace(
        SETTINGS, pixel_weight=0.0, identity_weight=0.0, latent_weight=2.0
    )
    assert settings.fields == ("source", "identity", "source_identity")
    state, constants = fresh(settings)
    who, how, target = np.random.default_rng(1).normal(size=(3, 16, WHO)).astype(np.float32)
    batch = {
        "source": drawn(who, how),
        "identity": np.stack([who, target], axis=1),
        "source_identity": np.stack([who, how], axis=1),
    }
    loss, terms, results = transfer_losses.transfer_losses(
        settings, state.network, constants.generator, constants.frozen, batch, _key()
    )
    assert results == (None, None)
    latent = state.network(batch["identity"], batch["source"])
    expected = np.mean((latent - batch["source_identity"]) ** 2, axis=(1, 2))
    np.testing.assert_allclose(terms["latent"], expected, rtol=1e-5)
    np.testing.assert_allclose(loss, 2 * expected, rtol=1e-5)


def transfer_errors(network, rng):
    """Frames of persons that were never seen drive others: squared error of how, cosine of who."""
    who, how, other, target = rng.normal(size=(4, 64, WHO))
    codes = np.float32(np.stack([other, target], axis=1))
    found = np.asarray(jax.jit(lambda n, a, b: n(a, b))(network, codes, drawn(who, how)))
    image_who = Reader()(World().synthesis(jnp.asarray(found)))
    wanted = other / np.linalg.norm(other, axis=1, keepdims=True)
    return {
        "motion": float(np.mean((found[:, 1] - how) ** 2)),
        "identity": float(np.mean(np.sum(np.asarray(image_who) * wanted, axis=1))),
    }


def test_every_reading_of_a_loss_has_an_effect(random_network):
    base = dataclasses.replace(
        SETTINGS, perceptual_weight=1.0, contrast_weight=1.0, pixel_crop_weight=1.0
    )
    changes = {
        "pixel": "norm",
        "perceptual": "cosine",
        "lpips_norm_offset": 10.0,
        "crop": (0.0, 0.5, 0.0, 0.5),
        "identity_target": "target",
        "contrast_scale": 2.0,
    }
    variants = [base, *(dataclasses.replace(base, **{k: v}) for k, v in changes.items())]
    lpips = random_network("LPIPS", LPIPSConfig("vgg", (4, 4, 4, 4, 4)))
    state, constants = fresh()
    frozen = Frozen(lpips, Reader())

    @jax.jit
    def losses(network, world, frozen, batch, key):
        return [
            transfer_losses.transfer_losses(s, network, world, frozen, batch, key)[0].mean()
            for s in variants
        ]

    batch = _batch()
    batch["other_target"] = batch["source"]  # in this world the target is its own reconstruction
    found = losses(state.network, constants.generator, frozen, batch, _key())
    assert np.isfinite(found).all()
    for name, value in zip(changes, found[1:], strict=True):
        assert abs(value - found[0]) > 1e-4 * abs(found[0]), name


# Whole networks of a tiny suite.

ROWS, WIDTH = 6, 32
TINY = TransferConfig((2, 2, 4, 4), (1, 1, 1, 1), None, ROWS, WIDTH, 16, pool=1, hidden=8)


@pytest.fixture(scope="module")
def suite(tiny_suite, tmp_path_factory, random_network):
    """The tiny suite with an encoder of identity, Transfer's networks and a judge of identity."""
    folder = tmp_path_factory.mktemp("transfer_suite")
    for path in tiny_suite.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    body = {"channels": (2, 2, 4, 4), "units": (1, 1, 1, 1), "reduction": None}
    encoder = EncoderConfig(**body, num_ws=ROWS, w_dim=WIDTH, resolution=32)
    judge = IRSEConfig(
        **body, embedding_dim=8, resolution=16, portrait_size=16, crop=(0, 16, 0, 16)
    )
    made = {
        "encoder": ("WEncoder", encoder),
        "recognition": ("IRSE", judge),
        "transfer": ("TransferNetwork", TINY),
    }
    for role, (name, config) in made.items():
        network = random_network(name, config)
        for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.state(network)):
            assert np.isfinite(leaf).all(), path
        _positive_variances(network)
        save_network(folder / f"{role}.safetensors", network)
    return load_suite(folder)


def _positive_variances(network):
    for _, module in nnx.iter_modules(network):
        if hasattr(module, "variance"):
            module.variance[...] = jnp.abs(module.variance[...]) + 0.5


def frames_of(count, seed=0):
    return np.float32(np.random.default_rng(seed).uniform(-1, 1, (count, 16, 16, 3)))


def test_a_frame_does_not_depend_on_its_clip(suite):
    method, keys = TransferReenactment(), item_keys(jax.random.key(0), ["subject"])
    subject, driving = frames_of(1), frames_of(5, seed=1)
    whole = reenact(suite, method, subject, Driving(images=driving), keys=keys, chunk=2)
    assert whole.shape == (5, 16, 16, 3)
    adapted = method.adapt(suite, subject, keys=keys)
    (alone,) = drive_chunks(method, adapted, Driving(images=driving[3:4]), chunk=2)
    # Images of random weights reach 5e4: a float32 of that size is rounded by 4e-3.
    rounding = np.abs(whole[3]).max() * np.finfo(np.float32).eps
    np.testing.assert_allclose(whole[3], alone[0], rtol=1e-4, atol=max(rounding, 1e-4))
    assert np.abs(whole[0] - whole[1]).max() > 1e-4
    with pytest.raises(ValueError, match="a subject is one frame, got 2"):
        method.adapt(suite, frames_of(2), keys=keys)


def test_random_identities_are_inverted(suite):
    method, key = TransferReenactment(truncation=0.7), jax.random.key(4)
    subject = method.random_subject(suite, key=key)
    z = jax.random.normal(key, (1, suite.generator.config.z_dim))
    w_plus, image = _sample(suite.generator, z, 0.7)
    again = method.adapt(suite, image, keys=key[None])
    np.testing.assert_array_equal(subject.w_plus, again.w_plus)
    sampled = dataclasses.replace(method, random_code="sampled").random_subject(suite, key=key)
    np.testing.assert_array_equal(sampled.w_plus, w_plus)
    assert np.abs(sampled.w_plus - subject.w_plus).max() > 1e-3
    other = method.random_subject(suite, key=jax.random.key(5))
    assert np.abs(other.w_plus - subject.w_plus).max() > 1e-4
    images = method.drive(subject, Driving(images=frames_of(2)))
    assert images.shape == (2, 16, 16, 3)


def test_the_baseline(suite):
    baseline = LatentArithmetic(chunk=3)
    networks = baseline.inversion.networks(suite, jax.random.key(0))
    driving, subject = frames_of(4, seed=2), frames_of(2, seed=3)
    codes = baseline.codes(networks, driving)
    neutral = baseline.neutral(networks, driving, codes=codes)
    mirrored = baseline.codes(networks, driving[:, :, ::-1])
    np.testing.assert_allclose(neutral, np.concatenate([codes, mirrored]).mean(0), rtol=1e-5)
    # A driver at its neutral, or no step at all, leaves the subject as it is.
    own = baseline.neutral(networks, subject)
    np.testing.assert_allclose(baseline.latents(own, neutral[None], neutral)[0], own)
    still = dataclasses.replace(baseline, alpha=0.0)
    np.testing.assert_array_equal(still.latents(own, codes, neutral), np.stack([own] * 4))
    images = baseline.transfer(networks, subject, driving)
    assert images.shape == (4, 16, 16, 3)
    w_plus = own + codes - neutral
    expected = suite.generator.synthesis(jnp.asarray(w_plus[3:]))
    np.testing.assert_allclose(images[3:], expected, rtol=1e-3, atol=1e-3)


def test_a_network_that_does_not_fit_is_named(suite):
    settings = dataclasses.replace(SETTINGS, network=TINY)
    generator, judge = suite.generator, suite.recognition
    networks = {"generator": generator, "recognition": judge}
    with pytest.raises(
        UsageError, match=r"set method\.network\.num_ws=6 and method\.network\.w_dim=32"
    ):
        SETTINGS.recipe(key=_key(), networks=networks, held_out=None)
    with pytest.raises(UsageError, match="role 'recognition': the identity term"):
        settings.recipe(key=_key(), networks={"generator": generator}, held_out=None)
    begun = dataclasses.replace(settings, encoder_start="recognition")
    recipe = begun.recipe(key=_key(), networks=networks, held_out=None)
    ours = recipe.state.network.encoder.body.conv.weight[...]
    np.testing.assert_array_equal(ours, judge.body.conv.weight[...])
    wide = dataclasses.replace(TINY, channels=(2, 2, 4, 8))
    wrong = dataclasses.replace(begun, network=wide)
    with pytest.raises(UsageError, match="trunk has other sizes"):
        wrong.recipe(key=_key(), networks=networks, held_out=None)
    given = {**networks, "transfer": suite.transfer}
    assert settings.recipe(key=_key(), networks=given, held_out=None).merit is None


def test_scores_of_held_out_clips(suite):
    settings = dataclasses.replace(SETTINGS, network=TINY)
    networks = {"generator": suite.generator, "recognition": suite.recognition}
    rng = np.random.default_rng(5)
    held_out = {
        "driving": rng.integers(0, 256, (2, 5, 16, 16, 3), np.uint8),
        "target": rng.integers(0, 256, (2, 16, 16, 3), np.uint8),
        "identity": np.float32(rng.normal(size=(2, ROWS, WIDTH))),
    }
    recipe = settings.recipe(key=_key(), networks=networks, held_out=held_out)
    scores = recipe.score(recipe.state)
    assert set(scores) == {"csim"}
    assert -1 <= scores["csim"] <= 1
    assert recipe.merit(scores) == scores["csim"]
    assert recipe.sample_images(recipe.state).shape == (6, 16, 16, 3)
    assert merit({"fl": 0.5, "csim": 0.25, "pose_mae": 9.0}) == 0.75
    assert not Judges().choose
    assert tuple(PAPER.weights) == transfer_settings.TERMS


def test_a_step_is_split_over_the_devices():
    settings = dataclasses.replace(SETTINGS, contrast_weight=0.1)
    state, constants = fresh(settings)
    assert_split(transfer_phase(settings), state, constants, _batch())
