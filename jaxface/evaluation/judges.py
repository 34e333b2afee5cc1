"""What the suite's networks say of edited portraits."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxface.evaluation import ground_truth as truth
from jaxface.losses import identity
from jaxface.morphable import FaceParameters
from jaxface.morphable.model import region_model
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.suite import Suite, identity_network


def judged_pose(
    face: FaceParameters,
    wanted: FaceParameters,
    read: FaceParameters,
    targets: jax.Array,
    images: jax.Array,
) -> truth.PoseFit:
    """The poses of edited portraits by the truth.

    The fit starts from the portrait's own pose, from the wanted one and from what the network read,
    and the best fit counts.

    Args:
      face: the portraits' true parameters, N faces.
      wanted: the same in the wanted pose.
      read: what the network read of `images`.
      targets: renders of `wanted`, [N, R, R, 3] in [-1, 1].
      images: [N, R, R, 3] in [-1, 1].
    """
    starts = jnp.stack([each.group("pose") for each in (face, wanted, read)])
    return truth.fit_pose(region_model(), wanted, targets, images, starts)


def recognition_error(suite: Suite, images: jax.Array, others: jax.Array) -> jax.Array:
    """One minus the cosine of embeddings by the suite's `jaxface.suite.identity_network`, [N]."""
    return _recognition_error(identity_network(suite), images, others)


@jax.jit
def _recognition_error(recognition: Any, images: jax.Array, others: jax.Array) -> jax.Array:
    found, wanted = (portrait_embeddings(recognition, each) for each in (images, others))
    return identity.distance(found, wanted)
