"""MoFA with a Basel Face Model, and on published trunks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from basel_sheet import sheet_model
from seeded import seeded_network

from jaxface.errors import UsageError, WeightsError
from jaxface.methods import mofa
from jaxface.morphable import FaceParameters
from jaxface.morphable.annotation import project_landmarks
from jaxface.nets import (
    AlexNetConfig,
    AlexNetReconstructionConfig,
    ResNetConfig,
    ResNetReconstructionConfig,
    VGGFaceReconstructionConfig,
)

SIZE = 32
NARROW = (2, 3, 4, 4, 5)
CONFIGS = {
    "AlexNetReconstruction": AlexNetReconstructionConfig(channels=NARROW, width=8, resolution=63),
    "VGGFaceReconstruction": VGGFaceReconstructionConfig(channels=NARROW, width=8, resolution=32),
    "ResNetReconstruction": ResNetReconstructionConfig(blocks=(1, 1), width=4, resolution=32),
}
BASEL = sheet_model()


def settings_of(name):
    return mofa.MoFASettings(network=CONFIGS[name], steps=3, warmup_steps=0, learning_rate=2e-3)


@pytest.fixture(scope="module", name="batch")
def portraits():
    """Four images of noise, with the landmarks of four faces of the model."""
    models = mofa.models(BASEL)
    mean, scale = models.mean, models.deviation
    flat = mean + 0.3 * scale * jax.random.normal(jax.random.key(1), (4, 257))
    face = FaceParameters.from_flat(flat)
    landmarks = project_landmarks(BASEL.landmark_model(), face, SIZE)
    image = np.random.default_rng(0).integers(256, size=(4, SIZE, SIZE, 3), dtype=np.uint8)
    return {"image": image, "landmarks": np.asarray(landmarks)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["AlexNetReconstruction", "VGGFaceReconstruction", "ResNetReconstruction"]
)
def test_every_trunk_learns(name, batch):
    settings = settings_of(name)
    begun = seeded_network(name, CONFIGS[name])
    models = mofa.models(BASEL)
    begun.mean[...], begun.scale[...] = models.mean, models.deviation
    begun.out.weight[...] = 0.01 * begun.out.weight[...]
    state = mofa.initial_state(settings, models, jax.random.key(0), begun)
    before = jax.device_get(state.network)
    step, losses = jax.jit(mofa.reconstruction_phase(settings).fn), []
    for _ in range(settings.steps):
        state, metrics = step(state, models, batch, jax.random.key(0))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
    assert int(state.items_seen) == 12
    after = jax.device_get(state.network)
    for part in ("trunk", "out"):
        pairs = zip(
            jax.tree.leaves(getattr(before, part)),
            jax.tree.leaves(getattr(after, part)),
            strict=True,
        )
        assert any((a != b).any() for a, b in pairs), part


def test_the_prior_is_an_average_face_in_view():
    models = mofa.models(BASEL)
    mean, scale = (FaceParameters.from_flat(flat[None]) for flat in (models.mean, models.deviation))
    landmarks = project_landmarks(BASEL.landmark_model(), mean, SIZE)
    assert (landmarks > 0).all()
    assert (landmarks < SIZE).all()
    # init_lit of Deep3DFaceRecon: 0.8 of pi / sqrt(4 pi).
    irradiance = mean.illumination[0, :3] / np.sqrt(4 * np.pi)
    np.testing.assert_allclose(irradiance, 0.8 * np.pi / np.sqrt(4 * np.pi), rtol=1e-6)
    assert (scale.flat > 0).all()


def test_the_recipe_takes_a_face_model_and_a_trunk():
    settings = settings_of("ResNetReconstruction")
    config = CONFIGS["ResNetReconstruction"]
    trunk = seeded_network("ResNetFeatures", ResNetConfig(blocks=config.blocks, width=4))
    networks = {"face_model": BASEL, "trunk": trunk}
    held_out = {"image": np.zeros((1, 8, 8, 3), np.uint8), "factors": np.zeros((1, 9))}
    recipe = settings.recipe(key=jax.random.key(0), networks=networks, held_out=held_out)
    assert recipe.score is None
    region = recipe.constants.face.region
    np.testing.assert_array_equal(region.triangles, BASEL.face_model().triangles)
    begun = recipe.networks(recipe.state)["reconstruction"]
    for found, expected in zip(jax.tree.leaves(begun.trunk), jax.tree.leaves(trunk), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(begun.mean[...], mofa.models(BASEL).mean)

    def refused(reason, **given):
        with pytest.raises(UsageError, match=reason) as error:
            settings.recipe(key=jax.random.key(0), networks=given, held_out=None)
        assert "\n" not in str(error.value)

    refused("expected a BaselModel as face_model, got a ResNetFeatures", face_model=trunk)
    refused("a whole reconstruction or a trunk", reconstruction=begun, trunk=trunk)
    narrower = seeded_network(
        "ResNetReconstruction", dataclasses.replace(config, width=config.width // 2)
    )
    refused("reconstruction: the network to begin with has other sizes", reconstruction=narrower)
    other = seeded_network("AlexNet", AlexNetConfig(channels=NARROW))
    refused(
        "mofa: ResNetReconstruction: its trunk is ResNetFeatures", face_model=BASEL, trunk=other
    )


def test_a_model_without_expressions_cannot_be_learnt_from():
    for field, reason in (
        ("has_expression", "no expression modes"),
        ("has_landmarks", "landmarks"),
    ):
        with pytest.raises(WeightsError, match=reason):
            mofa.models(sheet_model(**{field: False}))
    whole = sheet_model(has_region=False)
    np.testing.assert_array_equal(whole.face_model().region, jnp.ones(len(whole.vertices[...])))


def test_other_numbers_of_parameters_are_refused():
    for config in CONFIGS.values():
        with pytest.raises(ValueError, match="257"):
            mofa.MoFASettings(network=dataclasses.replace(config, outputs=9), steps=1)
