"""Methods over the photo suite's reader: they compare images with the head that it reads."""

import dataclasses

import jax
import pytest

from jaxface import load_suite
from jaxface.methods import photo, pie, rignet
from jaxface.methods.direction_matrix.faces import faces_of
from jaxface.methods.pie.reenactment import RigNetReenactment
from jaxface.morphable.anatomical import anatomical_models
from jaxface.nets import MobileGeneratorConfig, RigNetConfig
from jaxface.weights import save_network
from tests.mesh_readers import tiny_reader

GENERATOR = MobileGeneratorConfig(
    resolution=32, z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=16
)
SETTINGS = dataclasses.replace(
    photo.PIE, terms=("identity", "edit", "invariance"), bank=0, w_resolution=None
)


@pytest.fixture(scope="module")
def suite(random_network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("suites") / "photo"
    folder.mkdir()
    rows = RigNetConfig("pose", num_ws=GENERATOR.num_ws, w_dim=8, hidden=4)
    networks = {
        "generator": random_network("MobileGenerator", GENERATOR),
        "reconstruction": tiny_reader(random_network),
        "rignet_pose": random_network("RigNet", rows),
    }
    for role, network in networks.items():
        save_network(folder / f"{role}.safetensors", network)
    found = load_suite(folder)
    found.check()
    return found


def test_pies_energy_compares_with_the_head_that_is_read(suite):
    networks = pie.networks_of(suite, SETTINGS, models=None, bank=None)
    assert networks.models is not None
    assert networks.models.region is anatomical_models().region
    needed = photo.PIE.roles()
    assert set(needed) == {"generator", "perceptual", "reconstruction", "rignet_pose"}
    whole = dataclasses.replace(photo.PIE, terms=(*pie.TERMS, pie.SPREAD))
    assert set(whole.roles()) == {*needed, "descriptor"}


def test_rignets_are_trained_on_the_head_that_is_read(suite):
    models = rignet.frozen_models(
        suite.generator, suite.reconstruction, jax.random.key(0), resolution=16
    )
    assert models.face.landmarks is anatomical_models().landmarks
    assert models.resolution == 16


def test_motion_is_in_the_basis_of_the_head_that_is_read(suite):
    method = RigNetReenactment(groups=("pose",))
    assert method.networks(suite).basis == "anatomical"
    faces = faces_of({"reconstruction": suite.reconstruction})
    assert faces.basis == "anatomical"  # pyright: ignore
