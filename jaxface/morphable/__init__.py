"""3D faces: the embedded worlds' heads, scenes and images; Basel Face Models; FLAME."""

from jaxface.morphable.annotation import LANDMARKS_66, NUM_LANDMARKS, landmarks
from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.basel import BaselConfig, BaselModel
from jaxface.morphable.flame import FLAME, FLAMEConfig, FlameHeads
from jaxface.morphable.flame_parameters import (
    FLAME_WIDTHS,
    NUM_FLAME_PARAMETERS,
    FlameParameters,
)
from jaxface.morphable.gaze import gaze_degrees, looking
from jaxface.morphable.orthographic import weak_perspective
from jaxface.morphable.parameters import (
    NUM_PARAMETERS,
    SEMANTIC_GROUPS,
    FaceParameters,
    Nuisance,
    PortraitNuisance,
    Scene,
    group_width,
)
from jaxface.morphable.photometric import VertexView, vertex_photometric, vertex_view
from jaxface.morphable.rendering import render
from jaxface.morphable.scenes import (
    FACTORS,
    NUM_FACTORS,
    PERSON_FACTORS,
    sample_scenes,
    scene_from_gaussian,
)
from jaxface.morphable.worlds import World, world
from jaxface.vocabulary import EDITABLE_GROUPS, EXPRESSION_NAMES

__all__ = [
    "ARKIT_UNITS",
    "EDITABLE_GROUPS",
    "EXPRESSION_NAMES",
    "FACTORS",
    "FLAME",
    "FLAME_WIDTHS",
    "LANDMARKS_66",
    "NUM_FACTORS",
    "NUM_FLAME_PARAMETERS",
    "NUM_LANDMARKS",
    "NUM_PARAMETERS",
    "PERSON_FACTORS",
    "SEMANTIC_GROUPS",
    "BaselConfig",
    "BaselModel",
    "FLAMEConfig",
    "FaceParameters",
    "FlameHeads",
    "FlameParameters",
    "Nuisance",
    "PortraitNuisance",
    "Scene",
    "VertexView",
    "World",
    "gaze_degrees",
    "group_width",
    "landmarks",
    "looking",
    "render",
    "sample_scenes",
    "scene_from_gaussian",
    "vertex_photometric",
    "vertex_view",
    "weak_perspective",
    "world",
]
