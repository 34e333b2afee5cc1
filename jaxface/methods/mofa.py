"""MoFA: Model-based Deep Convolutional Face Autoencoder (Tewari et al., ICCV 2017).

An encoder reads the parameters of the face model from a portrait; the model draws them as vertices,
and the encoder learns from the difference, without labels. The loss (equation 5, in the weights'
order) has

* the photometric term: mean RGB distance between visible vertices and the portrait (equation 7);
* the landmark term: squared distance of the model's 66 landmarks from those of the portrait
  (equation 6), in units of the portrait's side;
* the statistical regulariser: squared coefficients of identity, reflectance and expression in
  standard deviations (equation 8).

Batches are ``{"image": [N, R, R, 3] uint8 or float32 in [-1, 1], "landmarks": [N, 68, 2] pixels}``.
The embedded world knows the true parameters, so held-out portraits tell the encoder's error in
radians, standard deviations and shares (`parameter_errors`); the loss never sees them.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct

from jaxface import recipe as recipes
from jaxface.images import from_uint8
from jaxface.methods.weight_average import average_weights
from jaxface.morphable import LANDMARKS_66, FaceParameters, sample_scenes, scene_from_gaussian
from jaxface.morphable.annotation import LandmarkModel, landmark_model, project_landmarks
from jaxface.morphable.model import FaceModel, region_model
from jaxface.morphable.photometric import photometric_energy
from jaxface.nets import FaceReconstruction, ReconstructionConfig
from jaxface.train import Phase, ema_decay

Batch = Mapping[str, jax.Array]

_PRIOR_SCENES = 4096  # whose parameters set the encoder's output in proportion


@dataclasses.dataclass(frozen=True)
class MoFASettings:
    """Training of a face reconstruction network.

    The weights are this library's, for the embedded world: the paper's belong to its own model's
    units.
    """

    network: ReconstructionConfig
    steps: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    photometric_weight: float = 2.0
    landmark_weight: float = 300.0
    identity_weight: float = 2e-4
    reflectance_weight: float = 2e-4
    expression_weight: float = 2e-4
    ema_half_life: float = 20_000.0
    """Half-life of the weights' average, in images."""

    def __post_init__(self):
        if self.network.outputs != 257:
            raise ValueError(
                f"MoFASettings: the face model has 257 parameters, the network gives "
                f"{self.network.outputs}."
            )


class Models(struct.PyTreeNode):
    """The parts of the face model that the loss needs."""

    region: FaceModel
    landmarks: LandmarkModel


@struct.dataclass
class MoFAState:
    """Everything that training changes."""

    network: FaceReconstruction
    average: FaceReconstruction
    """Exponential moving average of the weights: the network that is used afterwards."""
    optimizer: Any
    images_seen: jax.Array


def models() -> Models:
    """The embedded world's."""
    return Models(region=region_model(), landmarks=landmark_model())


def initial_state(
    settings: MoFASettings, key: jax.Array, network: FaceReconstruction | None = None
) -> MoFAState:
    """A fresh network whose first answer is the average face, or the one given."""
    if network is None:
        network = FaceReconstruction(settings.network, rngs=nnx.Rngs(key))
        prior = np.asarray(sample_scenes(jax.random.key(0), _PRIOR_SCENES).face.flat)
        network.mean[...] = jnp.asarray(prior.mean(axis=0))
        network.scale[...] = jnp.asarray(prior.std(axis=0))
    return MoFAState(
        network=network,
        average=jax.tree.map(jnp.copy, network),
        optimizer=_optimizer(settings).init(nnx.state(network, nnx.Param)),
        images_seen=jnp.zeros((), jnp.int32),
    )


def reconstruction_energy(
    settings: MoFASettings,
    models: Models,
    face: FaceParameters,
    images: jax.Array,
    landmarks: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of each face, [N], and its terms without their weights.

    Args:
      models: see `models`.
      face: N faces.
      images: [N, R, R, 3] in [-1, 1].
      landmarks: [N, 68, 2] in pixels of R.
    """
    size = images.shape[1]
    chosen = jnp.asarray(LANDMARKS_66)
    offset = (project_landmarks(models.landmarks, face, size) - landmarks)[:, chosen] / size
    terms = {
        "photometric": photometric_energy(models.region, face, images),
        "landmark": jnp.mean(jnp.sum(jnp.square(offset), axis=-1), axis=-1),
        "identity": jnp.mean(jnp.square(face.identity), axis=-1),
        "reflectance": jnp.mean(jnp.square(face.reflectance), axis=-1),
        "expression": jnp.mean(jnp.square(face.expression), axis=-1),
    }
    weights = {name: getattr(settings, f"{name}_weight") for name in terms}
    weighted = [weights[name] * term for name, term in terms.items()]
    return jnp.sum(jnp.stack(weighted), axis=0), terms


def reconstruction_phase(settings: MoFASettings) -> Phase:
    """The one phase of a step, for `jaxface.train.fit`; its constants are `Models`."""
    optimizer = _optimizer(settings)

    def loss_fn(params, graphdef, rest, models, images, landmarks):
        network = nnx.merge(graphdef, params, rest)
        face = FaceParameters.from_flat(network(images))
        losses, terms = reconstruction_energy(settings, models, face, images, landmarks)
        return jnp.mean(losses), terms

    def step(state: MoFAState, constants: Models, batch: Batch, key: jax.Array):
        del key
        images = batch["image"]
        images = from_uint8(images) if images.dtype == jnp.uint8 else images
        graphdef, params, rest = nnx.split(state.network, nnx.Param, ...)
        (loss, terms), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            params, graphdef, rest, constants, images, batch["landmarks"]
        )
        updates, optimizer_state = optimizer.update(grads, state.optimizer, params)
        network = nnx.merge(graphdef, optax.apply_updates(params, updates), rest)
        seen = state.images_seen + images.shape[0]
        decay = ema_decay(images.shape[0], half_life=settings.ema_half_life, seen=seen, ramp=0.1)
        state = MoFAState(
            network=network,
            average=average_weights(state.average, network, decay),
            optimizer=optimizer_state,
            images_seen=seen,
        )
        return state, {"loss": loss} | {name: jnp.mean(term) for name, term in terms.items()}

    return Phase("mofa", step)


@jax.jit
def parameter_errors(found: FaceParameters, true: FaceParameters) -> dict[str, jax.Array]:
    """How far N faces are from the truth, one number a group, averaged over the faces.

    Returns:
      ``rotation_rad`` and ``translation``: mean absolute; ``identity_sigma``,
      ``reflectance_sigma``: root mean square over the modes, in standard deviations;
      ``expression``: the same over its coefficients; ``illumination_relative``: Euclidean, over the
      true light's norm; ``landmarks_relative``: mean distance of the 66 landmarks over the face's
      size, the root of the area of their bounding box.
    """

    def rms(field: str) -> jax.Array:
        difference = getattr(found, field) - getattr(true, field)
        return jnp.mean(jnp.sqrt(jnp.mean(jnp.square(difference), axis=-1)))

    chosen = jnp.asarray(LANDMARKS_66)
    here, there = (project_landmarks(landmark_model(), f, 1)[:, chosen] for f in (found, true))
    box = jnp.max(there, axis=1) - jnp.min(there, axis=1)
    distance = jnp.mean(jnp.linalg.norm(here - there, axis=-1), axis=-1)
    light = jnp.linalg.norm(found.illumination - true.illumination, axis=-1)
    return {
        "rotation_rad": jnp.mean(jnp.abs(found.rotation - true.rotation)),
        "translation": jnp.mean(jnp.abs(found.translation - true.translation)),
        "identity_sigma": rms("identity"),
        "reflectance_sigma": rms("reflectance"),
        "expression": rms("expression"),
        "illumination_relative": jnp.mean(light / jnp.linalg.norm(true.illumination, axis=-1)),
        "landmarks_relative": jnp.mean(distance / jnp.sqrt(box[:, 0] * box[:, 1])),
    }


def _optimizer(settings: MoFASettings) -> optax.GradientTransformation:
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, min(settings.warmup_steps, settings.steps // 2), settings.steps
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def recipe(
    settings: MoFASettings,
    *,
    key: jax.Array,
    networks: Mapping[str, Any],
    held_out: Mapping[str, jax.Array] | None,
) -> recipes.Recipe:
    """The whole training, see `jaxface.recipe`.

    Begins with the role ``reconstruction`` where it is given. Scores are `parameter_errors` on the
    held-out portraits.
    """
    state = initial_state(settings, key, networks.get("reconstruction"))
    return recipes.Recipe(
        state=state,
        stages=[
            recipes.Stage([reconstruction_phase(settings)], settings.steps, settings.batch_size)
        ],
        fields=("image", "landmarks"),
        constants=models(),
        networks=lambda state: {"reconstruction": state.average},
        parameters=nnx.state(state.network, nnx.Param),
        score=None if held_out is None else _score(held_out),
    )


def _score(held_out: Mapping[str, jax.Array]) -> Callable[[MoFAState], dict[str, float]]:
    read = jax.jit(lambda network, images: network(from_uint8(images)))
    true = scene_from_gaussian(jnp.asarray(held_out["factors"])).face

    def score(state: MoFAState) -> dict[str, float]:
        found = FaceParameters.from_flat(read(state.average, held_out["image"]))
        return {name: float(value) for name, value in parameter_errors(found, true).items()}

    return score
