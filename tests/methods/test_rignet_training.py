"""StyleRig's training: its latents, its losses at the start and in training, the scores."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxface.cli
from jaxface.data.latent_items import key_data
from jaxface.data.sources import Latents
from jaxface.errors import UsageError
from jaxface.methods import mofa, rignet
from jaxface.methods.rignet.latents import (
    draw_latents,
    observe_all,
    sample_latents,
    sample_z,
    swap_pairs,
)
from jaxface.methods.rignet.linear_start import linear_start
from jaxface.methods.rignet.scores import HeldOut
from jaxface.morphable import NUM_FACTORS, Scene, render, sample_scenes, scene_from_gaussian
from jaxface.morphable.annotation import project_landmarks
from jaxface.nets import GeneratorConfig, ReconstructionConfig, RigNetConfig
from jaxface.training.experiment import Experiment, _Networks
from jaxface.training.recipe import Stage
from jaxface.weights import load_network, save_network
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

SETTINGS = rignet.RigNetSettings(
    group="pose",
    steps=30,
    batch_size=4,
    hidden=4,
    learning_rate=0.05,
    warmup_steps=1,
    reconstruction_weight=0.5,
    edit_weight=1.5,
    consistency_weight=0.7,
    mixing_probability=0.0,
)
ITEMS = np.arange(32)  # one chunk: everything that looks at them is compiled once


def keys_of(split):
    return jax.random.wrap_key_data(jnp.asarray(key_data(0, split, ITEMS)))


@pytest.fixture(scope="module")
def models(random_network):
    """A generator of noise, and a reader that sees a likely face in every image of it."""
    sizes = {"z_dim": NUM_FACTORS + 3, "w_dim": 16, "mapping_layers": 1}
    widths = {"channel_base": 128, "channel_max": 8, "mapping_lr_multiplier": 1.0}
    generator = random_network("Generator", GeneratorConfig(16, **sizes, **widths))
    reader = random_network("FaceReconstruction", ReconstructionConfig(16, (4, 6), hidden=8))
    reader.mean[...], reader.scale[...] = jnp.zeros(257), jnp.ones(257)
    models = rignet.frozen_models(generator, reader, jax.random.key(1))
    seen = observe_all(models, draw_latents(generator, keys_of("test")))[1].flat
    likely = sample_scenes(jax.random.key(0), 32).face.flat
    # Random layers answer anything: their answers get the distribution of the world's faces.
    reader.scale[...] = likely.std(axis=0) / seen.std(axis=0)
    reader.mean[...] = likely.mean(axis=0) - reader.scale[...] * seen.mean(axis=0)
    return models


@pytest.fixture(scope="module")
def state(models):
    return rignet.initial_state(SETTINGS, models, jax.random.key(2))


@pytest.fixture(scope="module")
def w_plus(models):
    return draw_latents(models.generator, keys_of("train"))


@pytest.fixture(scope="module")
def seen(models, w_plus):
    return observe_all(models, w_plus)


@pytest.mark.slow
def test_begins_with_the_network_of_a_generator_with_fewer_rows(models, state, random_network):
    config = dataclasses.replace(state.network.config, num_ws=4)
    fewer = random_network("RigNet", config)
    begun = rignet.initial_state(SETTINGS, models, jax.random.key(2), fewer).network
    assert begun.config == state.network.config
    np.testing.assert_array_equal(begun.decoder[...][:4], fewer.decoder[...])
    np.testing.assert_array_equal(begun.mean[...], fewer.mean[...])
    for change in ({"num_ws": 8}, {"hidden": 5}):
        other = random_network("RigNet", dataclasses.replace(config, **change))
        with pytest.raises(UsageError, match="the network to begin with is"):
            rignet.initial_state(SETTINGS, models, jax.random.key(2), other)


def test_latents_are_their_items_own(models, w_plus):
    np.testing.assert_array_equal(w_plus, w_plus[:, :1] * np.ones((1, 6, 1)))
    backwards = draw_latents(models.generator, keys_of("train")[::-1])
    # Another item's would be units away; some CPUs' matrix products round by where a row stands.
    np.testing.assert_allclose(backwards[::-1], w_plus, rtol=0, atol=5e-6)
    draw = jax.jit(sample_latents, static_argnums=2)
    mixed = np.asarray(draw(models.generator, keys_of("train"), 0.6))
    shares = []
    for own, rows in zip(np.asarray(w_plus), mixed, strict=True):
        # 1e-6: another program may sum in another order.
        kept = np.isclose(rows, own, atol=1e-6).all(axis=1)
        first = int(kept.sum())
        assert first > 0
        assert kept[:first].all()
        assert (rows[first:] == rows[-1]).all()
        shares.append(first < 6)
    assert 0.3 < np.mean(shares) < 0.9  # three deviations of 32 throws: 0.26


def test_pairs_are_neighbours():
    items = {"a": jnp.arange(4), "b": jnp.arange(8).reshape(4, 2)}
    other = swap_pairs(items)
    np.testing.assert_array_equal(other["a"], [1, 0, 3, 2])
    np.testing.assert_array_equal(other["b"], [[2, 3], [0, 1], [6, 7], [4, 5]])


@pytest.fixture(scope="module")
def run(models, state):
    """Training on the same two pairs: the last state, and every step's metrics."""
    step = jax.jit(rignet.rig_phase(SETTINGS).fn)
    batch = {"key": key_data(0, "train", ITEMS[:4])}
    trained, rows = state, []
    for _ in range(SETTINGS.steps):
        trained, metrics = step(trained, models, batch, jax.random.key(0))
        rows.append({name: float(value) for name, value in metrics.items()})
    return trained, rows


@pytest.mark.slow
def test_terms_at_the_identity(models, seen, run):
    """Nothing is edited yet: the edit puts w's pose into v's face, consistency is F's own fit."""
    images, faces = jax.tree.map(lambda a: a[:4], seen)
    marks = project_landmarks(models.face.landmarks, faces, 16)

    def drawn(face, images, marks):
        threshold = SETTINGS.occlusion_threshold_init
        found = mofa.render_terms(models.face, face, images, marks, threshold)
        return float(jnp.mean(2.0 * found["photometric"] + 300.0 * found["landmark"]))

    terms = run[1][0]
    assert terms["reconstruction"] == 0.0
    # 1e-4: float32 in programs that were fused differently.
    assert terms["consistency"] == pytest.approx(drawn(faces, images, marks), rel=1e-4)
    moved = swap_pairs(faces).with_group("pose", faces)
    wanted = drawn(moved, swap_pairs(images), swap_pairs(marks))
    assert terms["edit"] == pytest.approx(wanted, rel=1e-4)
    assert terms["edit"] > 1.2 * terms["consistency"]


@pytest.mark.slow
def test_every_weight_counts(run):
    row = run[1][-1]
    assert min(row.values()) > 0.0
    whole = 0.5 * row["reconstruction"] + 1.5 * row["edit"] + 0.7 * row["consistency"]
    assert row["loss"] == pytest.approx(whole, rel=1e-5)


def test_learns_the_edit(state, w_plus, run):
    """Only RigNet's own weights change, its units do not."""
    trained, rows = run
    floor = rows[0]["consistency"]  # what F's reading of an image of noise leaves
    assert rows[-1]["edit"] - floor < 0.5 * (rows[0]["edit"] - floor)
    assert int(trained.items_seen) == 4 * SETTINGS.steps
    before, after = state.network, trained.network
    for name in ("mean", "scale"):
        np.testing.assert_array_equal(getattr(after, name)[...], getattr(before, name)[...])
    for name in ("encoder", "encoder_bias", "decoder", "decoder_bias"):
        assert (getattr(after, name)[...] != getattr(before, name)[...]).any()
    # The average has begun to move, too.
    edited = trained.average(w_plus, jnp.tile(before.mean[...], (32, 1)))
    assert np.abs(edited - w_plus).max() > 1e-3


def test_units_are_the_readers(state, seen):
    """One scale a field: rotation's three are equal, translation's are others."""
    scale = np.asarray(state.network.scale[...])
    assert len(set(scale[:3].tolist())) == len(set(scale[3:].tolist())) == 1
    rotation = np.sqrt(np.var(seen[1].rotation, axis=0).mean())
    # Other latents than those that the units were measured on: 32 beside 512.
    assert scale[0] == pytest.approx(rotation, rel=0.4)


def test_scores_of_the_identity(models, state):
    words = key_data(0, "test", ITEMS)
    held_out = rignet.held_out_latents("pose", models, words, known_scenes=False)
    scores = rignet.edit_scores("pose", models, state.network, held_out)
    for measure in ("rotation_rad", "translation", "landmarks_relative"):
        assert scores[f"edit_{measure}"] == pytest.approx(scores[f"unedited_{measure}"], rel=1e-5)
        # F's own readings stand in for a truth that is not known.
        assert scores[f"best_{measure}"] == 0.0
        assert scores[f"edit_{measure}"] > 0.0
    kept = {name: value for name, value in scores.items() if name.startswith("kept_")}
    assert set(kept) == {
        "kept_identity_sigma",
        "kept_reflectance_sigma",
        "kept_expression",
        "kept_illumination_relative",
        "kept_landmarks_relative",
    }
    assert max(kept.values()) < 1e-5
    assert len(scores) == 3 * 3 + 5


def test_scores_against_the_truth(models, run, w_plus, seen):
    """The truth is what F reads, but for the first angle; the true image is a bit too bright."""
    images, read = seen
    images = jnp.clip(images, -1.0, 1.0)
    true = dataclasses.replace(read, rotation=read.rotation + jnp.array([0.3, 0.0, 0.0]))
    held_out = HeldOut(w_plus, images, read, true, images + 0.02, images + 0.2)
    scores = rignet.edit_scores("pose", models, run[0].network, held_out)
    assert scores["best_rotation_rad"] == pytest.approx(0.1, rel=1e-4)
    wanted = np.abs(np.asarray(read.rotation) - np.asarray(swap_pairs(true).rotation)).mean()
    assert scores["unedited_rotation_rad"] == pytest.approx(wanted, rel=1e-4)
    # An edit moves all that F sees here.
    assert scores["kept_identity_sigma"] > 1e-3
    # Of a range of 2: 20 log10(2 / 0.02) and 20 log10(2 / 0.2).
    assert scores["unedited_psnr"] == pytest.approx(40.0, abs=1e-2)
    assert scores["best_psnr"] == pytest.approx(20.0, abs=1e-2)
    assert scores["edit_psnr"] < 39.0


@pytest.mark.slow
def test_the_true_pictures_of_edits(models):
    """The partner's true pose in the latent's own scene."""
    words = key_data(0, "test", ITEMS[:2])
    held_out = rignet.held_out_latents("pose", models, words, known_scenes=True)
    assert held_out.renders is not None
    assert held_out.own_renders is not None
    assert held_out.renders.shape == held_out.own_renders.shape == (2, 16, 16, 3)
    z = sample_z(jax.random.wrap_key_data(jnp.asarray(words)), NUM_FACTORS + 3)
    scenes = scene_from_gaussian(z[:, :NUM_FACTORS])
    np.testing.assert_allclose(held_out.true.flat, scenes.face.flat, rtol=1e-5, atol=1e-5)
    swapped = dataclasses.replace(
        scenes.face,
        rotation=scenes.face.rotation[::-1],
        translation=scenes.face.translation[::-1],
    )
    wanted = render(Scene(swapped, scenes.nuisance), 16)
    np.testing.assert_allclose(held_out.renders, wanted, atol=1e-4)
    assert np.abs(held_out.renders - held_out.own_renders).max() > 0.1


def test_the_sheet_shows_givers_and_takers(models, state):
    words = key_data(0, "test", ITEMS)
    held_out = rignet.held_out_latents("pose", models, words, known_scenes=False)
    draw = rignet.edit_sheet("pose", models, held_out, rows=5, columns=9)
    sheet = np.asarray(draw(state.network)).reshape(5, 9, 16, 16, 3)
    np.testing.assert_array_equal(sheet[0, 0], 1.0)
    np.testing.assert_array_equal(sheet[0, 1:], held_out.images[:8])
    np.testing.assert_array_equal(sheet[1:, 0], held_out.images[-4:])
    # Nothing is edited: a row repeats its taker. 1e-4: of numbers of about ten.
    np.testing.assert_allclose(sheet[1:, 1:], np.tile(sheet[1:, :1], (1, 8, 1, 1, 1)), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 3}, "even, got 3"),
        ({"group": "identity"}, "'identity'; expected one of pose"),
        ({"mixing_probability": 1.5}, "0 to 1, got 1.5"),
    ],
)
def test_settings_are_checked(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(SETTINGS, **change)


def test_networks_must_be_there_and_fit(models, state, random_network):
    def make(settings=SETTINGS, held_out=None, **networks):
        return settings.recipe(key=jax.random.key(0), networks=networks, held_out=held_out)

    own = {"generator": models.generator, "reconstruction": models.reconstruction}
    with pytest.raises(UsageError, match="role 'reconstruction'"):
        make(generator=models.generator)
    with pytest.raises(UsageError, match=r"hidden=4.*hidden=5"):
        make(dataclasses.replace(SETTINGS, hidden=5), rignet_pose=state.network, **own)
    with pytest.raises(UsageError, match="in pairs, got 3"):
        make(held_out={"key": np.zeros((3, 2), np.uint32)}, rignet_pose=state.network, **own)
    small = random_network("Generator", GeneratorConfig(4, z_dim=9, w_dim=4, mapping_layers=1))
    known = dataclasses.replace(SETTINGS, known_scenes=True)
    with pytest.raises(UsageError, match=r"have 277 factors.* 9 coordinates"):
        make(known, generator=small, reconstruction=models.reconstruction)


def write_suite(folder, models):
    for role in ("generator", "reconstruction"):
        save_network(folder / f"{role}.safetensors", getattr(models, role))


def test_own_files_come_before_the_suites(tmp_path, models, state):
    write_suite(tmp_path, models)
    for name in ("mine", "rignet_pose"):
        save_network(tmp_path / f"{name}.safetensors", state.network)
    experiment = Experiment(
        method=SETTINGS,
        data=Latents(),
        networks={"generator": str(tmp_path / "mine.safetensors")},
        suite=str(tmp_path),
    )
    networks = _Networks(experiment)
    # Without the suite's network of what is trained.
    assert sorted(networks) == ["generator", "reconstruction"]
    other = dataclasses.replace(SETTINGS, group="expression")
    assert "rignet_pose" in _Networks(dataclasses.replace(experiment, method=other))
    assert type(networks["generator"]).__name__ == "RigNet"
    assert type(networks["reconstruction"]).__name__ == "FaceReconstruction"
    assert networks.get("perceptual") is None
    alone = dataclasses.replace(experiment, networks={}, suite=None)
    assert dict(_Networks(alone)) == {}


CONFIG = """
from jaxface.data.sources import Latents
from jaxface.methods.rignet import RigNetSettings
from jaxface.training.experiment import Experiment


def get_config():
    return Experiment(
        method=RigNetSettings(group="pose", steps=4, batch_size=4, hidden=4, known_scenes=KNOWN),
        data=Latents(num_test=4), suite="SUITE",
        log_every=1, checkpoint_every=2, eval_every=2,
    )
"""


def test_the_name_is_the_family_or_the_role(tmp_path, capsys):
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG.replace("KNOWN", "False").replace("SUITE", str(tmp_path)))
    call = ["train", "perceptual", "--config", str(path), "--out", str(tmp_path / "run")]
    assert jaxface.cli.main(call) == 2
    said = capsys.readouterr().err
    assert "the configuration trains rignet_pose (RigNetSettings); expected rignet" in said
    call[1] = "rignet_pose"
    assert jaxface.cli.main([*call, "--set", "method.group=illumination"]) == 2
    assert "trains rignet_illumination" in capsys.readouterr().err
    call[1] = "rignet"
    assert jaxface.cli.main([*call, "--set", "method.group=hair"]) == 2
    assert "'hair'; expected one of pose, expression, illumination" in capsys.readouterr().err


@pytest.mark.slow
def test_trains_by_the_verb_and_resumes(tmp_path, models, monkeypatch):
    write_suite(tmp_path, models)
    path = tmp_path / "tiny.py"
    text = CONFIG.replace("KNOWN", "True").replace("SUITE", str(tmp_path))
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    call = ["train", "--config", str(path), "--set", "method.group=illumination"]
    assert jaxface.cli.main(call) == 0
    run = tmp_path / "runs" / "tiny_illumination"
    network = load_network(run / "rignet_illumination.safetensors")
    assert network.config.group == "illumination"
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    names = set().union(*rows)
    assert {"rignet/edit", "held_out/edit_illumination_relative", "held_out/kept_rotation_rad"} <= (
        names
    )
    assert len(list((run / "samples").iterdir())) == 2
    shutil.rmtree(run / "checkpoints" / "4")
    assert jaxface.cli.main([*call, "--resume"]) == 0
    again = load_network(run / "rignet_illumination.safetensors")
    np.testing.assert_array_equal(again.decoder[...], network.decoder[...])
    # Another run begins with it: at a rate of 0 it stays what it was.
    call += ["--out", str(tmp_path / "next"), "--begin", str(run)]
    call += ["--set", "method.learning_rate=0.0", "--set", "method.steps=1"]
    assert jaxface.cli.main(call) == 0
    begun = load_network(tmp_path / "next" / "rignet_illumination.safetensors")
    np.testing.assert_array_equal(begun.decoder[...], network.decoder[...])


@pytest.mark.slow
def test_microbatches_keep_the_pairs(models, state):
    batch = {"key": key_data(0, "train", ITEMS[:8])}
    assert_parts_agree(rignet.rig_phase, SETTINGS, state, models, batch)
    with pytest.raises(UsageError, match="a multiple of 4, got 6"):
        Stage([rignet.rig_phase(SETTINGS)], 1, batch_size=6, microbatches=2, group_size=2)


def test_a_linear_start_moves_what_latents_tell(random_network):
    """Parameters of which latents tell almost all arrive at once, what they do not tell stays."""
    random = np.random.default_rng(0)
    w = random.normal(size=(400, 12)) + 1.0
    rows = random.normal(size=(6, 12)) / 4
    parameters = w @ rows.T + 0.02 * random.normal(size=(400, 6))
    parameters[:, 5] = random.normal(size=400)  # of this nothing is told
    network = random_network("RigNet", RigNetConfig("pose", num_ws=3, w_dim=12, hidden=7))
    network.mean[...] = jnp.asarray(parameters.mean(axis=0), jnp.float32)
    network.scale[...] = jnp.asarray(parameters.std(axis=0), jnp.float32)
    begun = linear_start(network, jnp.asarray(w), jnp.asarray(parameters))
    latents, wanted = jnp.asarray(w[:8], jnp.float32), jnp.asarray(parameters[8:16], jnp.float32)
    edited = begun(jnp.repeat(latents[:, None], 3, axis=1), wanted)
    np.testing.assert_allclose(edited, jnp.repeat(edited[:, :1], 3, axis=1), atol=1e-4)
    found = np.asarray(edited[:, 0]) @ rows.T
    errors = np.abs(found - wanted)[:, :5].mean(axis=0)
    assert (errors < 0.1 * parameters[:, :5].std(axis=0)).all()
    own = begun(jnp.repeat(latents[:, None], 3, axis=1), jnp.asarray(parameters[:8], jnp.float32))
    assert np.abs(own[:, 0] - latents).max() < 0.15
    # Codes that are narrower than the group: the rest of the way is left out, and it is finite.
    narrow = random_network("RigNet", RigNetConfig("pose", num_ws=3, w_dim=12, hidden=2))
    narrow = linear_start(narrow, jnp.asarray(w), jnp.asarray(parameters))
    assert bool(jnp.isfinite(narrow(jnp.repeat(latents[:, None], 3, axis=1), wanted)).all())


def test_a_step_is_split_over_the_devices(models, state):
    batch = {"key": key_data(0, "train", ITEMS[:8])}
    assert_split(rignet.rig_phase(SETTINGS), state, models, batch)
