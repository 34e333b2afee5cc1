"""Validation of a Latent Difference Encoder on portraits that it is not trained on.

Each held-out portrait is drawn with its wish. ``landmark_error``: mean distance of the landmarks
that the suite's network reads in the result from the wished ones, as a share of the face's size
(`jaxface.metrics.nme`, "box"). ``csim``: cosine of the recognition network's embeddings of portrait
and result; ``csim_inversion``: the same of the inversion, which the result cannot be expected to
pass. ``cycle``: mean square between the code that the way back gives and the portrait's own.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.losses import identity
from jaxface.methods.latent_difference.items import items_of
from jaxface.methods.latent_difference.losses import Frozen, Items, drawn, image_of, manipulated
from jaxface.methods.latent_difference.settings import LatentDifferenceSettings
from jaxface.metrics import nme

SCORED = 64
"""Portraits at most."""
CHUNK = 16
SHOWN = 8
"""Portraits on a sheet of samples, each with its wish, the result and its inversion."""

LANDMARK_SCALE = 10.0
"""A percent of landmark error weighs as much as a tenth of a cosine."""


def merit(scores: Mapping[str, float]) -> float:
    """By what the best networks are chosen: ``csim`` less ten times ``landmark_error``."""
    return scores["csim"] - LANDMARK_SCALE * scores["landmark_error"]


def validation(
    settings: LatentDifferenceSettings,
    frozen: Frozen,
    judges: Mapping[str, Any],
    held_out: Mapping[str, Any],
) -> tuple[Callable[[Any], dict[str, float]], Callable[[Any], np.ndarray]]:
    """A recipe's `score` and `sample_images`.

    Args:
      settings: of the training.
      frozen: its frozen networks.
      judges: ``landmarks`` and ``recognition``, those that there are.
      held_out: the fields of `settings`, [N, ...].
    """
    settings = dataclasses.replace(settings, expression_gain=1.0)
    count = min(SCORED, len(held_out["image"])) // CHUNK * CHUNK or len(held_out["image"])
    chunk = min(CHUNK, count)
    batches = [
        {name: jnp.asarray(held_out[name][first : first + chunk]) for name in settings.fields}
        for first in range(0, count, chunk)
    ]

    @jax.jit
    def pass_of(network: Any, frozen: Frozen, batch: Any) -> tuple[Items, jax.Array, jax.Array]:
        items = items_of(settings, frozen, batch)
        source = items.images if settings.naive else items.w_plus
        wm = manipulated(settings, network, source, items.wished)
        return items, wm, image_of(settings, frozen.generator, wm)

    @jax.jit
    def judged(network: Any, frozen: Frozen, judges: Any, batch: Any) -> dict[str, jax.Array]:
        items, wm, image = pass_of(network, frozen, batch)
        found = {}
        if not settings.naive:
            wr = manipulated(settings, network, wm, items.own)
            found["cycle"] = jnp.mean(jnp.square(wr - items.w_plus), axis=(1, 2))
        if "landmarks" in judges:
            points = judges["landmarks"](image)
            found["landmark_error"] = nme(points, items.wished, normaliser="box")
        if "recognition" in judges:
            wanted = judges["recognition"](items.images)
            found["csim"] = identity.similarity(judges["recognition"](image), wanted)
            if not settings.naive:
                inverted = image_of(settings, frozen.generator, items.w_plus)
                seen = judges["recognition"](inverted)
                found["csim_inversion"] = identity.similarity(seen, wanted)
        return found

    def score(state: Any) -> dict[str, float]:
        parts = [jax.device_get(judged(state.used, frozen, judges, batch)) for batch in batches]
        return {n: float(np.mean(np.concatenate([p[n] for p in parts]))) for n in parts[0]}

    def sample_images(state: Any) -> np.ndarray:
        items, _, image = pass_of(state.used, frozen, batches[0])
        wishes = drawn(settings, items.wished, image.shape[1])
        columns = [items.images, wishes, image]
        if not settings.naive:
            columns.append(image_of(settings, frozen.generator, items.w_plus))
        shown = jnp.stack(columns, axis=1)[:SHOWN]
        return np.asarray(shown.reshape(-1, *image.shape[1:]))

    return score, sample_images
