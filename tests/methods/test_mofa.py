"""MoFA's training: what its loss is least at, that it learns poses without labels, its errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.data.scene_items import item_keys, scene_items
from jaxface.methods import mofa
from jaxface.methods.face_errors import expression_errors, parameter_errors
from jaxface.morphable import FaceParameters
from jaxface.morphable.anatomical import units_that_show
from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.gaze import gaze_degrees
from jaxface.morphable.photometric import photometric_energy
from jaxface.morphable.worlds import world
from jaxface.nets import ReconstructionConfig
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

SIZE = 32
SETTINGS = mofa.MoFASettings(
    network=ReconstructionConfig(resolution=SIZE, channels=(8, 12, 16, 24), hidden=48),
    steps=60,
    batch_size=16,
    learning_rate=4e-3,
    warmup_steps=5,
)


@pytest.fixture(scope="module")
def items():
    return jax.device_get(scene_items(item_keys(0, "train", jnp.arange(16)), SIZE))


@pytest.fixture(scope="module")
def truth(items):
    return FaceParameters.from_flat(jnp.asarray(items["face"]))


def energy(settings, face, items):
    images = jnp.asarray(items["image"], jnp.float32) / 127.5 - 1.0
    landmarks = jnp.asarray(items["landmarks"])
    return mofa.reconstruction_energy(settings, mofa.models(), face, images, landmarks, 0.1)


@pytest.mark.slow
def test_terms_at_the_truth(items, truth):
    losses, terms = energy(SETTINGS, truth, items)
    # Pixels; the landmarks were projected by the same model.
    assert float(terms["landmark"].max()) < 1e-10
    np.testing.assert_allclose(terms["identity"], np.square(truth.identity).mean(-1), rtol=1e-5)
    turned = dataclasses.replace(truth, rotation=truth.rotation + 0.15)
    worse, moved = energy(SETTINGS, turned, items)
    assert (worse > losses).all()
    assert (moved["landmark"] > 1e-5).all()
    darker = dataclasses.replace(truth, illumination=0.6 * truth.illumination)
    assert float(energy(SETTINGS, darker, items)[1]["photometric"].mean()) > float(
        terms["photometric"].mean()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "photometric",
        "landmark",
        "identity",
        "reflectance",
        "expression",
        "translation",
        "illumination",
    ],
)
def test_every_weight_counts(items, truth, name):
    turned = dataclasses.replace(truth, rotation=truth.rotation + 0.1)
    before, terms = energy(SETTINGS, turned, items)
    weight = getattr(SETTINGS, f"{name}_weight")
    doubled = dataclasses.replace(SETTINGS, **{f"{name}_weight": 2 * weight})
    after, _ = energy(doubled, turned, items)
    np.testing.assert_allclose(after - before, weight * terms[name], rtol=1e-2, atol=1e-6)


def test_what_lies_before_the_face_counts_no_more_than_the_threshold(items, truth):
    """A white bar over the eyes, of a third of the image."""
    covered = {**items, "image": items["image"].copy()}
    covered["image"][:, SIZE // 4 : SIZE // 2] = 255
    before, after = (energy(SETTINGS, truth, each)[1]["photometric"] for each in (items, covered))
    assert (after > before).all()
    # No vertex adds more than the threshold of `energy`; the plain mean distance grows several
    # times as much.
    assert (after - before < 0.1).all()
    images = [jnp.asarray(each["image"], jnp.float32) / 127.5 - 1.0 for each in (items, covered)]
    plain = [photometric_energy(mofa.models().face.region, truth, image) for image in images]
    assert (plain[1] - plain[0] > 3 * (after - before)).all()


@pytest.mark.slow
def test_learns_without_labels(items, truth):
    """Sixty steps on sixteen portraits, which it sees the landmarks and pixels of, nothing else."""
    models = mofa.models()
    state = mofa.initial_state(SETTINGS, models, jax.random.key(0))
    step = jax.jit(mofa.reconstruction_phase(SETTINGS).fn)
    batch = {"image": items["image"], "landmarks": items["landmarks"]}
    images = jnp.asarray(items["image"], jnp.float32) / 127.5 - 1.0
    read = jax.jit(lambda network: FaceParameters.from_flat(network(images)))
    before = parameter_errors(read(state.network), truth)
    losses = []
    for _ in range(SETTINGS.steps):
        state, metrics = step(state, models, batch, jax.random.key(1))
        losses.append(float(metrics["loss"]))
    after = parameter_errors(read(state.network), truth)
    assert losses[-1] < 0.5 * losses[0]
    assert float(after["rotation_rad"]) < 0.6 * float(before["rotation_rad"])
    assert float(after["landmarks_relative"]) < 0.5 * float(before["landmarks_relative"])
    assert int(state.items_seen) == 16 * SETTINGS.steps


def test_errors_of_known_differences(truth):
    zero = parameter_errors(truth, truth)
    assert all(float(value) == 0.0 for value in zero.values())
    moved = dataclasses.replace(
        truth, rotation=truth.rotation + 0.1, illumination=1.2 * truth.illumination
    )
    found = parameter_errors(moved, truth)
    assert float(found["rotation_rad"]) == pytest.approx(0.1, rel=1e-4)
    assert float(found["illumination_relative"]) == pytest.approx(0.2, rel=1e-4)
    assert float(found["landmarks_relative"]) > 0.01
    assert float(found["identity_sigma"]) == 0.0


def test_refuses_another_number_of_parameters():
    with pytest.raises(ValueError, match="257"):
        mofa.MoFASettings(network=ReconstructionConfig(outputs=9), steps=1)


@pytest.mark.slow
def test_microbatches_change_nothing(items):
    models = mofa.models()
    state = mofa.initial_state(SETTINGS, models, jax.random.key(1))
    batch = {name: items[name] for name in ("image", "landmarks")}
    assert_parts_agree(mofa.reconstruction_phase, SETTINGS, state, models, batch)


@pytest.mark.slow  # its batch is read, as others' are
def test_a_step_is_split_over_the_devices(items):
    models = mofa.models()
    state = mofa.initial_state(SETTINGS, models, jax.random.key(1))
    batch = {name: items[name] for name in ("image", "landmarks")}
    assert_split(mofa.reconstruction_phase(SETTINGS), state, models, batch)


def with_labels():
    network = dataclasses.replace(SETTINGS.network, basis="anatomical", close_ups=True)
    return dataclasses.replace(SETTINGS, network=network, truth_weight=1.0, unit_weight=1.0)


@pytest.mark.slow  # version 3's scenes are compiled
def test_a_reader_of_version_3_is_told_of_gaze_and_units():
    """The average face's, so the images may be anything."""
    of = world("3")
    faces = of.scenes(jax.random.normal(jax.random.key(3), (16, of.num_factors))).face
    held_out = {"image": np.zeros((16, SIZE, SIZE, 3), np.uint8), "face": np.asarray(faces.flat)}
    recipe = with_labels().recipe(key=jax.random.key(0), networks={}, held_out=held_out)
    assert recipe.fields == ("image", "landmarks", "face")
    scores = recipe.score(recipe.state)
    average = FaceParameters.from_flat(recipe.constants.mean)
    gaze = gaze_degrees(faces.expression) - gaze_degrees(average.expression[None])
    assert scores["gaze_degrees"] == pytest.approx(np.linalg.norm(gaze, axis=1).mean(), rel=1e-3)
    # The average face explains nothing.
    assert scores["units_r2_least"] <= scores["units_r2"] <= 0
    known = expression_errors(faces.expression, faces.expression, np.arange(20))
    assert {name: float(value) for name, value in known.items()} == {
        "gaze_degrees": 0,
        "units_r2": 1,
        "units_r2_least": 1,
    }


def test_units_that_show_are_those_that_move_the_head():
    shown = [ARKIT_UNITS[index] for index in units_that_show(np.full(52, 0.1), 52)]
    assert sorted(shown) == sorted(ARKIT_UNITS)
    assert shown[0] == "jawOpen"
    assert shown.index("mouthSmileLeft") < shown.index("noseSneerLeft")
    still = np.where(np.arange(52) == ARKIT_UNITS.index("jawOpen"), 0.0, 0.1)
    assert "jawOpen" not in [ARKIT_UNITS[index] for index in units_that_show(still)]


@pytest.mark.slow
def test_true_parameters_are_learned_from():
    """Sixty steps on sixteen portraits of version 3."""
    settings = with_labels()
    keys = item_keys(0, "train", jnp.arange(16))
    portraits = jax.device_get(scene_items(keys, SIZE, version="3.0.0"))
    recipe = settings.recipe(key=jax.random.key(0), networks={}, held_out=portraits)
    step = jax.jit(mofa.reconstruction_phase(settings).fn)
    batch = {name: portraits[name] for name in recipe.fields}
    state, losses = recipe.state, []
    for _ in range(settings.steps):
        state, metrics = step(state, recipe.constants, batch, jax.random.key(1))
        losses.append([float(metrics[name]) for name in ("truth", "units", "places")])
    assert losses[0][:2] == pytest.approx([1, 1], abs=0.4)  # standard deviations
    assert (np.array(losses[-1]) < 0.5 * np.array(losses[0])).all()


def test_units_are_of_version_3_alone():
    with pytest.raises(ValueError, match=r"unit_weight is of ARKit's units, .*'embedded' have not"):
        dataclasses.replace(SETTINGS, unit_weight=1.0)


def test_refuses_a_face_model_that_there_is_not():
    with pytest.raises(ValueError, match="basis must be 'embedded' or 'anatomical', got 'flame'"):
        ReconstructionConfig(basis="flame")
