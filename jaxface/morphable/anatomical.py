"""Version 3's face model in the form that every energy takes, and its landmarks."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxface.morphable.anatomy import Anatomy, anatomy
from jaxface.morphable.annotation import LandmarkModel
from jaxface.morphable.complexion import complexion_modes, mean_reflectance
from jaxface.morphable.gaze import Eyeballs
from jaxface.morphable.model import FaceModel, face_geometry
from jaxface.morphable.models import FaceModels
from jaxface.morphable.parameters import WIDTHS, FaceParameters


def _eyeballs(head: Anatomy) -> Eyeballs:
    left, right = head.parts["eye-left"], head.parts["eye-right"]
    return Eyeballs((left.start, right.start), left.stop - left.start)


@functools.cache
def anatomical_model() -> FaceModel:
    """The whole head: [V, 3] with teeth, tongue and eyeballs that turn; built once."""
    head = anatomy()
    reflectance, deviation = complexion_modes(head)
    with jax.ensure_compile_time_eval():
        return FaceModel(
            vertices=jnp.asarray(head.vertices, jnp.float32),
            reflectance=jnp.asarray(mean_reflectance(head), jnp.float32),
            identity_basis=jnp.asarray(head.identity.reshape(80, -1), jnp.float32),
            identity_deviation=jnp.asarray(head.deviation, jnp.float32),
            expression_basis=jnp.asarray(head.expression.reshape(64, -1), jnp.float32),
            reflectance_basis=jnp.asarray(reflectance, jnp.float32),
            reflectance_deviation=jnp.asarray(deviation, jnp.float32),
            region=jnp.asarray(head.masks["face"] > 0.5, jnp.float32),
            triangles=jnp.asarray(head.triangles, jnp.int32),
            stencil=jnp.asarray(head.stencil, jnp.int32),
            eyes=_eyeballs(head),
        )


@functools.cache
def anatomical_region() -> FaceModel:
    """The part of the head that its region needs: the region and its vertices' stencils.

    Eyes, lids and the mouth's inside are left out: lids hide eyeballs, which an energy over
    vertices does not know.
    """
    head, model = anatomy(), anatomical_model()
    inside = np.flatnonzero(np.asarray(model.region) > 0)
    kept = np.unique(np.concatenate([inside, head.stencil[inside].ravel()]))
    place = np.zeros(len(head.vertices), np.int64)
    place[kept] = np.arange(len(kept))
    stencil = np.repeat(np.arange(len(kept))[:, None], 4, axis=1)
    stencil[place[inside]] = place[head.stencil[inside]]

    def rows(basis: jax.Array) -> jax.Array:
        return basis.reshape(basis.shape[0], -1, 3)[:, kept].reshape(basis.shape[0], -1)

    with jax.ensure_compile_time_eval():
        return replace(
            model,
            vertices=model.vertices[kept],
            reflectance=model.reflectance[kept],
            identity_basis=rows(model.identity_basis),
            expression_basis=rows(model.expression_basis),
            reflectance_basis=rows(model.reflectance_basis),
            region=model.region[kept],
            triangles=None,
            stencil=jnp.asarray(stencil, jnp.int32),
            eyes=None,
        )


@functools.cache
def anatomical_landmarks() -> LandmarkModel:
    """The 68 landmarks of iBUG 300-W and what moves them."""
    model, marks = anatomical_model(), anatomy().landmarks
    with jax.ensure_compile_time_eval():

        def rows(basis: jax.Array) -> jax.Array:
            return basis.reshape(basis.shape[0], -1, 3)[:, marks]

        return LandmarkModel(
            vertices=model.vertices[marks],
            identity_basis=rows(model.identity_basis) * model.identity_deviation[:, None, None],
            expression_basis=rows(model.expression_basis),
        )


def anatomical_models() -> FaceModels:
    """Version 3's parts for an energy, as `embedded_models` gives version 2's."""
    return FaceModels(region=anatomical_region(), landmarks=anatomical_landmarks())


def units_that_show(deviations: ArrayLike, count: int = 20) -> np.ndarray:
    """The ARKit units that move the head's vertices most.

    Args:
        deviations: of the 52 units' coefficients, as far as each is moved.
        count: of units.

    Returns:
        Their indices in `jaxface.morphable.arkit.ARKIT_UNITS`, [count], the one that moves most
        first, by the root mean square over all vertices.
    """
    size = np.asarray(deviations, np.float32)
    zeros = {name: jnp.zeros((1 + len(size), width)) for name, width in WIDTHS.items()}
    moved = zeros["expression"].at[1:, : len(size)].set(jnp.diag(jnp.asarray(size)))
    points = face_geometry(anatomical_model(), FaceParameters(**zeros | {"expression": moved}))
    distance = jnp.sqrt(jnp.mean(jnp.square(points[1:] - points[:1]), axis=(1, 2)))
    return np.argsort(-np.asarray(distance))[:count]
