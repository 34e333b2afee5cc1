"""What tests of the reader of PIE's parameters share: one of tiny networks."""

from collections.abc import Callable
from typing import Any

from jaxface.morphable.mesh_reconstruction import MeshReconstructionConfig, head_arrays
from jaxface.nets import BlendshapesConfig, FaceMeshConfig
from jaxface.weights import build_network, named_arrays

MESH = FaceMeshConfig(input_size=16, channels=(4, 8), down_channels=(4,), blocks=1)
BLENDSHAPES = BlendshapesConfig(5, 4, 6, 7, 1)


def tiny_reader(random_network: Callable) -> Any:
    """Random networks of MediaPipe's kinds, and the real head."""
    config = MeshReconstructionConfig.of(MESH, BLENDSHAPES)
    parts = {
        "face_mesh": random_network("FaceMesh", MESH),
        "blendshapes": random_network("Blendshapes", BLENDSHAPES),
    }
    arrays = {
        f"{name}.{key}": value
        for name, part in parts.items()
        for key, value in named_arrays(part).items()
    }
    return build_network("MeshReconstruction", config, arrays | head_arrays())
