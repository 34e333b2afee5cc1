"""MoFA's training: what its loss is least at, that it learns poses without labels, its errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.data.scene_items import item_keys, scene_items
from jaxface.methods import mofa
from jaxface.morphable import FaceParameters
from jaxface.morphable.photometric import photometric_energy
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
    before = mofa.parameter_errors(read(state.network), truth)
    losses = []
    for _ in range(SETTINGS.steps):
        state, metrics = step(state, models, batch, jax.random.key(1))
        losses.append(float(metrics["loss"]))
    after = mofa.parameter_errors(read(state.network), truth)
    assert losses[-1] < 0.5 * losses[0]
    assert float(after["rotation_rad"]) < 0.6 * float(before["rotation_rad"])
    assert float(after["landmarks_relative"]) < 0.5 * float(before["landmarks_relative"])
    assert int(state.items_seen) == 16 * SETTINGS.steps


def test_errors_of_known_differences(truth):
    zero = mofa.parameter_errors(truth, truth)
    assert all(float(value) == 0.0 for value in zero.values())
    moved = dataclasses.replace(
        truth, rotation=truth.rotation + 0.1, illumination=1.2 * truth.illumination
    )
    found = mofa.parameter_errors(moved, truth)
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
