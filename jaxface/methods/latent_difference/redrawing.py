"""Portraits redrawn with other landmarks: what editing and reenactment share.

Proportions are whose the wished landmarks are: "own", the portrait's face with another's rotation
and expression (`landmarks.normalised`), or "taken", the other's landmarks as they are, shape and
place included, as in the paper.
"""

from typing import Any, Literal, NamedTuple

import jax
from flax import struct

from jaxface.errors import SuiteError
from jaxface.methods.latent_difference.landmarks import conditioned, normalised
from jaxface.methods.suite_basis import suite_basis
from jaxface.morphable import FaceParameters
from jaxface.morphable.annotation import LandmarkModel
from jaxface.morphable.worlds import world_of_basis
from jaxface.nets import Generator, NaiveEncoder
from jaxface.nets.encoders.styles import read_generated
from jaxface.suite import Suite
from jaxface.vocabulary import Basis

Proportions = Literal["own", "taken"]

ROLES = {
    "latent_difference": "Redrawing by landmarks needs it",
    "landmarks": "Reading landmarks needs it",
    "reconstruction": "Keeping a face's proportions needs it",
}


@struct.dataclass
class Redrawing:
    """What redraws, but for the generator.

    Attributes:
      network: of the role ``latent_difference``.
      landmarks: reads 68 points.
      reconstruction: reads PIE's parameters.
      model: the face model's landmarks.
      basis: of the parameters.
    """

    network: Any
    landmarks: Any
    reconstruction: Any
    model: LandmarkModel
    basis: Basis = struct.field(pytree_node=False)


class Seen(NamedTuple):
    """What is known of N portraits' faces.

    Attributes:
      points: [N, 68, 2] in pixels.
      face: their parameters.
    """

    points: jax.Array
    face: FaceParameters


def redrawing_of(suite: Suite) -> Redrawing:
    """A suite's networks of `ROLES`.

    Raises:
      SuiteError: it lacks one, or its reconstruction network reads another face model than the
        embedded world's two.
    """
    suite.require(ROLES)
    basis = suite_basis(suite)
    of = world_of_basis(basis)
    if of is None:
        raise SuiteError(
            f"suite {suite.name!r}: its reconstruction network reads the face model {basis!r}; "
            "landmarks are moved by the embedded world's, versions 2 and 3"
        )
    return Redrawing(
        suite.latent_difference, suite.landmarks, suite.reconstruction, of.landmarks(), basis
    )


def see(networks: Redrawing, images: Any) -> Seen:
    """Landmarks and faces of portraits [N, R, R, 3] in [-1, 1]; traceable."""
    face = FaceParameters.from_flat(networks.reconstruction(images))
    return Seen(networks.landmarks(images), face)


def wished(
    networks: Redrawing, own: Seen, other: Seen, size: int, *, proportions: Proportions
) -> jax.Array:
    """The landmarks of N portraits that are to look like others, [N, 68, 2]; traceable."""
    if proportions == "taken":
        return other.points
    return normalised(networks.model, own.points, own.face, other.face, size)


def redraw(
    networks: Redrawing,
    generator: Generator,
    w_plus: Any,
    points: Any,
    *,
    noise: Literal["const", "none"],
    portraits: Any = None,
) -> tuple[jax.Array, jax.Array]:
    """Portraits with other landmarks; traceable, and a row depends on that row alone.

    Args:
      networks: of `redrawing_of`.
      generator: draws them.
      w_plus: [N, L, w_dim].
      points: the wished landmarks, [N, 68, 2] in pixels of the generator's images.
      noise: of the generator.
      portraits: what the codes are of, [N, R, R, 3] in [-1, 1]; the naive encoder reads them, or
        without them what the generator draws of the codes.

    Returns:
      Codes [N, L, w_dim] and images [N, R, R, 3], not clipped.
    """
    network, size = networks.network, generator.resolution
    source = w_plus
    if isinstance(network, NaiveEncoder):  # it reads the portrait, not its code
        images = generator.synthesis(w_plus, noise) if portraits is None else portraits
        source = read_generated("latent_difference", images, network.config.resolution)
    moved = network(source, conditioned(network, points, size))
    return moved, generator.synthesis(moved, noise)
