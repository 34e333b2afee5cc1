"""Judges of edited portraits: what the truth says of their pose, and a network of their identity.

A judge takes batches of images and tells how far they are from what they should show. Those that
know the true face and nothing else are in `jaxface.evaluation.ground_truth`; here they are applied
to edits. No judge takes part in an edit; of the suite's networks the recognition network judges
here, and the reconstruction network, which steers edits too, through `pie.read_parameters`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxface.evaluation.ground_truth import PoseFit, fit_pose
from jaxface.losses import identity
from jaxface.morphable import FaceParameters
from jaxface.morphable.model import FaceModel
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.suite import Suite, identity_network


def judged_pose(
    model: FaceModel,
    face: FaceParameters,
    wanted: FaceParameters,
    read: FaceParameters,
    targets: jax.Array,
    images: jax.Array,
) -> PoseFit:
    """The poses of edited portraits by the ground truth.

    The fit starts from the portrait's own pose, from the wanted one and from what the network read,
    and the best fit counts, so that it favours none of them.

    Args:
      model: of the faces, the part that is compared: `FaceModels.region`.
      face: the portraits' true parameters, N faces.
      wanted: the same in the wanted pose.
      read: what the network read of `images`.
      targets: renders of `wanted`, [N, R, R, 3] in [-1, 1].
      images: what is judged, [N, R, R, 3] in [-1, 1].
    """
    starts = jnp.stack([each.group("pose") for each in (face, wanted, read)])
    return fit_pose(model, wanted, targets, images, starts)


def recognition_error(suite: Suite, images: jax.Array, others: jax.Array) -> jax.Array:
    """One minus the cosine of two portraits' identity embeddings, from 0 to 2.

    Args:
      suite: has a recognition network or a descriptor (`jaxface.suite.identity_network`).
      images: [N, R, R, 3] in [-1, 1].
      others: what each is compared with, likewise.

    Returns:
      [N].
    """
    return _recognition_error(identity_network(suite), images, others)


@jax.jit
def _recognition_error(recognition: Any, images: jax.Array, others: jax.Array) -> jax.Array:
    ours, theirs = (portrait_embeddings(recognition, each) for each in (images, others))
    return identity.distance(ours, theirs)
