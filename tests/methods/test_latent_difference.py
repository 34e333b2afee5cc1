"""The Latent Difference Encoder at a tiny size: what is wished, what trains, what each preset's
losses are, and use. Parity with the authors' code is in tests/convert."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.data.scene_items import item_keys as scene_keys
from jaxface.data.scene_items import scene_items
from jaxface.errors import SuiteError, UsageError
from jaxface.keys import item_keys
from jaxface.methods import latent_difference as method
from jaxface.methods.landmark_regression import landmark_distance
from jaxface.methods.latent_difference import losses, training
from jaxface.methods.latent_difference.landmarks import normalised
from jaxface.methods.latent_difference.reenactment import DriverLandmarks, LandmarkReenactment
from jaxface.methods.latent_difference.settings import LatentDifferenceSettings, sized
from jaxface.methods.reenactment import Driving, read_motion, reenact
from jaxface.morphable import FaceParameters, landmarks
from jaxface.morphable.annotation import landmark_model
from jaxface.nets import (
    DiscriminatorConfig,
    EncoderConfig,
    LandmarkConfig,
    LatentDifferenceConfig,
    ReconstructionConfig,
    StyleGAN1DiscriminatorConfig,
)
from jaxface.nets.edits.latent_difference import CODE
from jaxface.suite import load_suite
from jaxface.weights import load_network, save_network
from tests.methods.splitting import assert_split

SIZES = {"resolution": 16, "width": 4, "max_width": 6, "num_ws": 6, "w_dim": 32}
NETWORK = LatentDifferenceConfig(**SIZES, landmark_features=8, latent_features=4)
ENCODER = EncoderConfig((4, 4, 6, 8), (1, 1, 1, 1), 2, 6, 32, resolution=32, style_channels=5)
SETTINGS = LatentDifferenceSettings(
    NETWORK,
    DiscriminatorConfig(16, image_channels=6, channel_base=64, channel_max=4),
    steps=4,
    batch_size=4,
    learning_rate=1e-2,
    perceptual_size=None,
)


def finite(network):
    """The network with variances that are some."""
    for _, module in nnx.iter_modules(network):
        if hasattr(module, "variance"):
            module.variance[...] = abs(module.variance[...]) + 0.5
    return network


@pytest.fixture(scope="module")
def suite(tiny_suite, random_network, tmp_path_factory):
    """The tiny suite with what reads, embeds and redraws."""
    folder = tmp_path_factory.mktemp("latent_difference")
    for role in ("generator", "perceptual"):
        (folder / f"{role}.safetensors").symlink_to(tiny_suite / f"{role}.safetensors")
    encoder = random_network("E4EEncoder", ENCODER)
    reader = random_network("FaceReconstruction", ReconstructionConfig(16, (4, 4), 8))
    reader.scale[...] = jnp.full(257, 0.1)
    reader.out.weight[...] = 1e-4 * reader.out.weight[...]
    points = random_network("LandmarkNet", LandmarkConfig(16, (4, 4)))
    points.heat.weight[...] = 1e-3 * points.heat.weight[...]  # heatmaps without a single peak
    for role, network in (
        ("encoder", encoder),
        ("reconstruction", reader),
        ("landmarks", points),
        ("latent_difference", random_network("LatentDifferenceEncoder", NETWORK)),
    ):
        save_network(folder / f"{role}.safetensors", finite(network))
    return load_suite(folder)


@pytest.fixture(scope="module")
def batch():
    items = scene_items(scene_keys(0, "train", jnp.arange(4)), 16, version="2.0.0")
    return {name: np.asarray(items[name]) for name in ("image", "landmarks", "face")}


def begun(settings, suite):
    frozen = training.frozen_networks(settings, {role: suite.network(role) for role in suite.files})
    init = jax.jit(lambda key, frozen: training.initial_state(settings, key, frozen))
    return init(jax.random.key(0), frozen), frozen


def test_presets_have_the_published_weights():
    names = ("adversarial_weight", "cycle_adversarial_weight", "cycle_weight", "direct_weight")
    weights = {
        name: tuple(getattr(preset, each) for each in names)
        for name, preset in {"paper": method.PAPER, "code": method.CODE, **method.ROWS}.items()
    }
    assert weights == {
        "paper": (1.0, 1.0, 1.0, 0.0),
        "code": (0.05, 0.05, 1.0, 0.0),
        "naive": (0.05, 0.0, 0.0, 1.0),
        "naive_cycle": (0.05, 0.05, 1.0, 0.5),
        "image_cycle": (0.2, 0.2, 1.0, 0.0),
        "keypoints": (0.2, 0.2, 1.0, 0.0),
        "latent_cycle": (0.2, 0.2, 1.0, 0.0),
    }
    assert method.IMAGE_SPACE.cycle_space == "image"
    assert method.NAIVE_CYCLE.direct_adversarial_weight == 0.05
    code = method.CODE
    assert (code.batch_size, code.learning_rate, code.steps) == (16, 1e-4, 750_000)
    assert (code.perceptual_weight, code.perceptual_size, code.r1_gamma) == (5e-5, 256, 10)
    assert code.quarter_rate == pytest.approx(0.64)
    assert (code.outside, code.inversion_statistics) == ("grow", "batch")
    assert isinstance(code.discriminator, StyleGAN1DiscriminatorConfig)
    assert code.network == LatentDifferenceConfig(**CODE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cycle_space": "pixels"}, "cycle_space must be 'latent' or 'image'"),
        ({"cycle_weight": -1.0}, "weights must be >= 0"),
        ({"batch_size": 1}, "landmarks are another portrait's"),
        ({"expression_gain": 2.0}, "wish=\"normalised\" alone; got 2.0 with 'raw'"),
        ({"discriminator": DiscriminatorConfig(16)}, "6 channels"),
        ({"discriminator": DiscriminatorConfig(32, image_channels=6)}, "one resolution"),
        ({"network": sized(method.NAIVE, SETTINGS).network}, "no code to come back to"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **change)


def test_a_wish_is_never_the_portraits_own(suite, batch):
    _, frozen = begun(SETTINGS, suite)
    items = training.items_of(SETTINGS, frozen, batch)
    np.testing.assert_array_equal(items.wished, jnp.roll(items.own, 1, axis=0))
    assert (np.abs(items.wished - items.own).max(axis=(1, 2)) > 0.1).all()


def test_normalised_wishes_keep_the_shape():
    """Of true faces they are the landmarks of the own identity with the other's motion."""
    u = jax.random.normal(jax.random.key(0), (2, 257))
    face = FaceParameters.from_flat(0.1 * u)
    other = FaceParameters.from_flat(0.1 * jnp.roll(u, 1, axis=0))
    moved = dataclasses.replace(face, rotation=other.rotation, expression=other.expression)
    found = normalised(landmark_model(), landmarks(face, 64), face, other, 64)
    np.testing.assert_allclose(found, landmarks(moved, 64), atol=1e-3)
    same = normalised(landmark_model(), landmarks(face, 64), face, face, 64)
    np.testing.assert_array_equal(same, landmarks(face, 64))


def test_expressions_of_wishes_grow_over_a_batch(suite, batch):
    settings = dataclasses.replace(SETTINGS, wish="normalised")
    _, frozen = begun(settings, suite)
    once = training.items_of(settings, frozen, batch)
    strong = dataclasses.replace(settings, expression_gain=2.0)
    found = training.items_of(strong, frozen, batch)
    face = FaceParameters.from_flat(jnp.asarray(batch["face"]))
    other = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), face)
    last = dataclasses.replace(other, expression=2 * other.expression)
    points = jnp.asarray(batch["landmarks"], jnp.float32)
    twice = normalised(frozen.landmark_model, points, face, last, 16)
    np.testing.assert_allclose(found.wished[0], once.wished[0], atol=1e-5)
    np.testing.assert_allclose(found.wished[-1], twice[-1], atol=1e-5)


def test_the_default_form_begins_at_the_inversion(suite, batch):
    state, frozen = begun(SETTINGS, suite)
    items = training.items_of(SETTINGS, frozen, batch)
    network = state.network
    told = training.manipulated(SETTINGS, network, items.w_plus, items.wished)
    np.testing.assert_array_equal(told, items.w_plus)


def test_the_codes_form_fixes_the_differences_size(suite, batch):
    """Its last norm has no gain: in training a row of differences has variance one."""
    settings = dataclasses.replace(
        SETTINGS, network=dataclasses.replace(NETWORK, **CODE), inversion_statistics="batch"
    )
    state, frozen = begun(settings, suite)
    items = training.items_of(settings, frozen, batch)
    network = state.network
    assert network.decoder.latent.weight.shape[0] == 1  # one matrix for all rows
    network.train()
    difference = training.manipulated(settings, network, items.w_plus, items.wished) - items.w_plus
    np.testing.assert_allclose(jnp.var(difference, axis=(0, 2)), 1.0, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("row", method.ROWS)
def test_every_row_trains(row, suite, batch):
    settings = sized(method.ROWS[row], SETTINGS)
    state, frozen = begun(settings, suite)
    before = nnx.state(state.network, nnx.Param)
    for phase in (training.encoder_phase(settings), training.discriminator_phase(settings)):
        step = jax.jit(phase.fn)
        state, metrics = step(state, frozen, batch, jax.random.key(1))
        assert all(np.isfinite(float(value)) for value in metrics.values())
    moved = [
        float(jnp.abs(a - b).max())
        for a, b in zip(
            jax.tree.leaves(before),
            jax.tree.leaves(nnx.state(state.network, nnx.Param)),
            strict=True,
        )
    ]
    assert max(moved) > 0
    if row == "naive":  # the next step is the other kind's, without what is compared
        _, metrics = jax.jit(training.encoder_phase(settings).fn)(
            state, frozen, batch, jax.random.key(1)
        )
        assert float(metrics["direct"]) == 0.0


@pytest.mark.parametrize("number", [0, 1])
def test_the_naive_encoders_turns_read_landmarks(number, suite, batch):
    """Of what is drawn: the portrait itself, or another one, with the portrait's landmarks."""
    settings = dataclasses.replace(
        sized(method.NAIVE, SETTINGS), adversarial_weight=0.0, landmark_weight=2.0
    )
    state, frozen = begun(settings, suite)
    items = training.items_of(settings, frozen, batch)
    _, terms = training.encoder_losses(
        settings, state.network, None, frozen, items, jnp.int32(number)
    )
    portraits = jnp.roll(items.images, number, axis=0)
    w_plus = training.manipulated(settings, state.network, portraits, items.own)
    found = frozen.landmarks(training.image_of(settings, frozen.generator, w_plus))
    wanted = landmark_distance(found, items.own, SIZES["resolution"])
    np.testing.assert_allclose(terms["landmark"], wanted, rtol=1e-4)
    assert (np.asarray(terms["direct"]) > 0).all() == (number == 0)


def test_openings_are_compared_wherever_the_head_is():
    """Of landmarks that are all moved nothing is said; a raised brow is."""
    settings = dataclasses.replace(SETTINGS, opening_weight=1.0)
    points = np.random.default_rng(0).uniform(0, 16, (2, 68, 2)).astype(np.float32)
    raised = points.copy()
    raised[:, 18:20, 1] -= 3.0

    def opening(found):
        frozen = types.SimpleNamespace(landmarks=lambda images: jnp.asarray(found))
        terms = losses._landmark_terms(settings, frozen, jnp.zeros((2, 16, 16, 3)), points)
        assert terms.keys() == {"opening"}
        return np.asarray(terms["opening"])

    np.testing.assert_allclose(opening(points + 5.0), 0.0, atol=1e-6)
    before, after = (
        np.linalg.norm(each[:, [18, 19]] - each[:, [36, 37]], axis=-1) for each in (points, raised)
    )
    wanted = np.abs(after - before).sum(axis=1) / (15 * 16)
    np.testing.assert_allclose(opening(raised), wanted, rtol=1e-4)


@pytest.mark.slow
def test_landmarks_are_learnt(suite, batch):
    """With the term that reads landmarks alone, they come nearer to the wish, as far as networks of
    random weights let an image change."""
    settings = dataclasses.replace(
        SETTINGS,
        adversarial_weight=0.0,
        cycle_adversarial_weight=0.0,
        cycle_weight=0.0,
        landmark_weight=1.0,
        steps=400,
        ema_half_life=16.0,
    )
    state, frozen = begun(settings, suite)
    step = jax.jit(training.encoder_phase(settings).fn)
    errors = []
    for _ in range(60):
        state, metrics = step(state, frozen, batch, jax.random.key(1))
        errors.append(float(metrics["landmark"]))
    assert errors[-1] < errors[0] - 2e-4
    averaged, last = (nnx.state(each) for each in (state.used, state.network))
    pairs = zip(jax.tree.leaves(averaged), jax.tree.leaves(last), strict=True)
    assert 0 < max(float(jnp.abs(a - b).max()) for a, b in pairs) < np.inf


@pytest.mark.slow
def test_microbatches_of_the_discriminator_agree(suite, batch):
    """Without norms over the batch, parts give what the whole gives."""
    judge = dataclasses.replace(SETTINGS.discriminator, mbstd_num_channels=0)
    settings = dataclasses.replace(SETTINGS, discriminator=judge)
    state, frozen = begun(settings, suite)

    def run(microbatches):
        changed = dataclasses.replace(settings, microbatches=microbatches)
        phase = training.discriminator_phase(changed)
        after, metrics = jax.jit(phase.fn)(state, frozen, batch, jax.random.key(0))
        return after.discriminator, metrics

    (whole, losses), (parts, others) = run(1), run(2)
    assert float(losses["loss"]) == pytest.approx(float(others["loss"]), rel=1e-4)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-2)  # Adam's first step is the gradient's sign


def test_the_recipe_says_what_is_missing(suite):
    networks = {role: suite.network(role) for role in ("generator", "encoder")}
    settings = dataclasses.replace(SETTINGS, landmark_weight=1.0)
    with pytest.raises(UsageError, match="'landmarks': landmarks are read"):
        settings.recipe(key=jax.random.key(0), networks=networks, held_out=None)
    wrong = dataclasses.replace(SETTINGS, network=dataclasses.replace(NETWORK, num_ws=8))
    with pytest.raises(UsageError, match=r"takes W\+ of 6 x 32, method.network gives 8 x 32"):
        wrong.recipe(key=jax.random.key(0), networks=networks, held_out=None)


@pytest.mark.slow
def test_the_recipe_scores_and_saves(suite, batch, tmp_path):
    names = ("generator", "encoder", "landmarks")
    networks = {role: suite.network(role) for role in names}
    recipe = SETTINGS.recipe(key=jax.random.key(0), networks=networks, held_out=batch)
    assert recipe.fields == ("image", "landmarks")
    scores = recipe.score(recipe.state)
    assert set(scores) == {"cycle", "landmark_error"}
    assert scores["cycle"] == 0.0  # the difference begins at zero
    assert recipe.sample_images(recipe.state).shape[1:] == (16, 16, 3)
    finished = recipe.networks(recipe.state)
    for role, network in finished.items():
        save_network(tmp_path / f"{role}.safetensors", network)
        load_network(tmp_path / f"{role}.safetensors")
    assert set(finished) == {"latent_difference", "landmark_discriminator"}


@pytest.mark.slow
def test_a_clip_drives_by_motion_and_by_landmarks(suite, batch):
    images = np.float32(batch["image"]) / 127.5 - 1
    key = item_keys(jax.random.key(0), ["a"])
    motion = read_motion(suite, jnp.asarray(images))
    by_motion = reenact(
        suite, LandmarkReenactment(), images[:1], Driving(motion=motion), keys=key, chunk=3
    )
    by_landmarks = reenact(
        suite, DriverLandmarks(), images[:1], Driving(images=images), keys=key, chunk=3
    )
    for drawn in (by_motion, by_landmarks):
        assert drawn.shape == (4, 16, 16, 3)
        assert np.isfinite(drawn).all()
    # The own motion leaves the own landmarks, whose result is not the driver's.
    subject = LandmarkReenactment().adapt(suite, images[:1], keys=key)
    still = LandmarkReenactment().drive(subject, Driving(motion=subject.motion))
    own = suite.landmarks(suite.generator.synthesis(subject.w_plus, "const"))
    told = DriverLandmarks().move(
        DriverLandmarks().networks(suite),
        suite.generator,
        subject.w_plus,
        (own / 16).reshape(1, -1),
        noise="const",
    )
    np.testing.assert_allclose(still, told.images, atol=1e-4)


def test_a_suite_without_the_network_is_refused(tiny_suite):
    with pytest.raises(SuiteError, match="no latent_difference"):
        LandmarkReenactment().networks(load_suite(tiny_suite))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("encoder_phase", marks=pytest.mark.slow),
        pytest.param("discriminator_phase", marks=pytest.mark.slow),
        "penalty_phase",
    ],
)
def test_every_phase_is_split_over_the_devices(name, suite, batch):
    settings = dataclasses.replace(SETTINGS, r1_interval=2)
    state, frozen = begun(settings, suite)
    assert_split(getattr(training, name)(settings), state, frozen, batch)
