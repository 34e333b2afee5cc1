"""The Basel Face Model (Paysan et al. 2009), PIE's and MoFA's, from its users' own files.

The model's data is licensed to each user by the University of Basel; none is shipped, and
`jaxface.convert basel` reads the user's own. Coefficients are PIE's: the first 80 of identity
and of reflectance and 64 of expression, each in standard deviations.

Conventions are those of Deep3DFaceRecon (``models/bfm.py``), so that its network's parameters
(`jaxface.nets.Deep3D`) mean here what they mean there: coordinates in decimetres about the mean
face's centre, x to the image's right, y up, z to the camera; a camera 10 dm away with a focal
length of 1015 / 224 image widths; reflectance in the units of the stored image, without a gamma.
Two things differ: a vertex's normal weighs its triangles by their areas, where that code does not,
and light and reflectance are kept from becoming negative.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from jaxface.errors import WeightsError
from jaxface.morphable.annotation import NUM_LANDMARKS, LandmarkModel
from jaxface.morphable.camera import Camera
from jaxface.morphable.model import FaceModel
from jaxface.morphable.modes import EXPRESSION_MODES, IDENTITY_MODES, REFLECTANCE_MODES
from jaxface.nets.variables import Buffer

# bfm.py of Deep3DFaceRecon: camera_distance, and focal over twice center.
CAMERA = Camera(distance=10.0, focal_length=1015.0 / 224.0, centre_height=0.0)

# Reflectance is what the scanner's images stored.
GAMMA = 1.0


@dataclasses.dataclass(frozen=True)
class BaselConfig:
    """Sizes of the model.

    The defaults are those of Deep3DFaceRecon's ``BFM_model_front.mat``, as its
    ``facemodel_info.mat`` has them. A converted file has its own.

    Attributes:
        has_expression: whether there are expression modes; ``01_MorphableModel.mat`` has none.
        has_landmarks: whether the 68 landmarks are known.
        has_region: whether the vertices to compare with images are known; all are, otherwise.

    Raises:
        ValueError: if there is no vertex or no triangle.
    """

    vertices: int = 35709
    triangles: int = 70789
    has_expression: bool = True
    has_landmarks: bool = True
    has_region: bool = True

    def __post_init__(self) -> None:
        if min(self.vertices, self.triangles) < 1:
            raise ValueError(
                f"BaselConfig: expected vertices and triangles, got {self.vertices} and "
                f"{self.triangles}"
            )


class BaselModel(nnx.Module):
    """The model's data; `face_model` and `landmark_model` are what energies take of it."""

    def __init__(self, config: BaselConfig, *, rngs: nnx.Rngs):
        del rngs  # nothing is drawn: the data is the user's
        self.config = config
        v = config.vertices
        self.vertices = Buffer(jnp.zeros((v, 3)))
        self.reflectance = Buffer(jnp.zeros((v, 3)))
        # A mode's displacement, or change of colour, at one standard deviation.
        self.identity_basis = Buffer(jnp.zeros((IDENTITY_MODES, v, 3)))
        self.reflectance_basis = Buffer(jnp.zeros((REFLECTANCE_MODES, v, 3)))
        self.expression_basis = (
            Buffer(jnp.zeros((EXPRESSION_MODES, v, 3))) if config.has_expression else None
        )
        self.triangles = Buffer(jnp.zeros((config.triangles, 3), jnp.int32))
        self.landmarks = (
            Buffer(jnp.zeros((NUM_LANDMARKS,), jnp.int32)) if config.has_landmarks else None
        )
        # 1 where a vertex is compared with images, else 0.
        self.region = Buffer(jnp.zeros((v,))) if config.has_region else None

    def __call__(self, identity: Array, expression: Array | None = None) -> Array:
        """Vertices in head coordinates, decimetres: mean + identity + expression.

        Args:
            identity: [N, 80], in standard deviations.
            expression: [N, 64], likewise; none by default.

        Returns:
            [N, V, 3].

        Raises:
            ValueError: for other shapes.
            WeightsError: for an expression, if the model has none.
        """
        self._check("identity", identity, (len(identity), IDENTITY_MODES))
        points = self.vertices[...] + jnp.tensordot(identity, self.identity_basis[...], 1)
        if expression is None:
            return points
        self._check("expression", expression, (len(identity), EXPRESSION_MODES))
        return points + jnp.tensordot(expression, self._expression_basis(), 1)

    def face_model(self) -> FaceModel:
        """The model as `jaxface.morphable.photometric` and `jaxface.methods.mofa` take it.

        Raises:
            WeightsError: if the model has no expression modes.
        """

        def rows(basis: Array) -> Array:
            return basis.reshape(len(basis), -1)

        return FaceModel(
            vertices=self.vertices[...],
            reflectance=self.reflectance[...],
            identity_basis=rows(self.identity_basis[...]),
            identity_deviation=jnp.ones(IDENTITY_MODES),
            expression_basis=rows(self._expression_basis()),
            reflectance_basis=rows(self.reflectance_basis[...]),
            reflectance_deviation=jnp.ones(REFLECTANCE_MODES),
            region=jnp.ones(self.config.vertices) if self.region is None else self.region[...],
            triangles=self.triangles[...],
            camera=CAMERA,
            gamma=GAMMA,
        )

    def landmark_model(self) -> LandmarkModel:
        """The part of the model that moves its 68 landmarks, in iBUG's order.

        Raises:
            WeightsError: if the model has no landmarks or no expression modes.
        """
        if self.landmarks is None:
            raise WeightsError(
                "BaselModel: its file names no landmarks; convert it again with "
                "--with landmarks=FILE (68 vertex numbers), or convert BFM_model_front.mat"
            )
        chosen = self.landmarks[...]
        return LandmarkModel(
            vertices=self.vertices[...][chosen],
            identity_basis=self.identity_basis[...][:, chosen],
            expression_basis=self._expression_basis()[:, chosen],
            camera=CAMERA,
        )

    def _expression_basis(self) -> Array:
        if self.expression_basis is None:
            raise WeightsError(
                "BaselModel: its file has no expression modes (01_MorphableModel.mat has none); "
                "convert Deep3DFaceRecon's BFM_model_front.mat for a model with expressions, or "
                "this file again --with expressions=Exp_Pca.bin"
            )
        return self.expression_basis[...]

    @staticmethod
    def _check(name: str, array: Array, shape: tuple[int, ...]) -> None:
        if array.shape != shape:
            raise ValueError(
                f"BaselModel: expected {name} {list(shape)}, got {list(np.shape(array))}"
            )
