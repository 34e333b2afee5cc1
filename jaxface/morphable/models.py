"""The parts of a face model that an energy compares with images."""

from typing import NamedTuple

from jaxface.morphable.annotation import LandmarkModel, landmark_model
from jaxface.morphable.basel import BaselModel
from jaxface.morphable.model import FaceModel, region_model


class FaceModels(NamedTuple):
    """The parts of one face model.

    Attributes:
        region: what is compared with pixels, for `jaxface.morphable.photometric`.
        landmarks: for `jaxface.morphable.annotation.project_landmarks`.
    """

    region: FaceModel
    landmarks: LandmarkModel


def embedded_models() -> FaceModels:
    """The embedded world's."""
    return FaceModels(region=region_model(), landmarks=landmark_model())


def basel_models(model: BaselModel) -> FaceModels:
    """A Basel Face Model's.

    Raises:
        WeightsError: it has no expressions or no landmarks.
    """
    return FaceModels(region=model.face_model(), landmarks=model.landmark_model())
