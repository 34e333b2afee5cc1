"""The embedded worlds by the version of their data sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jax import Array

from jaxface.morphable import people, rendering, scenes
from jaxface.morphable.anatomical import anatomical_landmarks, anatomical_model, anatomical_models
from jaxface.morphable.annotation import LandmarkModel, landmark_model
from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.model import FaceModel, face_model
from jaxface.morphable.models import FaceModels, embedded_models
from jaxface.morphable.parameters import Scene
from jaxface.morphable.portraits import render_portraits
from jaxface.vocabulary import EXPRESSION_NAMES, Basis


@dataclass(frozen=True)
class World:
    """One version of the embedded world.

    Attributes:
        version: of the data sets that are drawn from it.
        basis: of its faces' expressions.
        factors: slices of the Gaussian vector by name.
        num_factors: width of the vector.
        person_factors: which of them are a person's own, bool [num_factors].
        expression_names: of the first expression coefficients.
        scenes: [N, num_factors] to N scenes.
        render: scenes and a resolution to images [N, R, R, 3] in [-1, 1].
        face: the whole face model.
        parts: what an energy compares with images.
        landmarks: the model of the 68 landmarks, for `annotation.project_landmarks`.
    """

    version: str
    basis: Basis
    factors: Mapping[str, slice]
    num_factors: int
    person_factors: np.ndarray
    expression_names: tuple[str, ...]
    scenes: Callable[[Array], Scene]
    render: Callable[[Scene, int], Array]
    face: Callable[[], FaceModel]
    parts: Callable[[], FaceModels]
    landmarks: Callable[[], LandmarkModel]


_WORLDS = {
    "2": World(
        version="2.0.0",
        basis="embedded",
        factors=scenes.FACTORS,
        num_factors=scenes.NUM_FACTORS,
        person_factors=scenes.PERSON_FACTORS,
        expression_names=EXPRESSION_NAMES,
        scenes=scenes.scene_from_gaussian,
        render=rendering.render,
        face=face_model,
        parts=embedded_models,
        landmarks=landmark_model,
    ),
    "3": World(
        version="3.0.0",
        basis="anatomical",
        factors=people.FACTORS,
        num_factors=people.NUM_FACTORS,
        person_factors=people.PERSON_FACTORS,
        expression_names=ARKIT_UNITS,
        scenes=people.portrait_from_gaussian,
        render=render_portraits,
        face=anatomical_model,
        parts=anatomical_models,
        landmarks=anatomical_landmarks,
    ),
}


def world(version: str) -> World:
    """The world of a data set's version, by its major number.

    Raises:
        ValueError: there is no such world.
    """
    major = version.split(".")[0]
    if major not in _WORLDS:
        known = ", ".join(w.version for w in _WORLDS.values())
        raise ValueError(f"world {version!r}: expected the version of a data set: {known}")
    return _WORLDS[major]


def world_of_basis(basis: Basis) -> World | None:
    """The world whose faces have expressions of a basis; None: they are of no world."""
    return next((each for each in _WORLDS.values() if each.basis == basis), None)
