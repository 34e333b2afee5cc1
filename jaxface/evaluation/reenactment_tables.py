"""Tables 2 to 5 of Bounareli et al. 2022: what each part of the direction matrix's method is for.

Tables 2 and 3 are of pairs of sampled latents, a source and a driver, as in section 4.3: losses are
left out. Tables 4 and 5 are of self-reenactment of the protocol's clips: training on samples, on
portraits, on pairs; and the generator tuned to the source or not. The paper's networks judge
(CSIM, pose, expression), and the truth beside them: a sample's z begins with the factors of the
scene that it draws. Frames are drawn without feedback, which would hide what a matrix lacks.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxface.evaluation.parts import Parts
from jaxface.evaluation.reenactment_protocol import SEED
from jaxface.evaluation.reenactment_training import (
    ROWS,
    Budget,
    ClipPairs,
    matrix_of,
    trained_matrix,
)
from jaxface.evaluation.suite_world import suite_world
from jaxface.losses import face_shape, identity
from jaxface.methods.direction_matrix import column_values, faces_of
from jaxface.methods.direction_matrix.columns import expression_place
from jaxface.methods.direction_matrix.losses import full_change
from jaxface.methods.direction_matrix.reenactment import EMBEDDED_ENCODER, MatrixReenactment
from jaxface.methods.face_errors import relative_landmark_distance
from jaxface.methods.rignet.latents import in_chunks, sample_latents, sample_z, swap_pairs
from jaxface.metrics.reenactment import angle_distance, mean_difference
from jaxface.morphable import FaceParameters
from jaxface.morphable.annotation import LandmarkModel
from jaxface.morphable.worlds import World
from jaxface.nets import DirectionMatrix
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.suite import Suite, identity_network

SHIPPED = "shipped"
"""The suite's own matrix, as a row beside those trained here."""

PAIR_TABLES: Mapping[str, tuple[str, ...]] = {
    "table2": ("synthetic", "no_identity"),
    "table3": ("synthetic", "no_eyes"),
}
"""Rows of the tables of sampled pairs."""
CLIP_TABLES: Mapping[str, tuple[tuple[str, bool], ...]] = {
    "table4": (("synthetic", True), ("mixed", True), ("paired", True), (SHIPPED, True)),
    "table5": (("paired", False), ("paired", True), (SHIPPED, False), (SHIPPED, True)),
}
"""Rows of the tables of clips, and whether the generator is tuned to the source."""

_PAIRS = 0x70616972
"""Folded into the protocol's seed."""


@dataclasses.dataclass(frozen=True)
class Tables:
    """How much is trained and measured.

    Attributes:
      budget: of each training.
      pairs: of sampled latents; the paper has 5,000.
    """

    budget: Budget
    pairs: int = 512


def tables_method(*, tuned: bool, factor: float = 1.0) -> MatrixReenactment:
    """The published inference of the tables of clips: an encoder, and tuning or not.

    Args:
      tuned: whether the generator is tuned to the source.
      factor: of the steps of that.
    """
    inversion: Any = EMBEDDED_ENCODER.inversion
    steps = max(1, round(factor * inversion.tuning.steps))
    tuning = dataclasses.replace(inversion.tuning, steps=steps)
    inversion = dataclasses.replace(inversion, tuning=tuning) if tuned else inversion.pivot
    return dataclasses.replace(EMBEDDED_ENCODER, feedback=0, inversion=inversion)


def moved_by(suite: Suite, matrix: DirectionMatrix) -> Suite:
    """The suite with another matrix; it has one of its own."""
    return dataclasses.replace(suite, _loaded={**suite._loaded, "direction_matrix": matrix})


def trained_suites(
    suite: Suite, tables: Tables, *, parts: Parts, say: Callable[[str], None]
) -> tuple[dict[str, Suite], dict[str, list[float]]]:
    """The suite with the matrix of each training, by its name, and the losses of its steps."""
    clips = ClipPairs(suite, tables.budget.clips)
    found, losses = {SHIPPED: suite}, {}
    for name, row in ROWS.items():

        def make(row=row) -> dict[str, np.ndarray]:
            return trained_matrix(suite, row, tables.budget, clips, say=say)

        arrays = parts.get(f"matrix-{name}", make)
        found[name] = moved_by(suite, matrix_of(suite, arrays))
        losses[name] = [float(each) for each in arrays["loss"]]
    return found, losses


def pair_scores(suite: Suite, count: int) -> dict[str, float]:
    """What a suite's matrix does to pairs of sampled latents.

    Args:
      suite: its matrix is judged; its z begins with the factors of scenes.
      count: of pairs.

    Returns:
      Means over the pairs. ``csim``: to the source's image. ``pose`` (degrees, of three angles) and
      ``expression`` (coefficients of the named modes): what is read of the result against what is
      read of the driver. ``eyes`` and ``mouth``: how far they are open against the wanted, pixels
      of 224. ``pose_true``, ``expression_true``: against the driver's truth. ``landmarks_true``:
      mean distance of the landmarks of the source's true face with what is read, and as it is
      wanted, over the face's size.
    """
    keys = jax.random.split(jax.random.fold_in(jax.random.key(SEED), _PAIRS), count + count % 2)
    of = suite_world(suite)
    judges = _Judges(
        suite.generator,
        faces_of({"reconstruction": suite.reconstruction}),
        identity_network(suite),
        of.landmarks(),
    )
    observed = jax.jit(lambda judges, keys: _observed(judges, keys, of))
    known = in_chunks(lambda part: observed(judges, part), keys)
    parts = (known, swap_pairs(known))
    found = in_chunks(lambda part: _reenacted(judges, suite.direction_matrix, *part), parts)
    return {name: float(jnp.mean(value[:count])) for name, value in found.items()}


@struct.dataclass
class _Judges:
    generator: Any
    faces: Any
    recognition: Any
    landmarks: LandmarkModel


def _observed(judges: _Judges, keys: jax.Array, of: World) -> dict[str, Any]:
    """Of sampled latents: codes, what is read of the images, the true faces, the embeddings."""
    generator = judges.generator
    w_plus = sample_latents(generator, keys, 0.0)
    images = generator.synthesis(w_plus)
    z = sample_z(keys, generator.config.z_dim)
    return {
        "w_plus": w_plus,
        "read": judges.faces.read(images),
        "true": of.scenes(z[:, : of.num_factors]).face,
        "embeddings": portrait_embeddings(judges.recognition, images),
    }


@jax.jit
def _reenacted(
    judges: _Judges, matrix: DirectionMatrix, source: dict[str, Any], driver: dict[str, Any]
) -> dict[str, jax.Array]:
    faces, names, basis = judges.faces, matrix.names, matrix.config.basis
    here, there = (
        column_values(names, basis, faces.motion(each["read"])) for each in (source, driver)
    )
    moved = matrix(source["w_plus"], full_change(matrix, here, there))
    images = judges.generator.synthesis(moved)
    read = faces.read(images)
    wanted = faces.moved(source["read"], driver["read"])
    here, there = (faces.shape(each).landmarks for each in (read, wanted))
    perfect = faces.moved(source["true"], driver["true"])
    known = faces.moved(source["true"], read)
    named = sum(expression_place(name) is not None for name in names)
    return {
        "csim": identity.similarity(
            portrait_embeddings(judges.recognition, images), source["embeddings"]
        ),
        "pose": angle_distance(read.rotation, driver["read"].rotation),
        "expression": _expression(read, driver["read"], named),
        "eyes": face_shape.eyes(here, there, reading="code"),
        "mouth": face_shape.mouth(here, there, reading="code"),
        "pose_true": angle_distance(read.rotation, driver["true"].rotation),
        "expression_true": _expression(read, driver["true"], named),
        "landmarks_true": relative_landmark_distance(known, perfect, landmarks=judges.landmarks),
    }


def _expression(read: FaceParameters, wanted: FaceParameters, named: int) -> jax.Array:
    return mean_difference(read.expression[:, :named], wanted.expression[:, :named])
