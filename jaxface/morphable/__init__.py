"""The embedded face world: a procedural morphable head, its scenes and their pictures."""

from jaxface.morphable.annotation import LANDMARKS_66, NUM_LANDMARKS, landmarks
from jaxface.morphable.modes import EXPRESSION_NAMES
from jaxface.morphable.parameters import (
    NUM_PARAMETERS,
    SEMANTIC_GROUPS,
    FaceParameters,
    Nuisance,
    Scene,
)
from jaxface.morphable.photometric import VertexView, vertex_photometric, vertex_view
from jaxface.morphable.rendering import render
from jaxface.morphable.scenes import FACTORS, NUM_FACTORS, sample_scenes, scene_from_gaussian

__all__ = [
    "EXPRESSION_NAMES",
    "FACTORS",
    "LANDMARKS_66",
    "NUM_FACTORS",
    "NUM_LANDMARKS",
    "NUM_PARAMETERS",
    "SEMANTIC_GROUPS",
    "FaceParameters",
    "Nuisance",
    "Scene",
    "VertexView",
    "landmarks",
    "render",
    "sample_scenes",
    "scene_from_gaussian",
    "vertex_photometric",
    "vertex_view",
]
