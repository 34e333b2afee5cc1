"""The embedded face world: a procedural morphable head, its scenes and their pictures."""

from jaxface.morphable.modes import EXPRESSION_NAMES
from jaxface.morphable.parameters import (
    NUM_PARAMETERS,
    SEMANTIC_GROUPS,
    FaceParameters,
    Nuisance,
    Scene,
)
from jaxface.morphable.render import render
from jaxface.morphable.scenes import FACTORS, NUM_FACTORS, sample_scenes, scene_from_gaussian

__all__ = [
    "EXPRESSION_NAMES",
    "FACTORS",
    "NUM_FACTORS",
    "NUM_PARAMETERS",
    "SEMANTIC_GROUPS",
    "FaceParameters",
    "Nuisance",
    "Scene",
    "render",
    "sample_scenes",
    "scene_from_gaussian",
]
