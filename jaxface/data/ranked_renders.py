"""Three renders each, of which it is known that the second is nearer to the first than the third.

A reference is a scene of the embedded world; the others are the same scene after changes, and one
has all that the other has, and more:

* further: one change, once by some amount and once by 1.5 to 3 times as much;
* more: one change; the same one, and another beside it.

Changes move a group of the scene's factors (`GROUPS`) along a direction of its own in each item, or
spoil the image (`FAULTS`): a blur, noise, a cast of colour.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data.scene_items import LivePortraits, item_keys, scene_factors
from jaxface.media.images import to_uint8
from jaxface.morphable.worlds import world

GROUPS: Mapping[str, tuple[str, ...]] = {
    "pose": ("rotation", "translation"),
    "expression": ("expression", "units", "gaze", "fine_expression"),
    "light": ("light_direction", "light_strength", "light_tint"),
    "skin": ("skin", "finish", "brow", "fine_reflectance"),
    "hair": ("hair_colour", "hair_style"),
    "surroundings": ("clothes", "background", "glasses"),
    "person": ("identity", "age", "origin"),
}
"""Names of a scene's factors, of every version of the world, by what they change together."""

FAULTS = ("blur", "noise", "cast")
"""What spoils an image. An amount of 1 is a blur of a deviation of 2% of the side, noise of a
deviation of 0.1 of the range [-1, 1], and colours multiplied by up to 1.25."""

CHANGES = (*GROUPS, *FAULTS)

_LEAST, _MOST = 0.2, 1.0  # amounts of a first change: factors are standard normal
_BLUR, _NOISE, _CAST = 0.02, 0.1, 0.25

FIELDS = ("reference", "near", "far", "change")


@dataclasses.dataclass(frozen=True)
class RankedRenders:
    """Ordered triplets, rendered on the device that trains; endless, nothing is stored.

    Fields: ``reference``, ``near`` and ``far``, uint8 [R, R, 3], and ``change``, the first change's
    index in `CHANGES`; held out too.
    """

    resolution: int
    version: str = "2.0.0"
    num_test: int = 256
    seed: int = 0

    @property
    def classes(self) -> Mapping[str, int]:
        """No labels."""
        return {}

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> LivePortraits:
        """In the order of the items' numbers, so that `seed` has no part in it."""
        del seed
        return LivePortraits(
            self.resolution,
            batch_size=size,
            seed=self.seed,
            fields=fields,
            version=self.version,
            items=ranked_items,
        )

    def held_out(self) -> dict[str, np.ndarray] | None:
        """The first `num_test` items of the test split."""
        if not self.num_test:
            return None
        keys = item_keys(self.seed, "test", jnp.arange(self.num_test))
        return jax.device_get(ranked_items(keys, self.resolution, version=self.version))

    def item_shapes(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """See `jaxface.data.sources.DescribesItems`."""
        image = jax.ShapeDtypeStruct((self.resolution, self.resolution, 3), np.uint8)
        return dict.fromkeys(FIELDS[:3], image) | {"change": jax.ShapeDtypeStruct((), np.int32)}


def ranked_items(
    keys: jax.Array, resolution: int, *, version: str = "2.0.0"
) -> dict[str, jax.Array]:
    """The triplets of n keys.

    Args:
      keys: typed keys [n].
      resolution: R, pixels per side.
      version: of the world.

    Returns:
      The fields of `RankedRenders`, [n, ...] each.

    Raises:
      ValueError: there is no world of this version.
    """
    of = world(version)
    factors = scene_factors(keys, version=version)
    drawn = _changes(keys, _masks(version))
    shown = [factors, *(factors + moved for moved in drawn["moved"])]
    images = [of.render(of.scenes(each), resolution) for each in shown]
    spoilt = [_spoil(image, drawn, which) for which, image in enumerate(images[1:])]
    named = zip(FIELDS[:3], (images[0], *spoilt), strict=True)
    return {name: to_uint8(image) for name, image in named} | {"change": drawn["change"]}


def _masks(version: str) -> np.ndarray:
    """[groups, factors]: 1 where a factor is a group's."""
    of = world(version)
    masks = np.zeros((len(GROUPS), of.num_factors), np.float32)
    for row, names in zip(masks, GROUPS.values(), strict=True):
        for name in names:
            if name in of.factors:
                row[of.factors[name]] = 1
    return masks


@jax.jit
def _changes(keys: jax.Array, masks: jax.Array) -> dict[str, Any]:
    """Of each key which change comes first; of ``near`` and ``far`` how far factors are ``moved``
    [n, F], and the ``faults`` [n, 3], with what they look like."""

    def one(key: jax.Array) -> dict[str, Any]:
        pick, size, along, tint, seed = jax.random.split(jax.random.fold_in(key, 1), 5)
        first, second = jax.random.choice(pick, len(CHANGES), (2,), replace=False)
        amount, other, times, more = jax.random.uniform(size, (4,))
        amount, other = (_LEAST * (_MOST / _LEAST) ** each for each in (amount, other))
        a, b = (jax.nn.one_hot(each, len(CHANGES)) for each in (first, second))
        near = amount * a
        far = jnp.where(more < 0.5, near * (1.5 + 1.5 * times), near + other * b)
        directions = masks * jax.random.normal(along, masks.shape)
        cast = jax.random.normal(tint, (3,))
        amounts = jnp.stack([near, far])
        return {
            "change": first,
            "moved": amounts[:, : len(masks)] @ directions,
            "faults": amounts[:, len(masks) :],
            "cast": cast / jnp.max(jnp.abs(cast)),
            "noise": seed,
        }

    drawn = jax.vmap(one)(keys)
    return drawn | {name: jnp.swapaxes(drawn[name], 0, 1) for name in ("moved", "faults")}


@functools.partial(jax.jit, static_argnames="which")
def _spoil(images: jax.Array, drawn: Mapping[str, jax.Array], which: int) -> jax.Array:
    """Images [n, R, R, 3] with their faults; the noise of a pair is one pattern."""
    blur, noise, cast = jnp.moveaxis(drawn["faults"][which], 1, 0)
    side = images.shape[1]
    apart = jnp.square(jnp.arange(side)[:, None] - jnp.arange(side))
    # A deviation of 0 is the image itself: its nearest neighbours weigh nothing.
    deviation = jnp.maximum(blur * _BLUR * side, 1e-3)
    weights = jnp.exp(-apart / (2 * jnp.square(deviation))[:, None, None])
    weights = weights / weights.sum(axis=-1, keepdims=True)
    images = jnp.einsum("nij,njwc,nkw->nikc", weights, images, weights)
    light = (images + 1) * (1 + _CAST * cast[:, None] * drawn["cast"])[:, None, None, :]
    pattern = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(drawn["noise"])
    return jnp.clip(light - 1 + _NOISE * noise[:, None, None, None] * pattern, -1, 1)
