"""What a direction matrix does to latents that it was not trained on.

Held-out items are pairs of sampled latents, a source and a driver. The source takes the driver's
pose and expression, as Net_3D reads them. What the result has is read by Net_3D too; it is compared
with the truth where z begins with a scene's factors, else with what is read of the driver.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.losses import identity
from jaxface.methods.direction_matrix.columns import column_values
from jaxface.methods.direction_matrix.faces import PieFaces
from jaxface.methods.direction_matrix.losses import Models, draw, full_change
from jaxface.methods.direction_matrix.settings import MatrixSettings
from jaxface.methods.face_errors import parameter_errors
from jaxface.methods.known_scenes import world_of_samples
from jaxface.methods.rignet.latents import in_chunks, sample_latents, sample_z, swap_pairs
from jaxface.morphable import FaceParameters
from jaxface.morphable.worlds import World
from jaxface.nets import DirectionMatrix
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.training.averaged import AveragedState


def scores_of(
    settings: MatrixSettings, models: Models, words: np.ndarray
) -> Callable[[AveragedState], Mapping[str, float]]:
    """The recipe's `score`, on the latents of held-out key words [N, 2], N even; see `scores`.

    Raises:
      UsageError: see `world_of_samples`.
    """
    keys = jax.random.wrap_key_data(jnp.asarray(words[: len(words) // 2 * 2]))
    of = None
    if settings.known_scenes:
        of = world_of_samples("direction_matrix", models.generator, models.faces.basis)
    observed = jax.jit(lambda models, keys: _observed(settings, of, models, keys))
    reenacted = jax.jit(lambda *args: _reenacted(settings, *args))
    known = in_chunks(lambda part: observed(models, part), keys)

    def score(state: AveragedState) -> dict[str, float]:
        parts = (known, swap_pairs(known))
        found = in_chunks(lambda part: reenacted(models, state.average, *part), parts)
        return {name: float(jnp.mean(value)) for name, value in found.items()}

    return score


def _observed(
    settings: MatrixSettings, of: World | None, models: Models, keys: jax.Array
) -> dict[str, Any]:
    """Of sampled latents: codes, what is read of the images, the true faces, the embeddings."""
    generator = models.generator
    w_plus = sample_latents(generator, keys, 0.0)
    images = draw(generator, w_plus, settings.truncation)
    read = models.faces.read(images)
    true = read
    if of is not None:
        true = of.scenes(sample_z(keys, generator.config.z_dim)[:, : of.num_factors]).face
    embeddings = portrait_embeddings(models.recognition, images)
    return {"w_plus": w_plus, "read": read, "true": true, "embeddings": embeddings}


def _reenacted(
    settings: MatrixSettings,
    models: Models,
    matrix: DirectionMatrix,
    source: dict[str, Any],
    driver: dict[str, Any],
) -> dict[str, jax.Array]:
    """Scores of N sources, [N] each."""
    faces, names, basis = models.faces, matrix.names, matrix.config.basis
    here, there = (
        column_values(names, basis, faces.motion(x)) for x in (source["read"], driver["read"])
    )
    w_plus = matrix(source["w_plus"], full_change(matrix, here, there))
    images = draw(models.generator, w_plus, settings.truncation)
    read = faces.read(images)
    wanted = faces.moved(source["true"], driver["true"])
    got = column_values(names, basis, faces.motion(read))
    want = column_values(names, basis, faces.motion(wanted))
    scores = {
        "columns": jnp.mean(jnp.abs(got - want) * jnp.abs(matrix.slope[...]), axis=1),
        "identity": identity.similarity(
            portrait_embeddings(models.recognition, images), source["embeddings"]
        ),
    }
    if isinstance(faces, PieFaces):
        scores |= _pie_scores(faces, read, source["true"], wanted)
    return scores


def _pie_scores(
    faces: PieFaces, read: FaceParameters, source: FaceParameters, wanted: FaceParameters
) -> dict[str, jax.Array]:
    """Errors in the units of `jaxface.methods.face_errors.parameter_errors`, [N] each."""
    from jaxface.morphable.camera import rotation_matrix

    known = FaceParameters(
        rotation=read.rotation,
        translation=source.translation,
        identity=source.identity,
        reflectance=source.reflectance,
        expression=read.expression,
        illumination=source.illumination,
    )

    def errors(*pair: FaceParameters) -> dict[str, jax.Array]:
        one = jax.tree.map(lambda leaf: leaf[None], pair)
        return parameter_errors(*one, landmarks=faces.models.landmarks)

    each = jax.vmap(errors)(known, wanted)
    turns = jnp.einsum(
        "nij,nij->n", rotation_matrix(read.rotation), rotation_matrix(wanted.rotation)
    )
    turn = jnp.arccos(jnp.clip((turns - 1) / 2, -1.0, 1.0))
    return {
        "rotation_rad": each["rotation_rad"],
        "turn_rad": turn,
        "expression": each["expression"],
        "landmarks_relative": each["landmarks_relative"],
    }
