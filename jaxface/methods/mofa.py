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
The face model is the embedded world's, of the version that the network's `basis` names, or a Basel
Face Model as in the paper (`models`). The embedded world knows the true parameters, so held-out
portraits tell the encoder's error in radians, standard deviations and shares
(`parameter_errors`). The paper's loss never sees them. Where `truth_weight` is not 0, the loss has
one more term, which is not the paper's: the squared difference from the true parameters, a batch's
``face`` [N, 257], in standard deviations of each; and with `unit_weight` once more of ARKit's units
alone, which are few among them. A network that looks closer at eyes and mouth
(`jaxface.nets.reconstruction.close_ups`) is told by the landmarks where they are.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct

from jaxface.errors import UsageError
from jaxface.media.images import as_float
from jaxface.methods.face_errors import scores_of
from jaxface.morphable import (
    LANDMARKS_66,
    BaselModel,
    FaceParameters,
)
from jaxface.morphable.annotation import feature_boxes, project_landmarks
from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.bases import basis_of
from jaxface.morphable.illumination import ambient_light
from jaxface.morphable.models import FaceModels, basel_models
from jaxface.morphable.parameters import WIDTHS
from jaxface.morphable.photometric import photometric_energy
from jaxface.morphable.worlds import world_of_basis
from jaxface.nets import (
    AlexNetReconstructionConfig,
    ReconstructionConfig,
    ResNetReconstructionConfig,
    VGGFaceReconstructionConfig,
)
from jaxface.nets.reconstruction.backbones import load_backbone, make_reconstruction
from jaxface.nets.reconstruction.close_ups import place_loss
from jaxface.training import averaged
from jaxface.training.averaged import AveragedState
from jaxface.training.beginning import network_to_begin_with
from jaxface.training.loop import Phase
from jaxface.training.optimizers import adam_with_warmup_cosine
from jaxface.training.recipe import Recipe, single_stage_recipe
from jaxface.vocabulary import Basis

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
    truth_weight: float = 0.0
    """Of the mean squared difference from the true parameters, in standard deviations."""
    unit_weight: float = 0.0
    """Of the same of ARKit's units; of a network of the basis "anatomical" alone."""
    place_weight: float = 300.0
    """Of where a network with close-ups looks, see `close_ups.place_loss`."""
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
        if self.unit_weight and basis_of(self.network) != "anatomical":
            raise ValueError(
                "MoFASettings: unit_weight is of ARKit's units, which faces of the basis "
                f"{basis_of(self.network)!r} have not."
            )

    @property
    def learns_from_truth(self) -> bool:
        """Whether the loss reads the true parameters."""
        return self.truth_weight > 0 or self.unit_weight > 0

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
        basis = basis_of(self.network)
        constants = models(basel, basis=basis)
        score = None
        if held_out is not None and basel is None:
            score = scores_of(held_out, constants.face.landmarks, constants.deviation, basis)
        try:
            state = initial_state(self, constants, key, initial, trunk=trunk)
        except ValueError as error:
            raise UsageError(f"mofa: {error}") from error
        return single_stage_recipe(
            self,
            reconstruction_phase(self),
            state,
            fields=("image", "landmarks", *(("face",) if self.learns_from_truth else ())),
            parameters=state.network,
            finished=lambda state: state.average,
            constants=constants,
            score=score,
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


def models(basel: BaselModel | None = None, *, basis: Basis = "embedded") -> Models:
    """A Basel Face Model's, or the embedded world's.

    Args:
      basel: the model.
      basis: of the embedded world, "anatomical" for version 3.

    Raises:
      WeightsError: the Basel Face Model has no expressions or no landmarks.
      ValueError: a basis of no embedded world.
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
    of = world_of_basis(basis)
    if of is None:
        raise ValueError(f"faces of the basis {basis!r} are of no embedded world.")
    faces = of.scenes(jax.random.normal(jax.random.key(0), (_PRIOR_SCENES, of.num_factors))).face
    flat = np.asarray(faces.flat)
    return Models(
        face=of.parts(),
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
      UsageError: the network given has other sizes than the settings name.
      ValueError: the trunk does not fit the network.
    """

    def fresh() -> Any:
        network = make_reconstruction(settings.network, rngs=nnx.Rngs(key))
        network.mean[...] = models.mean
        network.scale[...] = models.deviation
        if trunk is not None:
            load_backbone(network, trunk)
        return network

    network = network_to_begin_with("reconstruction", network, settings.network, fresh)
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
    close_ups = isinstance(settings.network, ReconstructionConfig) and settings.network.close_ups

    def loss_fn(network, part, models, seen):
        images, landmarks, *truth = part
        flat, places = network.read(images) if close_ups else (network(images), None)
        losses, terms = reconstruction_energy(
            settings,
            models,
            FaceParameters.from_flat(flat),
            images,
            landmarks,
            occlusion_threshold(settings, seen),
        )
        if truth:
            off = FaceParameters.from_flat(jnp.square((flat - truth[0]) / models.deviation))
            terms["truth"] = jnp.mean(off.flat, axis=-1)
            losses += settings.truth_weight * terms["truth"]
            if settings.unit_weight:
                terms["units"] = jnp.mean(off.expression[:, : len(ARKIT_UNITS)], axis=-1)
                losses += settings.unit_weight * terms["units"]
        if places is not None:
            terms["places"] = place_loss(places, feature_boxes(landmarks) / images.shape[1])
            losses += settings.place_weight * terms["places"]
        return jnp.mean(losses), {name: jnp.mean(term) for name, term in terms.items()}

    def step(state: AveragedState, constants: Models, batch: Batch, key: jax.Array):
        del key
        images = as_float(batch["image"])
        truth = (batch["face"],) if settings.learns_from_truth else ()
        state, loss, terms = averaged.train_step(
            state,
            lambda network, part: loss_fn(network, part, constants, state.items_seen),
            (images, batch["landmarks"], *truth),
            optimizer=optimizer,
            half_life=settings.ema_half_life,
            microbatches=settings.microbatches,
        )
        return state, {"loss": loss, **terms}

    return Phase("mofa", step)


def _optimizer(settings: MoFASettings) -> optax.GradientTransformation:
    return adam_with_warmup_cosine(
        settings.learning_rate, warmup_steps=settings.warmup_steps, steps=settings.steps
    )
