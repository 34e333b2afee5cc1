"""Finding Directions at a tiny size: columns, losses, every stage of training, reenactment."""

import dataclasses
import json
import socket
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface import cli
from jaxface.data.latent_items import key_data
from jaxface.errors import SuiteError, UsageError
from jaxface.keys import item_keys
from jaxface.latents import truncate
from jaxface.losses import face_shape
from jaxface.methods import direction_matrix as method
from jaxface.methods import encoder, pti
from jaxface.methods.direction_matrix import columns, training
from jaxface.methods.direction_matrix import losses as losses_of
from jaxface.methods.direction_matrix.reenactment import EMBEDDED_TUNING, MatrixReenactment
from jaxface.methods.reenactment import Driving, drive_chunks
from jaxface.morphable import FaceParameters
from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.motion import ARKIT_JAW_OPEN, JAW_OPEN, Motion
from jaxface.nets import (
    DirectionMatrix,
    DirectionMatrixConfig,
    EncoderConfig,
    GeneratorConfig,
    IRSEConfig,
    ReconstructionConfig,
    VGGConfig,
)
from jaxface.suite import load_suite
from jaxface.weights import load_network, network_arrays, save_network, with_arrays
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

SIDE, W_DIM = 16, 8
GENERATOR = GeneratorConfig(
    SIDE,
    z_dim=12,
    w_dim=W_DIM,
    mapping_layers=1,
    channel_base=128,
    channel_max=8,
    mapping_lr_multiplier=1.0,
)
NETWORKS = {
    "generator": ("Generator", GENERATOR),
    "reconstruction": ("FaceReconstruction", ReconstructionConfig(SIDE, (4, 6), hidden=8)),
    "recognition": (
        "IRSE",
        IRSEConfig(
            (2, 2, 4, 4), (1, 1, 1, 1), 2, 4, 16, portrait_size=SIDE, crop=(0, SIDE, 0, SIDE)
        ),
    ),
    "perceptual": ("VGG16", VGGConfig(channels=(4, 4, 4, 4, 4))),
    "encoder": (
        "E4EEncoder",
        EncoderConfig((1, 1, 2, 2), (1, 1, 1, 1), num_ws=6, w_dim=W_DIM, resolution=32),
    ),
}


@dataclasses.dataclass(frozen=True)
class Noise:
    """Portraits, or pairs of them, of noise."""

    frames: int = 1

    @property
    def classes(self):
        return {}

    def batches(self, size, fields, *, seed):
        assert tuple(fields) == ("image",)
        rng = np.random.default_rng(seed)
        shape = (size, SIDE, SIDE, 3) if self.frames == 1 else (size, self.frames, SIDE, SIDE, 3)
        while True:
            yield {"image": rng.integers(0, 256, shape, np.uint8)}

    def held_out(self):
        return None


LOSSES = dataclasses.replace(method.PAPER_LOSSES, perceptual="features", distances="code")
STAGES = tuple(method.MatrixStage(kind, 2, 4) for kind in ("synthetic", "mixed", "paired"))
SETTINGS = method.MatrixSettings(
    STAGES,
    LOSSES,
    expressions=3,
    samples=64,
    portraits=Noise(),
    pairs=Noise(2),
    embedded=6,
    learning_rate=0.01,
)


def with_positive_variances(network):
    """Of the norms: a random one would have roots of negative numbers."""
    arrays = network_arrays(network)
    return with_arrays(
        network, {n: np.abs(x) + 0.5 for n, x in arrays.items() if n.endswith("variance")}
    )


def draw_in_unit_range(generator):
    """Images of random weights would be so large that losses hang on their last bits."""
    z = jnp.asarray(np.random.default_rng(0).normal(size=(8, 12)), jnp.float32)
    images = jax.jit(lambda generator, z: generator(z))(generator, z)
    for block in generator.synthesis.blocks:
        block.to_rgb.weight[...] = block.to_rgb.weight[...] / images.std()


@pytest.fixture(scope="module", name="suite_folder")
def tiny_suite(tmp_path_factory, random_network):
    folder = tmp_path_factory.mktemp("suite")
    for role, (name, config) in NETWORKS.items():
        network = random_network(name, config)
        if role == "reconstruction":
            network.mean[...], network.scale[...] = jnp.zeros(257), jnp.ones(257)
            noise = np.random.default_rng(0).uniform(-1, 1, (8, SIDE, SIDE, 3)).astype(np.float32)
            network.scale[...] = 0.1 / jnp.abs(jax.jit(lambda f, x: f(x))(network, noise)).max(0)
        network = with_positive_variances(network)
        if role == "generator":
            draw_in_unit_range(network)
        save_network(folder / f"{role}.safetensors", network)
    return folder


@pytest.fixture(scope="module", name="networks")
def networks_by_role(suite_folder):
    return {role: load_network(suite_folder / f"{role}.safetensors") for role in NETWORKS}


@pytest.fixture(scope="module", name="models")
def frozen_models(networks):
    return method.frozen_models(SETTINGS, networks)


@pytest.fixture(scope="module", name="state")
def first_state(models):
    return method.initial_state(SETTINGS, models, jax.random.key(1), jax.random.key(2))


@dataclasses.dataclass(frozen=True)
class Share(Noise):
    """This process's rows of every batch."""

    def batches(self, size, fields, *, seed):
        rows = size // jax.process_count()
        own = slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)
        return (
            {"image": batch["image"][own]} for batch in super().batches(size, fields, seed=seed)
        )


EMBEDDING = """
import pathlib, sys
import jax
import numpy as np
suite, out, address, index = sys.argv[1:]
jax.distributed.initialize(address, 2, int(index))
from jaxface.methods.direction_matrix import training
from jaxface.weights import load_network
from tests.methods.test_direction_matrix import Share
networks = (load_network(f"{suite}/{role}.safetensors") for role in ("generator", "encoder"))
found = training.embed(*networks, Share(), training.CHUNK + 3)
np.savez(f"{out}/{index}.npz", w_plus=found.w_plus, images=found.images)
"""


@pytest.mark.slow
def test_two_processes_embed_the_same_portraits(suite_folder, networks, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    program = [sys.executable, "-c", EMBEDDING, str(suite_folder), str(tmp_path), address]
    running = [
        subprocess.Popen([*program, str(index)], stderr=subprocess.PIPE, text=True)
        for index in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    first, second = (np.load(tmp_path / f"{index}.npz") for index in range(2))
    alone = training.embed(networks["generator"], networks["encoder"], Noise(), training.CHUNK + 3)
    for name, expected in (("images", alone.images), ("w_plus", alone.w_plus)):
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], expected, rtol=1e-4, atol=1e-5)


def keys_of(count, split="train"):
    return jax.random.wrap_key_data(jnp.asarray(key_data(0, split, np.arange(count))))


def random_motion(frames, basis="embedded", *, jaw=True):
    rng = np.random.default_rng(frames)
    width = 52 if basis == "arkit" else 64
    rotation, expression = rng.normal(size=(frames, 3)) * 0.2, rng.normal(size=(frames, width))
    opened = jnp.asarray(rng.normal(size=(frames, 3)) * 0.1, jnp.float32)
    return Motion(
        jnp.asarray(rotation, jnp.float32),
        opened if jaw else None,
        jnp.asarray(expression, jnp.float32),
        basis,
    )


def test_columns_of_the_face_models():
    names = method.column_names("flame", 11)
    assert len(names) == 3 + 12
    assert names[:5] == ("yaw", "pitch", "roll", "jaw", "expression_0")
    embedded = method.column_names("embedded", 15)
    assert embedded[3:5] == ("jaw_open", "smile")
    assert embedded[-1] == "expression_14"
    assert method.column_names("anatomical", 53)[-2:] == ("tongueOut", "expression_52")
    assert columns.expression_place("mouthSmileLeft") == ARKIT_UNITS.index("mouthSmileLeft")
    for basis, expressions in (("arkit", 3), ("flame", 51), ("embedded", 65)):
        with pytest.raises(ValueError, match="column_names"):
            method.column_names(basis, expressions)


def test_values_of_motion_and_what_a_driver_determines():
    names = method.column_names("embedded", 3)
    motion = random_motion(4)
    values = np.asarray(method.column_values(names, "embedded", motion))
    pitch, yaw, roll = np.rad2deg(np.asarray(motion.rotation)).T
    np.testing.assert_allclose(values[:, :3], np.stack([yaw, pitch, roll], 1), rtol=1e-5)
    np.testing.assert_allclose(values[:, 3], motion.jaw[:, 0] / JAW_OPEN, rtol=1e-5)
    np.testing.assert_array_equal(values[:, 4:], motion.expression[:, 1:3])
    assert method.columns_given(names, "embedded", motion).all()
    other = random_motion(4, "anatomical")
    given = method.columns_given(names, "embedded", other)
    assert given.tolist() == [True] * 4 + [False] * 2
    assert ARKIT_JAW_OPEN != JAW_OPEN  # the jaw goes over as an angle
    values = np.asarray(method.column_values(names, "embedded", other))
    np.testing.assert_allclose(values[:, 3], other.jaw[:, 0] / JAW_OPEN, rtol=1e-5)
    silent = random_motion(4, "basel", jaw=False)
    assert method.columns_given(names, "embedded", silent).tolist() == [True] * 3 + [False] * 3


def test_both_readings_of_the_inner_distances():
    points = jnp.zeros((1, 68, 2)).at[0, 37].set(jnp.array([3.0, 4.0]))
    target = jnp.zeros((1, 68, 2))
    # One pair of six: 3 and 4 on its two axes; or its length, one of four.
    assert face_shape.eyes(points, target, reading="code")[0] == pytest.approx(7 / 12)
    assert face_shape.eyes(points, target, reading="paper")[0] == pytest.approx(5.0)
    gradient = jax.grad(lambda x: face_shape.mouth(x, target, reading="paper").sum())(points)
    assert np.isfinite(gradient).all()
    with pytest.raises(ValueError, match="reading must be"):
        face_shape.mouth(points, target, reading="other")  # pyright: ignore


def test_ranges_become_lines_and_units(models, state):
    matrix = state.network
    values = training.sample_values(SETTINGS, models, matrix.names, jax.random.key(1))
    rescaled = np.asarray(matrix.rescaled(jnp.asarray(values)))
    np.testing.assert_allclose(rescaled.min(axis=0), -6, atol=1e-3)
    np.testing.assert_allclose(rescaled.max(axis=0), 6, atol=1e-3)
    np.testing.assert_array_equal(matrix.unit[...][:3], np.ones(3))
    np.testing.assert_allclose(matrix.unit[...][3:], values.std(axis=0)[3:], rtol=1e-5)
    fixed = dataclasses.replace(SETTINGS, fixed_angles=True)
    training.set_ranges(fixed, matrix := nnx.merge(*nnx.split(matrix)), values)
    np.testing.assert_allclose(matrix.slope[...][:3], [0.15, 0.3, 0.3], rtol=1e-6)
    with pytest.raises(UsageError, match="yaw is the same in all samples"):
        training.set_ranges(SETTINGS, matrix, np.zeros((4, 6)))


@pytest.mark.parametrize("half", ["second", "alternate"])
def test_halves_of_a_mixed_batch(half, models):
    settings = dataclasses.replace(SETTINGS, half=half)
    cases = method.draw_cases(settings, models, "mixed", 6, keys_of(8))
    assert cases.real.tolist() == [True] * 4 + [False] * 4
    assert cases.single.sum() == 4
    together = np.asarray(cases.single) & np.asarray(cases.real)
    assert together.sum() == (0 if half == "second" else 2)
    stored = np.asarray(models.portraits.w_plus)
    for row in np.asarray(cases.w_plus)[:4]:
        assert (stored == row).all(axis=(1, 2)).any()


@pytest.mark.parametrize("single", ["change", "result"])
def test_single_numbers_are_uniform_in_what_is_said(single):
    settings = dataclasses.replace(SETTINGS, single=single)
    rescaled = jnp.array([[1.0, 2.0], [3.0, -4.0]])
    column, uniform = jnp.array([0, 1]), jnp.array([0.0, 0.5])
    change = losses_of.single_change(settings, rescaled, column, uniform)
    expected = [[6.0, 0.0], [0.0, 0.0]] if single == "change" else [[5.0, 0.0], [0.0, 4.0]]
    np.testing.assert_allclose(change, expected)


def test_a_single_number_leaves_the_rest_of_the_face(models, state):
    cases = method.draw_cases(SETTINGS, models, "synthetic", 6, keys_of(8))
    faces = models.faces
    rng = np.random.default_rng(3)
    source, target = (
        FaceParameters.from_flat(jnp.asarray(rng.normal(size=(8, 257)), jnp.float32))
        for _ in range(2)
    )
    change, wanted = losses_of.wanted_faces(SETTINGS, faces, state.network, source, target, cases)
    single = np.asarray(cases.single)
    assert (np.count_nonzero(np.asarray(change)[single], axis=1) == 1).all()
    moved = np.asarray(wanted.flat != source.flat)[single]
    assert (moved.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(wanted.identity, source.identity)
    np.testing.assert_array_equal(wanted.translation, source.translation)
    np.testing.assert_array_equal(wanted.rotation[~single], target.rotation[~single])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["synthetic", "mixed", "paired"])
def test_a_step_learns_the_matrix_alone(kind, models, state):
    stage = method.MatrixStage(kind, 2, 4)
    phase = method.matrix_phase(SETTINGS, stage)
    batch = {"key": jnp.asarray(key_data(0, "train", np.arange(4)))}
    new, terms = jax.jit(phase.fn)(state, models, batch, jax.random.key(0))
    expected = {"loss", "shape", "eye", "mouth", "identity", "perceptual"}
    assert set(terms) == expected | ({"pixel"} if kind == "paired" else set())
    assert all(np.isfinite(value) for value in terms.values())
    assert (new.network.weight[...] != state.network.weight[...]).any()
    np.testing.assert_array_equal(new.network.slope[...], state.network.slope[...])
    np.testing.assert_array_equal(new.average.weight[...], new.network.weight[...])


@pytest.mark.slow
def test_parts_of_a_batch_give_the_same_gradient(models, state):
    stage = method.MatrixStage("mixed", 2, 4)
    batch = {"key": jnp.asarray(key_data(0, "train", np.arange(4)))}

    def phase(settings):
        return method.matrix_phase(settings, stage)

    assert_parts_agree(phase, SETTINGS, state, models, batch)


@pytest.mark.slow
def test_trains_by_the_command_and_moves_what_edit_asks_for(suite_folder, tmp_path):
    config = tmp_path / "tiny_matrix.py"
    config.write_text(
        "import dataclasses\n"
        "from jaxface.data.sources import Latents\n"
        "from jaxface.methods.direction_matrix import *\n"
        "from jaxface.training.experiment import Experiment\n"
        "def get_config():\n"
        "    losses = dataclasses.replace(PAPER_LOSSES, perceptual='features')\n"
        "    method = MatrixSettings((MatrixStage('synthetic', 4, 4),), losses, expressions=2,\n"
        "        samples=64, learning_rate=0.01)\n"
        f"    return Experiment(method, Latents(num_test=8), suite={str(suite_folder)!r},\n"
        "        log_every=1, checkpoint_every=2, eval_every=2)\n"
    )
    out = tmp_path / "run"
    arguments = ["train", "direction_matrix", "--config", str(config), "--out", str(out)]
    assert cli.main(arguments) == 0
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    assert {"turn_rad", "identity", "landmarks_relative"} <= {
        name.rpartition("/")[2] for row in rows for name in row
    }
    matrix = load_network(out / "direction_matrix.safetensors")
    assert matrix.config.rows == 6  # of the generator's six
    found = columns.latent_directions(matrix, 6)
    assert found["pose"].config.unit_names == ("degree",) * 3
    moved = found["pose"].move(jnp.zeros((1, 6, W_DIM)), "yaw", 20.0)
    change = jnp.zeros((1, 5)).at[0, 0].set(20.0) * matrix.slope[...]
    np.testing.assert_allclose(moved, matrix.shift(change), rtol=1e-4, atol=1e-5)


def test_a_stage_without_its_data_or_encoder_is_refused(networks):
    with pytest.raises(UsageError, match=r"set method\.portraits"):
        method.frozen_models(dataclasses.replace(SETTINGS, portraits=None), networks)
    without = {role: network for role, network in networks.items() if role != "encoder"}
    with pytest.raises(UsageError, match="'encoder'"):
        method.frozen_models(SETTINGS, without)
    without = {role: network for role, network in networks.items() if role != "recognition"}
    with pytest.raises(UsageError, match="'recognition'"):
        method.frozen_models(SETTINGS, without)


@pytest.fixture(scope="module", name="suite")
def suite_with_matrix(suite_folder, tmp_path_factory, state):
    folder = tmp_path_factory.mktemp("with_matrix")
    for file in suite_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    save_network(folder / "direction_matrix.safetensors", state.network)
    suite = load_suite(folder)
    suite.check()
    return suite


TUNING = dataclasses.replace(EMBEDDED_TUNING, steps=2, first_resolution=8)
REENACTOR = MatrixReenactment(pti.PivotalTuning(encoder.Settings("any"), TUNING), feedback=1)


@pytest.fixture(scope="module", name="portrait")
def one_portrait():
    return np.random.default_rng(5).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(scope="module", name="subject")
def adapted_subject(suite, portrait):
    return REENACTOR.adapt(suite, portrait, keys=item_keys(jax.random.key(0), ["a"]))


def test_no_motion_is_the_reconstruction_bit_for_bit(subject):
    frames = REENACTOR.drive(subject, Driving(motion=subject.motion))
    drawn = jax.jit(lambda generator, w: generator.synthesis(w))
    still = drawn(subject.generator, subject.w_plus)
    (row,) = REENACTOR.move(
        REENACTOR.networks(subject.suite),
        subject.generator,
        subject.w_plus,
        subject.motion,
        subject.motion,
        noise="const",
    ).w_plus
    np.testing.assert_array_equal(row, subject.w_plus[0])
    np.testing.assert_array_equal(frames, still)
    relative = dataclasses.replace(REENACTOR, relative_to=0, feedback=0)
    again = relative.drive(subject, Driving(motion=random_motion(1)))
    np.testing.assert_array_equal(again, still)


def test_each_subject_begins_with_the_untouched_generator(suite, portrait, subject):
    before = jax.tree.map(np.asarray, nnx.state(suite.generator))
    again = REENACTOR.adapt(suite, portrait, keys=item_keys(jax.random.key(0), ["a"]))
    for own, other in zip(
        jax.tree.leaves(subject.generator), jax.tree.leaves(again.generator), strict=True
    ):
        np.testing.assert_array_equal(own, other)
    after = jax.tree.map(np.asarray, nnx.state(suite.generator))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    tuned = subject.generator.synthesis.blocks
    original = suite.generator.synthesis.blocks
    for block, own in zip(tuned, original, strict=True):
        moved = bool((block.conv1.weight[...] != own.conv1.weight[...]).any())
        assert moved == (block.resolution >= 8)
        np.testing.assert_array_equal(block.to_rgb.weight[...], own.to_rgb.weight[...])


def test_truncation_scales_the_shift(suite, subject):
    """What the code draws of untruncated codes is what is drawn of truncated ones."""
    psi, networks = 0.7, REENACTOR.networks(suite)
    half = dataclasses.replace(REENACTOR, truncation=psi, feedback=0)
    generator, motion = suite.generator, random_motion(1)
    truncated = truncate(subject.w_plus, generator.w_mean, psi)
    moved = half.move(networks, generator, truncated, subject.motion, motion, noise="const")
    change, _ = half._change(networks.matrix, subject.motion, motion, None)
    whole = networks.matrix(subject.w_plus, change)
    expected = truncate(whole, generator.w_mean, psi)
    np.testing.assert_allclose(moved.w_plus, expected, rtol=1e-5, atol=1e-5)


def assert_alike(images, others):
    """Of another batch size, whose sums may be in another order; random networks give 1e6."""
    scale = np.abs(np.asarray(others)).max()
    np.testing.assert_allclose(images, others, atol=1e-5 * scale)


def test_frames_are_their_own(subject):
    motion = random_motion(5)
    whole = np.concatenate(list(drive_chunks(REENACTOR, subject, Driving(motion=motion), chunk=2)))
    assert whole.shape == (5, SIDE, SIDE, 3)
    one = REENACTOR.drive(subject, Driving(motion=motion[3]))
    assert_alike(whole[3:4], one)


def test_groups_and_other_bases(subject, suite):
    matrix = suite.direction_matrix
    change, follows = REENACTOR._change(matrix, subject.motion, random_motion(2), None)
    assert np.asarray(change).all()
    assert follows.all()
    pose = REENACTOR.following(("pose",))
    change = np.asarray(pose._change(matrix, subject.motion, random_motion(2), None)[0])
    assert change[:, :3].all()
    assert not change[:, 3:].any()
    some = dataclasses.replace(REENACTOR, corrected=("yaw", "smile"))
    corrected = some._corrects(matrix, np.array([True] * 5 + [False]))
    assert np.array(matrix.names)[np.asarray(corrected)].tolist() == ["yaw", "smile"]
    other = random_motion(2, "basel", jaw=False)
    change = np.asarray(REENACTOR._change(matrix, subject.motion, other, None)[0])
    assert change[:, :3].all()
    assert not change[:, 3:].any()


@pytest.mark.slow
def test_rows_of_many_subjects_are_what_drive_gives(suite, subject):
    motion = random_motion(3)
    networks = REENACTOR.networks(suite)
    own = jax.tree.map(lambda leaf: jnp.repeat(leaf, 3, axis=0), subject.motion)
    w_plus = jnp.repeat(subject.w_plus, 3, axis=0)
    moved = REENACTOR.move(networks, subject.generator, w_plus, own, motion, noise="const")
    frames = REENACTOR.drive(subject, Driving(motion=motion))
    assert_alike(moved.images, frames)


def test_what_is_refused(suite, portrait, subject, random_network, tmp_path):
    keys = item_keys(jax.random.key(0), ["a"])
    with pytest.raises(ValueError, match="a subject is one frame, got 2"):
        REENACTOR.adapt(suite, np.repeat(portrait, 2, axis=0), keys=keys)
    with pytest.raises(ValueError, match="driving frames need motion"):
        REENACTOR.drive(subject, Driving(images=portrait))
    wrongs: list[dict[str, Any]] = [
        {"groups": ("light",)},
        {"relative_to": "first"},
        {"feedback": -1},
    ]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="MatrixReenactment"):
            MatrixReenactment(**wrong)
    config = DirectionMatrixConfig(("yaw",), "flame", rows=2, w_dim=W_DIM)
    other = dataclasses.replace(suite, _loaded={**suite._loaded})
    other._loaded["direction_matrix"] = DirectionMatrix(config, rngs=nnx.Rngs(0))
    with pytest.raises(SuiteError, match="expressions of 'flame'"):
        REENACTOR.networks(other)
    settings = dataclasses.replace(TUNING, first_resolution=64)
    with pytest.raises(ValueError, match="no block from 64 px on"):
        pti.tune(suite, portrait, subject.w_plus, keys=keys, settings=settings)
    for wrong in ({"kind": "other", "steps": 1}, {"kind": "mixed", "steps": 1, "batch_size": 3}):
        with pytest.raises(ValueError, match="MatrixStage"):
            method.MatrixStage(**wrong)
    for wrong in ({"stages": ()}, {"half": "none"}, {"samples": 1}):
        with pytest.raises(ValueError, match="MatrixSettings"):
            dataclasses.replace(SETTINGS, **wrong)


@pytest.mark.parametrize(
    "kind",
    [
        "synthetic",
        pytest.param("mixed", marks=pytest.mark.slow),
        pytest.param("paired", marks=pytest.mark.slow),
    ],
)
def test_a_step_is_split_over_the_devices(kind, models, state):
    phase = method.matrix_phase(SETTINGS, method.MatrixStage(kind, 2, 4))
    batch = {"key": jnp.asarray(key_data(0, "train", np.arange(4)))}
    assert_split(phase, state, models, batch)
