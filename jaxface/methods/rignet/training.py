"""StyleRig's losses, and training by them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxface.errors import UsageError
from jaxface.methods import mofa
from jaxface.methods.known_scenes import world_of_samples
from jaxface.methods.rignet.latents import (
    Models,
    draw_latents,
    frozen_models,
    read_all,
    sample_latents,
    swap_pairs,
    synthesize_and_reconstruct,
)
from jaxface.methods.rignet.linear_start import linear_start
from jaxface.methods.rignet.scores import edit_scores, edit_sheet, held_out_latents
from jaxface.morphable import SEMANTIC_GROUPS, FaceParameters
from jaxface.morphable.annotation import project_landmarks
from jaxface.morphable.bases import basis_of
from jaxface.morphable.parameters import WIDTHS
from jaxface.nets import RigNet, RigNetConfig
from jaxface.runtime.devices import apart, beside
from jaxface.training import averaged
from jaxface.training.averaged import AveragedState
from jaxface.training.beginning import needed_network
from jaxface.training.loop import Phase
from jaxface.training.optimizers import adam_with_warmup_cosine
from jaxface.training.recipe import Recipe, single_stage_recipe

Batch = Mapping[str, jax.Array]

_PRIOR_LATENTS = 512  # whose parameters set the units of RigNet


@dataclasses.dataclass(frozen=True)
class RigNetSettings:
    """Training of one group's network.

    Attributes:
      group: pose, expression or illumination.
      steps: of `batch_size` latents, each of which is edited once.
      batch_size: even.
      microbatches: equal parts of a batch, of whole pairs, whose gradients are accumulated; see
        docs/training.md.
      hidden: width of the code of a row of W+, see `RigNetConfig`.
      learning_rate: of Adam, at its highest.
      warmup_steps: of its linear growth.
      reconstruction_weight: of the reconstruction loss, in units of the variance of W.
      edit_weight: of the edit loss.
      consistency_weight: of the consistency loss.
      photometric_weight: in L_render.
      landmark_weight: in L_render, of squared distances in units of the image's side.
      occlusion_threshold_init: colour distance (of RGB in [-1, 1]) beyond which a vertex counts as
        occluded, at the first step.
      occluded: the same from the middle of the training on; geometric in between.
      mixing_probability: share of the latents whose rows from a random one onwards come from
        another (style mixing, Karras et al. 2019, section 3.1).
      known_scenes: z begins with a scene's whitened factors, as in the generators of the embedded
        worlds: scores compare with the true parameters. Otherwise with what F predicts.
      ema_half_life: half-life of the EMA of the weights, in latents.
      resolution: of the images, one that the generator has; None: its own.
      begins_linear: a fresh network is not the identity but regressed on the samples that its units
        come from, see `jaxface.methods.rignet.linear_start`.

    Raises:
      ValueError: an odd batch, or a share outside 0 to 1.
    """

    group: str
    steps: int
    batch_size: int = 16
    microbatches: int = 1
    hidden: int = 32
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    reconstruction_weight: float = 1.0
    edit_weight: float = 1.0
    consistency_weight: float = 1.0
    photometric_weight: float = 2.0
    landmark_weight: float = 300.0
    occlusion_threshold_init: float = dataclasses.field(
        default=0.5, metadata={"formerly": "occluded_first"}
    )
    occluded: float = 0.1
    mixing_probability: float = 0.5
    known_scenes: bool = False
    ema_half_life: float = 5_000.0
    resolution: int | None = None
    begins_linear: bool = False

    def __post_init__(self):
        RigNetConfig(self.group, num_ws=1, hidden=self.hidden)  # refuses what it cannot be
        if self.batch_size < 2 or self.batch_size % 2:
            raise ValueError(f"RigNetSettings: batch_size must be even, got {self.batch_size}.")
        if not 0.0 <= self.mixing_probability <= 1.0:
            raise ValueError(
                "RigNetSettings: mixing_probability must be in 0 to 1, got "
                f"{self.mixing_probability}."
            )

    @property
    def trains(self) -> str:
        """The role ``rignet_<group>``."""
        return f"rignet_{self.group}"

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, jax.Array] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Reads the roles ``generator`` and ``reconstruction``, begins with ``rignet_<group>`` where
        it is given. Scores and images: `jaxface.methods.rignet.scores`, of the EMA network.

        Raises:
          UsageError: a network is missing or does not fit, or the held-out latents are no pairs.
        """
        generator = needed_network("rignet", networks, "generator", why="it draws")
        why = "it reads the faces that are edited"
        reader = needed_network("rignet", networks, "reconstruction", why=why)
        if self.known_scenes:
            basis = basis_of(reader)
            world_of_samples("rignet", generator, basis)
        models_key, state_key = jax.random.split(key)
        frozen = frozen_models(generator, reader, models_key, resolution=self.resolution)
        state = initial_state(self, frozen, state_key, networks.get(self.trains))
        score = sample_images = None
        if held_out is not None:
            score, sample_images = _eval_hooks(self, frozen, held_out["key"])
        return single_stage_recipe(
            self,
            rig_phase(self),
            state,
            fields=("key",),
            parameters=state.network,
            finished=lambda state: state.average,
            group_size=2,
            constants=frozen,
            score=score,
            sample_images=sample_images,
        )


def rig_losses(
    settings: RigNetSettings,
    models: Models,
    network: RigNet,
    w_plus: jax.Array,
    occluded: jax.Array | float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of each latent w, [N], with its partner as v, and its three terms without weights.

    Args:
      models: frozen.
      network: RigNet.
      w_plus: [N, L, w_dim], N even.
      occluded: see `RigNetSettings`.
    """
    group = settings.group
    images, faces = jax.lax.stop_gradient(synthesize_and_reconstruct(models, w_plus))
    landmarks = project_landmarks(models.face.landmarks, faces, images.shape[1])
    own = faces.group(group)
    unchanged = network(w_plus, own) - w_plus
    _, edited = synthesize_and_reconstruct(models, network(w_plus, swap_pairs(own)))

    wanted_images, wanted_faces, wanted_landmarks = swap_pairs((images, faces, landmarks))
    rendered_faces = [wanted_faces.with_group(group, edited), edited.with_group(group, faces)]
    # Both renderings at once: half of the program to compile.
    distances = mofa.render_terms(
        models.face,
        beside(*rendered_faces),
        beside(wanted_images, images),
        beside(wanted_landmarks, landmarks),
        occluded,
    )
    rendered = (
        settings.photometric_weight * distances["photometric"]
        + settings.landmark_weight * distances["landmark"]
    )
    edit, consistency = apart(rendered, 2)
    terms = {
        "reconstruction": jnp.mean(jnp.square(unchanged), axis=(1, 2)) / models.w_variance,
        "edit": edit,
        "consistency": consistency,
    }
    weighted = [getattr(settings, f"{name}_weight") * term for name, term in terms.items()]
    return jnp.sum(jnp.stack(weighted), axis=0), terms


def rig_phase(settings: RigNetSettings) -> Phase:
    """The one phase of a step, for `jaxface.training.loop.fit`; its constants are `Models`."""
    optimizer = _optimizer(settings)

    def loss_fn(network, w_plus, models, seen):
        threshold = mofa.occlusion_threshold(settings, seen)
        losses, terms = rig_losses(settings, models, network, w_plus, threshold)
        return jnp.mean(losses), {name: jnp.mean(term) for name, term in terms.items()}

    def step(state: AveragedState, constants: Models, batch: Batch, key: jax.Array):
        del key  # an item's key is its own
        keys = jax.random.wrap_key_data(batch["key"])
        w_plus = sample_latents(constants.generator, keys, settings.mixing_probability)
        state, loss, terms = averaged.train_step(
            state,
            lambda network, part: loss_fn(network, part, constants, state.items_seen),
            w_plus,
            optimizer=optimizer,
            half_life=settings.ema_half_life,
            microbatches=settings.microbatches,
            group=2,
        )
        return state, {"loss": loss, **terms}

    return Phase("rignet", step)


def initial_state(
    settings: RigNetSettings, models: Models, key: jax.Array, network: RigNet | None = None
) -> AveragedState:
    """A fresh network, which is the identity unless the settings say otherwise, or the one given.

    One of a generator with fewer rows of W+ gets the rows that are missing, which it leaves alone
    at first (`RigNet.with_rows`). A fresh one's units come from F's predictions for sampled
    latents: each parameter's mean, and one scale for each field, so that a mode that F seldom sees
    is not blown up.

    Raises:
      UsageError: the network given has other sizes, or more rows than the generator.
    """
    generator = models.generator
    config = RigNetConfig(
        settings.group,
        num_ws=generator.num_ws,
        w_dim=generator.config.w_dim,
        hidden=settings.hidden,
    )
    if network is None:
        network_key, latents_key = jax.random.split(key)
        network = RigNet(config, rngs=nnx.Rngs(network_key))
        w_plus = draw_latents(generator, jax.random.split(latents_key, _PRIOR_LATENTS))
        faces = read_all(models, w_plus)
        network.mean[...], network.scale[...] = _units(settings.group, faces)
        if settings.begins_linear:
            network = linear_start(network, w_plus[:, 0], faces.group(settings.group))
    else:
        alike = dataclasses.replace(network.config, num_ws=config.num_ws) == config
        if not alike or network.config.num_ws > config.num_ws:
            raise UsageError(
                f"rignet: the network to begin with is {network.config}, the settings and the "
                f"generator say {config}"
            )
        network = network.with_rows(config.num_ws, rngs=nnx.Rngs(key))
    return averaged.init_state(network, _optimizer(settings))


def _units(group: str, faces: FaceParameters) -> tuple[jax.Array, jax.Array]:
    """Mean and scale [P] of a group's parameters over faces that were read."""
    scales = []
    for field in SEMANTIC_GROUPS[group]:
        variance = jnp.mean(jnp.var(getattr(faces, field), axis=0))
        # A constant estimate leaves nothing to scale by.
        scale = jnp.where(variance > 0, jnp.sqrt(variance), 1.0)
        scales.append(jnp.full((WIDTHS[field],), scale))
    return jnp.mean(faces.group(group), axis=0), jnp.concatenate(scales)


def _optimizer(settings: RigNetSettings) -> optax.GradientTransformation:
    return adam_with_warmup_cosine(
        settings.learning_rate, warmup_steps=settings.warmup_steps, steps=settings.steps
    )


def _eval_hooks(
    settings: RigNetSettings, frozen: Models, keys: jax.Array
) -> tuple[Callable[[AveragedState], dict[str, float]], Callable[[AveragedState], jax.Array]]:
    """The recipe's `score` and `sample_images`, on the latents of held-out keys [N, 2]."""
    if len(keys) % 2:
        raise UsageError(
            f"rignet: held-out latents are edited in pairs, got {len(keys)}; set an even num_test"
        )
    group = settings.group
    latents = held_out_latents(group, frozen, np.asarray(keys), known_scenes=settings.known_scenes)
    sheet = edit_sheet(group, frozen, latents)
    return (
        lambda state: edit_scores(group, frozen, state.average, latents),
        lambda state: sheet(state.average),
    )
