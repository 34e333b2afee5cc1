"""Perceptual features of the embedded world: a VGG-form network trained to regress the scene.

VGG-16's features make a perceptual distance because the network had to recognise what is in a
image. A narrow network of the same form learns the same here by regressing the whitened scene
factors (pose, expression, light, skin, hair, ...) from renders. The head, a linear map of the mean
of every stage's last layer, is thrown away afterwards. Batches are
``{"image": [N, R, R, 3] uint8 or float32 in [-1, 1], "factors": [N, F] float32}``.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from jaxface.media.images import as_float, from_uint8
from jaxface.nets import VGG16, VGGConfig
from jaxface.training.loop import Phase
from jaxface.training.microbatches import mean_gradients
from jaxface.training.optimizers import adam_with_warmup_cosine
from jaxface.training.recipe import Recipe, single_stage_recipe

Batch = Mapping[str, jax.Array]

# The last layer of each stage: what the head pools.
POOLED_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")


@dataclasses.dataclass(frozen=True)
class FeatureSettings:
    """Training of the feature network."""

    network: VGGConfig
    num_factors: int
    """The first factors of a scene, those that are predicted."""
    steps: int
    batch_size: int = 32
    microbatches: int = 1
    """Equal parts of a batch, whose gradients are accumulated: docs/training.md."""
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    noise: float = 0.02
    """Deviation of the pixel noise added to the images, so that features do not hang on a single
    rendering's least bits."""

    @property
    def trains(self) -> str:
        """The role ``perceptual``."""
        return "perceptual"

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, jax.Array] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`; reads no network.

        The score is `explained_variance` on the held-out items.
        """
        del networks
        state = jax.jit(lambda key: initial_state(self, key))(key)
        return single_stage_recipe(
            self,
            feature_phase(self),
            state,
            fields=("image", "factors"),
            parameters=state.reader,
            finished=lambda state: state.reader.vgg,
            score=None if held_out is None else _score(self, held_out),
        )


class FactorRegressor(nnx.Module):
    """The feature network and the head that predicts the factors."""

    def __init__(self, config: VGGConfig, num_factors: int, *, rngs: nnx.Rngs):
        self.vgg = VGG16(config, rngs=rngs)
        width = sum(config.channels)
        # A head of zeros: the first prediction is the factors' mean, the first loss their variance.
        self.weight = nnx.Param(jnp.zeros((width, num_factors)))
        self.bias = nnx.Param(jnp.zeros((num_factors,)))

    def __call__(self, images: jax.Array) -> jax.Array:
        """Images [N, R, R, 3] in [-1, 1], R >= 16, to factors [N, num_factors]."""
        features = self.vgg.features(images, POOLED_LAYERS)
        pooled = [jnp.mean(features[name], axis=(1, 2)) for name in POOLED_LAYERS]
        return jnp.concatenate(pooled, axis=1) @ self.weight[...] + self.bias[...]


@struct.dataclass
class FeatureState:
    """Everything that training changes."""

    reader: FactorRegressor
    optimizer: Any


def initial_state(settings: FeatureSettings, key: jax.Array) -> FeatureState:
    """A fresh network."""
    reader = FactorRegressor(settings.network, settings.num_factors, rngs=nnx.Rngs(key))
    params = nnx.state(reader, nnx.Param)
    return FeatureState(reader=reader, optimizer=_optimizer(settings).init(params))


def factor_error(predicted: jax.Array, factors: jax.Array) -> jax.Array:
    """Mean squared error over the factors, [N]; 1 for predicting the mean."""
    return jnp.mean(jnp.square(predicted - factors), axis=1)


def feature_phase(settings: FeatureSettings) -> Phase:
    """The one phase of a step, for `jaxface.training.loop.fit`; it reads no constants.

    Metrics: ``loss``, the mean of `factor_error`, and ``explained``, the mean over the batch of the
    explained variance of the best-predicted quarter of the factors.
    """
    optimizer = _optimizer(settings)

    def loss_fn(params, part, graphdef):
        images, factors = part
        predicted = nnx.merge(graphdef, params)(images)
        return jnp.mean(factor_error(predicted, factors)), unexplained_share(predicted, factors)

    def step(state: FeatureState, constants, batch: Batch, key: jax.Array):
        del constants
        images = as_float(batch["image"])
        images = images + settings.noise * jax.random.normal(key, images.shape)
        factors = batch["factors"][:, : settings.num_factors]
        graphdef, params = nnx.split(state.reader, nnx.Param)
        (loss, unexplained), grads = mean_gradients(
            lambda params, part, _: loss_fn(params, part, graphdef),
            params,
            (images, factors),
            parts=settings.microbatches,
        )
        updates, optimizer_state = optimizer.update(grads, state.optimizer, params)
        reader = nnx.merge(graphdef, optax.apply_updates(params, updates))
        best = explained_variance(unexplained)
        return FeatureState(reader, optimizer_state), {"loss": loss, "explained": best}

    return Phase("features", step)


def unexplained_share(predicted: jax.Array, factors: jax.Array) -> jax.Array:
    """Share of each factor's variance that a prediction [N, F] leaves unexplained, [F].

    Factors are whitened: their variance is 1.
    """
    return jnp.mean(jnp.square(predicted - factors), axis=0)


def explained_variance(unexplained: jax.Array) -> jax.Array:
    """Share of the variance explained, averaged over the quarter of the factors predicted best.

    Most of the factors move an image by less than its noise and cannot be predicted, so the mean
    over all says little.

    Args:
      unexplained: see `unexplained_share`.
    """
    share = 1.0 - unexplained
    return jnp.mean(jax.lax.top_k(share, max(1, share.size // 4))[0])


def _optimizer(settings: FeatureSettings) -> optax.GradientTransformation:
    return adam_with_warmup_cosine(
        settings.learning_rate, warmup_steps=settings.warmup_steps, steps=settings.steps
    )


def _score(
    settings: FeatureSettings, held_out: Mapping[str, jax.Array]
) -> Callable[[FeatureState], dict[str, float]]:
    predict = jax.jit(lambda reader, images: reader(from_uint8(images)))
    images, factors = held_out["image"], held_out["factors"][:, : settings.num_factors]

    def score(state: FeatureState) -> dict[str, float]:
        unexplained = unexplained_share(predict(state.reader, images), factors)
        return {"explained": float(explained_variance(unexplained))}

    return score
