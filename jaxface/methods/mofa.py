"""MoFA: Model-based Deep Convolutional Face Autoencoder (Tewari et al., ICCV 2017).

An encoder predicts the parameters of the face model from a portrait; the model renders vertices,
and the encoder learns from the difference, without labels. The loss (equation 5, in the weights'
order) has

* the photometric term: mean RGB distance between visible vertices and the portrait (equation 7),
  made robust here, because hair and glasses lie before half of the faces: distances beyond a
  threshold, which falls during training, hardly count;
* the landmark term: squared distance of the model's 66 landmarks from those of the portrait
  (equation 6), in units of the portrait's side;
* the statistical regulariser: squared coefficients of identity, reflectance and expression
  (equation 8). Here also squared translation and light, in standard deviations from their means,
  those of light along its principal axes: images hardly tell size from distance, light behind the
  head from none, nor dark skin in bright light from fair skin in dim light; but a light source that
  adds to one coefficient adds to others.

Batches are ``{"image": [N, R, R, 3] uint8 or float32 in [-1, 1], "landmarks": [N, 68, 2] pixels}``.
The face model is the embedded world's, or a Basel Face Model as in the paper (`models`). The
embedded world knows the true parameters, so held-out portraits tell the encoder's error in radians,
standard deviations and shares (`parameter_errors`); the loss never sees them.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct

from jaxface.errors import UsageError
from jaxface.media.images import from_uint8
from jaxface.morphable import (
    LANDMARKS_66,
    BaselModel,
    FaceParameters,
    sample_scenes,
    scene_from_gaussian,
)
from jaxface.morphable.annotation import LandmarkModel, landmark_model, project_landmarks
from jaxface.morphable.illumination import ambient_light
from jaxface.morphable.models import FaceModels, basel_models, embedded_models
from jaxface.morphable.parameters import WIDTHS
from jaxface.morphable.photometric import photometric_energy
from jaxface.nets import (
    AlexNetReconstructionConfig,
    ReconstructionConfig,
    ResNetReconstructionConfig,
    VGGFaceReconstructionConfig,
)
from jaxface.nets.reconstruction.backbones import load_backbone, make_reconstruction
from jaxface.training import averaged
from jaxface.training.averaged import AveragedState
from jaxface.training.loop import Phase
from jaxface.training.optimizers import adam_with_warmup_cosine
from jaxface.training.recipe import Recipe, single_stage_recipe

Batch = Mapping[str, jax.Array]

_PRIOR_SCENES = 4096  # whose parameters set the encoder's output in proportion, and light's axes
_LIGHT_FLOOR = 0.1  # least deviation along an axis of light, in those of single coefficients

# The same for a Basel Face Model, chosen here: about an average face in the middle of the camera's
# view. Coefficients are in standard deviations; of the light, Deep3DFaceRecon's first guess
# (init_lit, 0.8 of its constant harmonic, which makes a surface 0.8 sqrt(pi) / 2 as bright as its
# reflectance).
_BASEL_DEVIATIONS = {
    "rotation": 0.3,
    "translation": 0.3,
    "identity": 1.0,
    "reflectance": 1.0,
    "expression": 1.0,
    "illumination": 0.3,
}
_BASEL_LIGHT = 0.4 * np.sqrt(np.pi).item()

NetworkConfig = (
    ReconstructionConfig
    | AlexNetReconstructionConfig
    | VGGFaceReconstructionConfig
    | ResNetReconstructionConfig
)


@dataclasses.dataclass(frozen=True)
class MoFASettings:
    """Training of a face reconstruction network.

    The weights are this library's, for the embedded world: the paper's belong to its own model's
    units.
    """

    network: NetworkConfig
    """Of a narrow network, or of one on a published trunk (the paper's are AlexNet's and
    VGG-Face's)."""
    steps: int
    batch_size: int = 32
    microbatches: int = 1
    """Equal parts of a batch, whose gradients are accumulated: docs/training.md."""
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    photometric_weight: float = 2.0
    landmark_weight: float = 1000.0
    identity_weight: float = 4e-3
    reflectance_weight: float = 8e-3
    expression_weight: float = 6e-3
    translation_weight: float = 2e-3
    illumination_weight: float = 1e-2
    occlusion_threshold_init: float = dataclasses.field(
        default=0.5, metadata={"formerly": "occluded_first"}
    )
    occluded: float = 0.08
    """Colour distance (of RGB in [-1, 1]) beyond which a vertex counts as occluded: at the first
    step, and from the middle of the training on; geometric in between."""
    ema_half_life: float = 20_000.0
    """Half-life of the EMA of the weights, in images."""

    @property
    def trains(self) -> str:
        """The role ``reconstruction``."""
        return "reconstruction"

    def __post_init__(self):
        if self.network.outputs != 257:
            raise ValueError(
                f"MoFASettings: the face model has 257 parameters, the network gives "
                f"{self.network.outputs}."
            )

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, jax.Array] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Begins with the role ``reconstruction`` where it is given, or with the weights of ``trunk``
        under a fresh end. The face model is the role ``face_model``, a `BaselModel`, where it is
        given, else the embedded world's. Scores are `parameter_errors` on held-out portraits of the
        embedded world; there are none with another face model, whose parameters no data set knows.

        Raises:
          UsageError: a network given cannot play its role.
        """
        basel, initial = networks.get("face_model"), networks.get("reconstruction")
        trunk = networks.get("trunk")
        if basel is not None and not isinstance(basel, BaselModel):
            raise UsageError(
                f"mofa: expected a BaselModel as face_model, got a {type(basel).__name__}"
            )
        if initial is not None and trunk is not None:
            raise UsageError("mofa: give a whole reconstruction or a trunk to begin with, not both")
        constants = models(basel)
        try:
            state = initial_state(self, constants, key, initial, trunk=trunk)
        except ValueError as error:
            raise UsageError(f"mofa: {error}") from error
        return single_stage_recipe(
            self,
            reconstruction_phase(self),
            state,
            fields=("image", "landmarks"),
            parameters=state.network,
            finished=lambda state: state.average,
            constants=constants,
            score=None if held_out is None or basel is not None else _score(held_out),
        )


class Models(struct.PyTreeNode):
    """What the loss knows of faces."""

    face: FaceModels
    mean: jax.Array
    """Of the flat parameters, [257]."""
    deviation: jax.Array
    """Their standard deviations, [257]."""
    light_whitening: jax.Array
    """[27, 27]: a light's offset from the mean, times this, is in standard deviations along the
    principal axes of light."""


def models(basel: BaselModel | None = None) -> Models:
    """A Basel Face Model's, or the embedded world's.

    Raises:
      WeightsError: the Basel Face Model has no expressions or no landmarks.
    """
    if basel is not None:
        light = ambient_light(jnp.full((1, 3), _BASEL_LIGHT)).reshape(-1)
        mean = {name: jnp.zeros(width) for name, width in WIDTHS.items()} | {"illumination": light}
        scale = {name: jnp.full(width, _BASEL_DEVIATIONS[name]) for name, width in WIDTHS.items()}
        return Models(
            face=basel_models(basel),
            mean=FaceParameters(**mean).flat,
            deviation=FaceParameters(**scale).flat,
            light_whitening=jnp.eye(WIDTHS["illumination"]) / _BASEL_DEVIATIONS["illumination"],
        )
    faces = sample_scenes(jax.random.key(0), _PRIOR_SCENES).face
    flat = np.asarray(faces.flat)
    return Models(
        face=embedded_models(),
        mean=jnp.asarray(flat.mean(axis=0)),
        deviation=jnp.asarray(flat.std(axis=0)),
        light_whitening=jnp.asarray(_whitening(np.asarray(faces.illumination))),
    )


def _whitening(samples: np.ndarray) -> np.ndarray:
    """[P, P] that turns offsets from the mean of samples [N, P] into standard deviations along the
    principal axes of their correlation matrix."""
    variances, axes = np.linalg.eigh(np.corrcoef(samples, rowvar=False))
    deviations = np.sqrt(np.maximum(variances, _LIGHT_FLOOR**2))
    whitening = axes / samples.std(axis=0)[:, None] / deviations
    return whitening.astype(np.float32)


def initial_state(
    settings: MoFASettings,
    models: Models,
    key: jax.Array,
    network: Any = None,
    *,
    trunk: nnx.Module | None = None,
) -> AveragedState:
    """A fresh network whose first answer is the average face, or the one given.

    Args:
      settings: its `network` sizes a fresh one.
      models: of the face whose average it is.
      key: typed key of a fresh network's weights.
      network: to begin with instead.
      trunk: published weights for a fresh network, see `load_backbone`.

    Raises:
      ValueError: the trunk does not fit the network.
    """
    if network is None:
        network = make_reconstruction(settings.network, rngs=nnx.Rngs(key))
        network.mean[...] = models.mean
        network.scale[...] = models.deviation
        if trunk is not None:
            load_backbone(network, trunk)
    return averaged.init_state(network, _optimizer(settings))


def render_terms(
    models: FaceModels,
    face: FaceParameters,
    images: jax.Array,
    landmarks: jax.Array,
    occluded: jax.Array | float | None = None,
) -> dict[str, jax.Array]:
    """How far N rendered faces are from portraits: MoFA's equations 7 and 6.

    Args:
      models: of the face.
      face: N faces.
      images: [N, R, R, 3] in [-1, 1].
      landmarks: [N, 68, 2] in pixels of R.
      occluded: see `jaxface.morphable.photometric.photometric_energy`.

    Returns:
      ``photometric`` and ``landmark``, [N] each; the latter in squared units of the side.
    """
    size = images.shape[1]
    chosen = jnp.asarray(LANDMARKS_66)
    offset = (project_landmarks(models.landmarks, face, size) - landmarks)[:, chosen] / size
    return {
        "photometric": photometric_energy(models.region, face, images, occluded),
        "landmark": jnp.mean(jnp.sum(jnp.square(offset), axis=-1), axis=-1),
    }


class OcclusionSchedule(Protocol):
    """Settings whose threshold of occlusion falls during training, see `MoFASettings`."""

    @property
    def steps(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def occlusion_threshold_init(self) -> float: ...
    @property
    def occluded(self) -> float: ...


def occlusion_threshold(settings: OcclusionSchedule, seen: jax.Array) -> jax.Array:
    """The colour distance beyond which a vertex counts as occluded, after `seen` items."""
    annealed = 0.5 * settings.steps * settings.batch_size
    fall = settings.occluded / settings.occlusion_threshold_init
    return settings.occlusion_threshold_init * fall ** jnp.minimum(1.0, seen / annealed)


def reconstruction_energy(
    settings: MoFASettings,
    models: Models,
    face: FaceParameters,
    images: jax.Array,
    landmarks: jax.Array,
    occluded: jax.Array | float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of each face, [N], and its terms without their weights.

    Args:
      models: see `models`.
      face: N faces.
      images: [N, R, R, 3] in [-1, 1].
      landmarks: [N, 68, 2] in pixels of R.
      occluded: see `MoFASettings`.
    """
    mean, deviation = (FaceParameters.from_flat(f) for f in (models.mean, models.deviation))

    translation = (face.translation - mean.translation) / deviation.translation
    light = (face.illumination - mean.illumination) @ models.light_whitening
    terms = render_terms(models.face, face, images, landmarks, occluded) | {
        "identity": jnp.mean(jnp.square(face.identity), axis=-1),
        "reflectance": jnp.mean(jnp.square(face.reflectance), axis=-1),
        "expression": jnp.mean(jnp.square(face.expression), axis=-1),
        "translation": jnp.mean(jnp.square(translation), axis=-1),
        "illumination": jnp.mean(jnp.square(light), axis=-1),
    }
    weights = {name: getattr(settings, f"{name}_weight") for name in terms}
    weighted = [weights[name] * term for name, term in terms.items()]
    return jnp.sum(jnp.stack(weighted), axis=0), terms


def reconstruction_phase(settings: MoFASettings) -> Phase:
    """The one phase of a step, for `jaxface.training.loop.fit`; its constants are `Models`."""
    optimizer = _optimizer(settings)

    def loss_fn(network, part, models, seen):
        images, landmarks = part
        face = FaceParameters.from_flat(network(images))
        losses, terms = reconstruction_energy(
            settings, models, face, images, landmarks, occlusion_threshold(settings, seen)
        )
        return jnp.mean(losses), {name: jnp.mean(term) for name, term in terms.items()}

    def step(state: AveragedState, constants: Models, batch: Batch, key: jax.Array):
        del key
        images = batch["image"]
        images = from_uint8(images) if images.dtype == jnp.uint8 else images
        state, loss, terms = averaged.train_step(
            state,
            lambda network, part: loss_fn(network, part, constants, state.items_seen),
            (images, batch["landmarks"]),
            optimizer=optimizer,
            half_life=settings.ema_half_life,
            microbatches=settings.microbatches,
        )
        return state, {"loss": loss, **terms}

    return Phase("mofa", step)


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


def _optimizer(settings: MoFASettings) -> optax.GradientTransformation:
    return adam_with_warmup_cosine(
        settings.learning_rate, warmup_steps=settings.warmup_steps, steps=settings.steps
    )


def _score(held_out: Mapping[str, jax.Array]) -> Callable[[AveragedState], dict[str, float]]:
    predict = jax.jit(lambda network, images: network(from_uint8(images)))
    true = scene_from_gaussian(jnp.asarray(held_out["factors"])).face

    def score(state: AveragedState) -> dict[str, float]:
        predicted = FaceParameters.from_flat(predict(state.average, held_out["image"]))
        return {name: float(value) for name, value in parameter_errors(predicted, true).items()}

    return score
