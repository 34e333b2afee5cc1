"""What the parameters of a reconstruction network mean: the face model that they are of."""

from typing import Any

from jaxface.morphable.anatomical import anatomical_models
from jaxface.morphable.basel import BaselModel
from jaxface.morphable.models import FaceModels, basel_models, embedded_models
from jaxface.vocabulary import Basis


def basis_of(network: Any, face_model: BaselModel | None = None) -> Basis:
    """The basis of a network's expressions.

    Args:
        network: of a suite's role ``reconstruction``; one that was made for a face model says so by
            its `basis`, and all others read the embedded world's.
        face_model: the suite's own, which decides where it has one.
    """
    return "basel" if face_model is not None else getattr(network, "basis", "embedded")


def models_of(network: Any, face_model: BaselModel | None = None) -> FaceModels:
    """What an energy compares with images, of the face model that a network's parameters are of.

    Args:
        network, face_model: see `basis_of`.

    Raises:
        WeightsError: the Basel Face Model has no expressions or no landmarks.
    """
    if face_model is not None:
        return basel_models(face_model)
    return anatomical_models() if basis_of(network) == "anatomical" else embedded_models()
