"""What the judges of rotation and landmarks say where nothing was moved, or all of it perfectly.

A reenactment cannot be measured more exactly than that. Three kinds of images are judged as results
are: the perfect results, which are renders; the same scenes as the generator draws them of their
true factors, a perfect embedding and a perfect motion; and each person's reconstruction, which
shows the source's own pose but for what its embedding missed. The fitted face has no error on a
render, whose colours are its own; on what a generator draws it has, as far as that misses the
person's shape or colours.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation.ground_truth import rotation_angle
from jaxface.evaluation.judges import judged_pose
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.reenactment_protocol import (
    NEAR,
    SEED,
    Protocol,
    perfect_factors,
    perfect_scenes,
    person_clip,
)
from jaxface.evaluation.suite_world import suite_world
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import pie
from jaxface.methods.face_errors import relative_landmark_distance
from jaxface.morphable import FaceParameters
from jaxface.morphable.models import FaceModels
from jaxface.nets import Generator
from jaxface.suite import Suite

PERFECT = "perfect results"
"""The row of renders, beside those of the methods' reconstructions."""

DRAWN = "drawn of the true factors"
"""The row of the perfect results' scenes as the generator draws them."""

_FREE = 0x66726565
"""Folded into the seed: coordinates of z that are no factors."""

FLOORS: Mapping[str, str] = {
    "turn": "rotation that is read, rad",
    "rotation": "rotation of the fitted face, rad",
    "landmarks": "landmarks of the known identity, % of the face",
}
"""What is judged, in the units of `jaxface.evaluation.reenactment_scores.TARGETS`."""


def judges_floor(
    suite: Suite,
    protocol: Protocol,
    measured: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    *,
    parts: Parts,
    knows_factors: bool,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, float]]:
    """Means of `FLOORS`: of the perfect results of near turns, and of reconstructions by method.

    Args:
      suite: has the network that reads faces.
      protocol: of the clips.
      measured: by method, the cross clips of `jaxface.evaluation.reenactment.evaluate_method`.
      parts: what is finished, and not done again.
      knows_factors: whether the generator's z begins with a scene's factors, for `DRAWN`.
      say: receives a line before each part.
    """
    found: dict[str, dict[str, float]] = {}
    wanted = (PERFECT, DRAWN) if knows_factors else (PERFECT,)
    for name, clips in measured.items():
        rows = {**{row: [] for row in wanted}, name: []}
        for number, clip in enumerate(clips):

            def make(name=name, number=number, clip=clip) -> dict[str, Any]:
                say(f"judges of {name}, person {number + 1} of {protocol.persons}")
                return _judged(suite, protocol, number, clip, drawn=knows_factors)

            values = parts.get(f"judges-{name}-{number:03d}", make)
            near = np.deg2rad(clip["turns"]) <= NEAR
            rows[name].append({key: values[f"still_{key}"] for key in FLOORS})
            for row in wanted:
                rows[row].append({key: values[f"{row}_{key}"][near] for key in FLOORS})
        for row, each in rows.items():
            found[row] = {
                key: float(np.mean(np.concatenate([one[key] for one in each]))) for key in FLOORS
            }
    return found


def _judged(
    suite: Suite,
    protocol: Protocol,
    number: int,
    clip: Mapping[str, np.ndarray],
    *,
    drawn: bool,
) -> dict[str, np.ndarray]:
    """`FLOORS` of a clip's perfect results, as renders and as drawn, [T]; of the still, [1]."""
    of, driver = suite_world(suite), (number + 1) % protocol.persons
    own = person_clip(protocol, number, of)
    face = perfect_scenes(own, person_clip(protocol, driver, of)).face
    first = jax.tree.map(lambda leaf: leaf[:1], own.face)
    perfect = from_uint8(jnp.asarray(clip["perfect"]))
    kinds = {
        PERFECT: (face, perfect, perfect),
        "still": (first, *(from_uint8(jnp.asarray(clip[k][None])) for k in ("still", "source"))),
    }
    if drawn:
        factors = perfect_factors(protocol, number, driver, of)
        images = _drawn(suite.generator, factors, jax.random.fold_in(jax.random.key(SEED), _FREE))
        kinds[DRAWN] = (face, from_uint8(to_uint8(images)), perfect)
    found = {}
    for kind, (known, images, renders) in kinds.items():
        read = pie.read_parameters(suite, images)
        terms = _floor(of.parts(), known, read, images, renders)
        found |= {f"{kind}_{key}": np.asarray(value) for key, value in terms.items()}
    return found


@jax.jit
def _drawn(generator: Generator, factors: jax.Array, key: jax.Array) -> jax.Array:
    """What a generator draws of scenes [T, F]; z's other coordinates are one draw's."""
    count, known = factors.shape
    rest = jax.random.normal(key, (1, generator.config.z_dim - known))
    z = jnp.concatenate([factors, jnp.broadcast_to(rest, (count, rest.shape[1]))], axis=1)
    return jnp.clip(generator.synthesis(generator.mapping(z)), -1, 1)


@jax.jit
def _floor(
    models: FaceModels,
    face: FaceParameters,
    read: FaceParameters,
    images: jax.Array,
    renders: jax.Array,
) -> dict[str, jax.Array]:
    fit = judged_pose(models.region, face, face, read, renders, images)
    known = dataclasses.replace(face, rotation=read.rotation, expression=read.expression)
    return {
        "turn": rotation_angle(read.rotation, face.rotation),
        "rotation": rotation_angle(fit.rotation, face.rotation),
        "landmarks": 100 * relative_landmark_distance(known, face, landmarks=models.landmarks),
    }
