"""The reader of PIE's parameters by MediaPipe's mesh: its fit, its gradient, and what it is of."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.media.mesh_landmarks import VERTICES
from jaxface.morphable import FaceParameters
from jaxface.morphable.anatomical import anatomical_models
from jaxface.morphable.anatomy import anatomy
from jaxface.morphable.annotation import project_landmarks
from jaxface.morphable.bases import basis_of, models_of
from jaxface.morphable.camera import project, transform
from jaxface.morphable.gauss_newton import Linearised, gauss_newton
from jaxface.morphable.mesh_fit import fit_geometry
from jaxface.morphable.mesh_points import PAIRS
from jaxface.morphable.mesh_reconstruction import (
    MeshReconstruction,
    MeshReconstructionConfig,
)
from jaxface.morphable.models import embedded_models
from jaxface.morphable.parameters import WIDTHS
from jaxface.morphable.people import sample_portraits
from jaxface.morphable.worlds import world
from jaxface.nets import BlendshapesConfig, FaceMeshConfig
from jaxface.nets.landmarks.face_mesh import Mesh
from tests.mesh_readers import MESH, tiny_reader

COUNT = 4


@pytest.fixture(scope="module")
def reader(random_network) -> Any:
    return tiny_reader(random_network)


@pytest.fixture(scope="module")
def scenes():
    return sample_portraits(jax.random.key(3), COUNT)


@pytest.fixture(scope="module")
def meshes(scenes):
    """Where the head's vertices are seen at the mesh's points; the other points lie at 0."""
    face, model = scenes.face, world("3").face()
    marks, where = np.array(PAIRS)[:, 1], np.array(PAIRS)[:, 0]
    moved = jnp.einsum("nk,kc->nc", face.identity * model.identity_deviation, model.identity_basis)
    moved += jnp.einsum("nk,kc->nc", face.expression, model.expression_basis)
    head = (model.vertices + moved.reshape(COUNT, -1, 3))[:, marks]
    placed = transform(head, face.rotation, face.translation)
    flat = project(placed, 1)[..., :2]
    scale = model.camera.focal_length / (model.camera.distance - face.translation[:, 2:3])
    away = -placed[..., 2] * scale + 0.7  # from anywhere
    points = jnp.concatenate([flat, away[..., None]], axis=-1)
    return jnp.zeros((COUNT, 478, 3)).at[:, where].set(points)


def coefficients_of(face):
    """As `Blendshapes` would give them, were it right."""
    return jnp.pad(face.expression[:, :51], ((0, 0), (1, 0)))


def test_points_of_the_mesh_are_the_heads():
    """Eyes and lips are the landmarks that both mark; left and right mirror each other."""
    table, head = dict(PAIRS), anatomy()
    assert len(table) == len(PAIRS)
    assert max(table) < 468
    marked = [i for i in range(36, 68) if VERTICES[i] in table]
    assert len(marked) == 26
    assert all(table[VERTICES[i]] == head.landmarks[i] for i in marked)
    assert {head.mirror[vertex] for vertex in table.values()} == set(table.values())


def test_the_fit_returns_faces_from_their_points(reader, scenes, meshes):
    images = world("3").render(scenes, 128)
    read = jax.jit(lambda network, *args: network.fitted(*args))
    flat = read(reader, meshes, coefficients_of(scenes.face), images)
    assert flat.shape == (COUNT, 257)
    face = FaceParameters.from_flat(flat)
    # Priors pull all a little to the mean; the world's heads turn by up to 60 degrees.
    assert np.rad2deg(np.abs(face.rotation - scenes.face.rotation)).max() < 2.0
    assert np.abs(face.translation - scenes.face.translation).max() < 0.2
    marks, wanted = (
        project_landmarks(anatomical_models().landmarks, each, 1) for each in (face, scenes.face)
    )
    size = jnp.sqrt(jnp.prod(wanted.max(axis=1) - wanted.min(axis=1), axis=-1))
    assert (jnp.linalg.norm(marks - wanted, axis=-1).mean(axis=1) / size).max() < 0.02
    units = np.asarray(face.expression - scenes.face.expression)[:, :52]
    assert np.sqrt(np.mean(units**2)) < 0.03
    # Colours: nearer than the mean face under the mean light.
    truth = scenes.face.illumination
    apart = jnp.linalg.norm(face.illumination - truth, axis=1)
    usual = jnp.linalg.norm(reader.light_mean[...] - truth, axis=1)
    assert jnp.median(apart / usual) < 0.8


def test_a_face_does_not_depend_on_its_batch(reader, scenes, meshes):
    fit = jax.jit(lambda network, points, known: fit_geometry(network._landmarks(), points, known))
    chosen = meshes[:, np.array(PAIRS)[:, 0]]
    whole = fit(reader, chosen, scenes.face.expression).flat
    turned = fit(reader, chosen[::-1], scenes.face.expression[::-1]).flat
    np.testing.assert_allclose(turned[::-1], whole, atol=1e-4)


def test_the_gradient_is_that_of_the_minimum(reader, scenes, meshes):
    """Against differences of the fit itself."""
    chosen = meshes[:1, np.array(PAIRS)[:, 0]]

    @jax.jit
    def rotation(points):
        return fit_geometry(reader._landmarks(), points, scenes.face.expression[:1]).rotation[0]

    way = jax.random.normal(jax.random.key(0), chosen.shape)
    _, along = jax.jvp(rotation, (chosen,), (way,))
    step = 1e-3
    differences = (rotation(chosen + step * way) - rotation(chosen - step * way)) / (2 * step)
    # Gauss and Newton's matrix leaves out second derivatives of what is seen.
    np.testing.assert_allclose(along, differences, atol=0.05 * np.abs(differences).max())


def test_gauss_newton_of_a_line_takes_one_step():
    matrix = jax.random.normal(jax.random.key(1), (2, 6, 3))
    observed = jax.random.normal(jax.random.key(2), (2, 6))
    precision = jnp.diag(jnp.array([0.5, 1.0, 2.0]))

    def linearise(observed, x):
        return Linearised(matrix, jnp.einsum("nrk,nk->nr", matrix, x) - observed, precision, x)

    def solve(observed, steps):
        return gauss_newton(linearise, observed, jnp.zeros((2, 3)), steps=steps)

    wanted = [
        np.linalg.solve(m.T @ m + precision, m.T @ o) for m, o in zip(matrix, observed, strict=True)
    ]
    for steps in (1, 3):
        np.testing.assert_allclose(solve(observed, steps), wanted, atol=1e-5)
    slope = jax.jacobian(lambda o: solve(o, 2))(observed)[0, :, 0]
    exact = np.linalg.solve(matrix[0].T @ matrix[0] + precision, matrix[0].T)
    np.testing.assert_allclose(slope, exact, atol=1e-5)


class Standing:
    """In place of the mesh network: the same points in every square."""

    config = MESH

    def __init__(self, points):
        self.points = points

    def __call__(self, images):
        points = jnp.broadcast_to(self.points, (len(images), *self.points.shape))
        moved = jnp.mean(images, axis=(1, 2, 3))[:, None, None]
        return Mesh(points + 0.1 * moved, jnp.zeros(len(images)))


def test_images_to_parameters_and_back(reader, scenes, meshes):
    """All of it together, on images of any size that it takes, and its gradient is finite."""
    network = jax.tree.map(lambda leaf: leaf, reader)
    network.face_mesh = Standing(meshes[0] * 16)  # pyright: ignore
    images = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3), minval=-1.0)
    read = jax.jit(lambda images: MeshReconstruction.__call__(network, images))
    flat = read(images)
    assert flat.shape == (2, sum(WIDTHS.values()))
    assert bool(jnp.isfinite(flat).all())
    slope = jax.jit(jax.grad(lambda images: jnp.sum(jnp.square(read(images)))))(images)
    assert bool(jnp.isfinite(slope).all())
    assert float(jnp.abs(slope).max()) > 0


def test_a_network_says_which_face_model_it_reads(reader, random_network):
    assert basis_of(reader) == "anatomical"
    assert basis_of(object()) == "embedded"
    assert models_of(reader).region is anatomical_models().region
    assert models_of(object()).region is embedded_models().region


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least 3 points"):
        MeshReconstructionConfig(points=2)
    with pytest.raises(ValueError, match="down_channels"):
        dataclasses.replace(MeshReconstructionConfig(), mesh_down_channels=(4,))
    assert MeshReconstructionConfig.of(FaceMeshConfig(), BlendshapesConfig()) == (
        MeshReconstructionConfig()
    )
