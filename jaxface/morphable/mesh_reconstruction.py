"""A reader of PIE's 257 parameters that needs no training: MediaPipe's mesh, and version 3's head.

MediaPipe's network places a mesh of 478 points on a portrait and reads ARKit's units from them, and
version 3's head, whose first 52 expressions are these units, is fitted to both and to the colours
(`mesh_fit`). All is differentiable in the image, so that PIE's energy and RigNet's losses pass
through it.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float

from jaxface.morphable.anatomical import anatomical_model, anatomical_region
from jaxface.morphable.annotation import LandmarkModel
from jaxface.morphable.mesh_fit import COLOUR_RESOLUTION, fit_colours, fit_geometry
from jaxface.morphable.mesh_points import PAIRS
from jaxface.morphable.model import FaceModel
from jaxface.morphable.parameters import WIDTHS
from jaxface.morphable.people import sample_portraits
from jaxface.nets import Blendshapes, BlendshapesConfig, FaceMesh, FaceMeshConfig
from jaxface.nets.landmarks.portrait_mesh import portrait_mesh
from jaxface.nets.ops.averaging import downsample
from jaxface.nets.variables import Buffer
from jaxface.vocabulary import Basis

_LIGHTS = 4096  # scenes that light's distribution is measured on
_EVERY = 6  # how many of the region's vertices there are to one whose colour is fitted
_LEAST_LIGHT = 0.03  # least deviation along an axis of light, in the largest


@dataclasses.dataclass(frozen=True)
class MeshReconstructionConfig:
    """Sizes of MediaPipe's networks and of the head's parts; the defaults are theirs.

    Attributes:
        mesh_input_size, mesh_channels, mesh_down_channels, mesh_blocks: see `FaceMeshConfig`.
        tokens, token_channels, token_hidden, channel_hidden, mixer_blocks: see `BlendshapesConfig`.
        points: of the mesh that the head is fitted to.
        vertices: of the head's region.
        coloured: of these, those whose colours are fitted.

    Raises:
        ValueError: for sizes that do not fit each other.
    """

    mesh_input_size: int = 256
    mesh_channels: tuple[int, ...] = (16, 32, 64, 128, 128, 128, 128)
    mesh_down_channels: tuple[int, ...] = (16, 32, 64, 64, 64, 64)
    mesh_blocks: int = 4
    tokens: int = 96
    token_channels: int = 64
    token_hidden: int = 384
    channel_hidden: int = 256
    mixer_blocks: int = 4
    points: int = len(PAIRS)
    vertices: int = 2423
    coloured: int = 370

    def __post_init__(self) -> None:
        if min(self.points, self.coloured) < 3 or self.coloured > self.vertices:
            raise ValueError(
                "MeshReconstructionConfig: expected at least 3 points, and of the vertices at "
                f"least 3 coloured, got {self.points}, {self.vertices} and {self.coloured}"
            )
        _ = self.mesh, self.blendshapes  # refuse what they cannot be

    @classmethod
    def of(cls, mesh: FaceMeshConfig, blendshapes: BlendshapesConfig) -> "MeshReconstructionConfig":
        """Of networks of these sizes."""
        return cls(
            mesh.input_size,
            mesh.channels,
            mesh.down_channels,
            mesh.blocks,
            blendshapes.tokens,
            blendshapes.channels,
            blendshapes.token_hidden,
            blendshapes.channel_hidden,
            blendshapes.blocks,
        )

    @property
    def mesh(self) -> FaceMeshConfig:
        """Of the network that places the mesh."""
        return FaceMeshConfig(
            self.mesh_input_size, self.mesh_channels, self.mesh_down_channels, self.mesh_blocks
        )

    @property
    def blendshapes(self) -> BlendshapesConfig:
        """Of the network that reads ARKit's units."""
        return BlendshapesConfig(
            self.tokens,
            self.token_channels,
            self.token_hidden,
            self.channel_hidden,
            self.mixer_blocks,
        )


class MeshReconstruction(nnx.Module):
    """Portraits to PIE's 257 parameters (`jaxface.morphable.FaceParameters`) of version 3's head.

    Nothing of it is trained. The head's parts are stored, so that a file always means the head that
    it was made with.
    """

    basis: Basis = "anatomical"

    def __init__(self, config: MeshReconstructionConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.face_mesh = FaceMesh(config.mesh, rngs=rngs)
        self.blendshapes = Blendshapes(config.blendshapes, rngs=rngs)
        empty = {name: Buffer(jnp.zeros(*size)) for name, size in head_sizes(config).items()}
        self.colour_vertices = empty["colour_vertices"]
        self.mesh_points = empty["mesh_points"]
        self.stencil = empty["stencil"]
        self.point_vertices = empty["point_vertices"]
        self.point_identity = empty["point_identity"]
        self.point_expression = empty["point_expression"]
        self.vertices = empty["vertices"]
        self.reflectance = empty["reflectance"]
        self.identity_basis = empty["identity_basis"]
        self.identity_deviation = empty["identity_deviation"]
        self.expression_basis = empty["expression_basis"]
        self.reflectance_basis = empty["reflectance_basis"]
        self.reflectance_deviation = empty["reflectance_deviation"]
        self.region = empty["region"]
        self.light_mean = empty["light_mean"]
        self.light_whitening = empty["light_whitening"]

    def __call__(self, images: Float[Array, "n r r 3"]) -> Float[Array, "n 257"]:
        """Reads the parameters.

        Args:
            images: [N, R, R, 3] in [-1, 1], aligned as FFHQ's; sides up to 256, or 512, or a
                multiple of it.

        Returns:
            [N, 257].
        """
        images = images.astype(jnp.float32)
        points = portrait_mesh(self.face_mesh, images)
        return self.fitted(points, self.blendshapes(points[..., :2]), images)

    def fitted(self, points: Array, coefficients: Array, images: Array) -> Array:
        """The head fitted to a mesh: [N, 257].

        Args:
            points: [N, 478, 3], see `portrait_mesh`.
            coefficients: [N, 52], see `Blendshapes`.
            images: as of a call.
        """
        fine = WIDTHS["expression"] - (coefficients.shape[1] - 1)
        # The first means nothing; the tongue, ARKit's last unit, is not read.
        known = jnp.pad(coefficients[:, 1:], ((0, 0), (0, fine)))
        chosen = points[:, self.mesh_points[...]]
        face = fit_geometry(self._landmarks(), chosen, known)
        light, whitening = self.light_mean[...], self.light_whitening[...]
        images, coloured = downsample(images, COLOUR_RESOLUTION), self.colour_vertices[...]
        return fit_colours(self._region(), coloured, face, images, light, whitening).flat

    def _landmarks(self) -> LandmarkModel:
        return LandmarkModel(
            vertices=self.point_vertices[...],
            identity_basis=self.point_identity[...],
            expression_basis=self.point_expression[...],
        )

    def _region(self) -> FaceModel:
        return FaceModel(
            vertices=self.vertices[...],
            reflectance=self.reflectance[...],
            identity_basis=self.identity_basis[...],
            identity_deviation=self.identity_deviation[...],
            expression_basis=self.expression_basis[...],
            reflectance_basis=self.reflectance_basis[...],
            reflectance_deviation=self.reflectance_deviation[...],
            region=self.region[...],
            stencil=self.stencil[...],
        )


def head_sizes(config: MeshReconstructionConfig) -> dict[str, Any]:
    """Shapes and dtypes of the head's parts by name."""
    points, vertices = config.points, config.vertices
    identity, expression = WIDTHS["identity"], WIDTHS["expression"]
    reflectance, light = WIDTHS["reflectance"], WIDTHS["illumination"]
    floats = {
        "point_vertices": (points, 3),
        "point_identity": (identity, points, 3),
        "point_expression": (expression, points, 3),
        "vertices": (vertices, 3),
        "reflectance": (vertices, 3),
        "identity_basis": (identity, 3 * vertices),
        "identity_deviation": (identity,),
        "expression_basis": (expression, 3 * vertices),
        "reflectance_basis": (reflectance, 3 * vertices),
        "reflectance_deviation": (reflectance,),
        "region": (vertices,),
        "light_mean": (light,),
        "light_whitening": (light, light),
    }
    indices = {
        "mesh_points": (points,),
        "stencil": (vertices, 4),
        "colour_vertices": (config.coloured,),
    }
    return {name: (shape, jnp.float32) for name, shape in floats.items()} | {
        name: (shape, jnp.int32) for name, shape in indices.items()
    }


def head_arrays() -> dict[str, np.ndarray]:
    """The head's parts by name: of version 3's head and of the light of its world."""
    whole, region = anatomical_model(), anatomical_region()
    mesh, marks = np.array(PAIRS).T

    def at_points(basis: Array) -> np.ndarray:
        return np.asarray(basis).reshape(len(basis), -1, 3)[:, marks]

    names = (
        "vertices",
        "reflectance",
        "identity_basis",
        "identity_deviation",
        "expression_basis",
        "reflectance_basis",
        "reflectance_deviation",
        "region",
        "stencil",
    )
    lights = np.asarray(sample_portraits(jax.random.key(0), _LIGHTS).face.illumination, np.float64)
    variances, axes = np.linalg.eigh(np.cov(lights, rowvar=False))
    deviations = np.sqrt(np.maximum(variances, _LEAST_LIGHT**2 * variances[-1]))
    deviation = np.asarray(whole.identity_deviation)[:, None, None]
    arrays = {name: np.asarray(getattr(region, name)) for name in names} | {
        "colour_vertices": np.flatnonzero(np.asarray(region.region) > 0)[::_EVERY],
        "mesh_points": mesh,
        "point_vertices": np.asarray(whole.vertices)[marks],
        "point_identity": at_points(whole.identity_basis) * deviation,
        "point_expression": at_points(whole.expression_basis),
        "light_mean": lights.mean(axis=0),
        "light_whitening": axes / deviations,
    }
    return {
        name: array.astype(np.int32 if array.dtype.kind == "i" else np.float32)
        for name, array in arrays.items()
    }
