"""How far faces that were read are from the truth: errors of parameters, landmarks, gaze, units."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.media.images import from_uint8
from jaxface.morphable import LANDMARKS_66, FaceParameters
from jaxface.morphable.anatomical import units_that_show
from jaxface.morphable.annotation import LandmarkModel, landmark_model, project_landmarks
from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.gaze import gaze_degrees
from jaxface.training.averaged import AveragedState
from jaxface.vocabulary import Basis


@jax.jit
def parameter_errors(
    predicted: FaceParameters, true: FaceParameters, *, landmarks: LandmarkModel | None = None
) -> dict[str, jax.Array]:
    """How far N faces are from the truth, one number a group, averaged over the faces.

    Args:
      predicted: N faces.
      true: the same.
      landmarks: of the face model that the parameters are of; None: the embedded world's.

    Returns:
      ``rotation_rad`` and ``translation``: mean absolute; ``identity_sigma``,
      ``reflectance_sigma``: root mean square over the modes, in standard deviations;
      ``expression``: the same over its coefficients; ``illumination_relative``: Euclidean, over the
      true light's norm; ``landmarks_relative``: mean distance of the 66 landmarks over the face's
      size, the root of the area of their bounding box.
    """

    def rms(field: str) -> jax.Array:
        difference = getattr(predicted, field) - getattr(true, field)
        return jnp.mean(jnp.sqrt(jnp.mean(jnp.square(difference), axis=-1)))

    light = jnp.linalg.norm(predicted.illumination - true.illumination, axis=-1)
    return {
        "rotation_rad": jnp.mean(jnp.abs(predicted.rotation - true.rotation)),
        "translation": jnp.mean(jnp.abs(predicted.translation - true.translation)),
        "identity_sigma": rms("identity"),
        "reflectance_sigma": rms("reflectance"),
        "expression": rms("expression"),
        "illumination_relative": jnp.mean(light / jnp.linalg.norm(true.illumination, axis=-1)),
        "landmarks_relative": jnp.mean(
            relative_landmark_distance(predicted, true, landmarks=landmarks)
        ),
    }


def expression_errors(
    predicted: jax.Array, true: jax.Array, units: np.ndarray
) -> dict[str, jax.Array]:
    """How far expressions of version 3 are from the truth.

    Args:
      predicted: [N, 64], N > 1.
      true: the same.
      units: indices of ARKit's units, see `jaxface.morphable.anatomical.units_that_show`.

    Returns:
      ``gaze_degrees``: mean angle between where the eyes look, yaw and pitch taken as a plane's;
      ``units_r2`` and ``units_r2_least``: the share of a unit's variance that is read, the mean and
      the least over `units`.
    """
    gaze = jnp.linalg.norm(gaze_degrees(predicted) - gaze_degrees(true), axis=-1)
    here, there = predicted[:, units], true[:, units]
    read = 1 - jnp.mean(jnp.square(here - there), axis=0) / jnp.var(there, axis=0)
    return {
        "gaze_degrees": jnp.mean(gaze),
        "units_r2": jnp.mean(read),
        "units_r2_least": jnp.min(read),
    }


def relative_landmark_distance(
    predicted: FaceParameters, true: FaceParameters, *, landmarks: LandmarkModel | None = None
) -> jax.Array:
    """Mean distance of N faces' 66 landmarks over the root of their bounding box's area, [N].

    Args:
      predicted, true, landmarks: see `parameter_errors`.
    """
    chosen, model = jnp.asarray(LANDMARKS_66), landmarks or landmark_model()
    here, there = (project_landmarks(model, f, 1)[:, chosen] for f in (predicted, true))
    box = jnp.max(there, axis=1) - jnp.min(there, axis=1)
    distance = jnp.mean(jnp.linalg.norm(here - there, axis=-1), axis=-1)
    return distance / jnp.sqrt(box[:, 0] * box[:, 1])


def scores_of(
    held_out: Mapping[str, jax.Array],
    landmarks: LandmarkModel,
    deviation: jax.Array,
    basis: Basis,
) -> Callable[[AveragedState], dict[str, float]]:
    """What a reconstruction network in training is told of held-out portraits.

    Args:
      held_out: ``image`` uint8 [N, R, R, 3] and ``face`` [N, 257].
      landmarks: of the face model that the parameters are of.
      deviation: of the parameters, [257].
      basis: "embedded", or "anatomical" with `expression_errors`.

    Returns:
      The state to `parameter_errors` of its EMA weights.
    """
    predict = jax.jit(lambda network, images: network(from_uint8(images)))
    true = FaceParameters.from_flat(jnp.asarray(held_out["face"]))
    units = FaceParameters.from_flat(deviation).expression[: len(ARKIT_UNITS)]
    shown = units_that_show(units) if basis == "anatomical" else None

    def score(state: AveragedState) -> dict[str, float]:
        predicted = FaceParameters.from_flat(predict(state.average, held_out["image"]))
        errors = parameter_errors(predicted, true, landmarks=landmarks)
        if shown is not None:
            errors |= expression_errors(predicted.expression, true.expression, shown)
        return {name: float(value) for name, value in errors.items()}

    return score
