"""What is wished of the Latent Difference Encoder beside its table: edits by hand, and how far the
wished landmarks themselves are from the true ones."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation.encoders import CHUNK, eight_bits, inverted
from jaxface.evaluation.latent_difference_rows import WISHES, points_read
from jaxface.media.images import from_uint8, to_uint8
from jaxface.media.landmark_images import landmark_images
from jaxface.methods import encoder
from jaxface.methods.latent_difference.redrawing import (
    Redrawing,
    Seen,
    redraw,
    redrawing_of,
    see,
    wished,
)
from jaxface.metrics import nme
from jaxface.runtime.chunks import by_chunks
from jaxface.suite import Suite

OPENED, RAISED = 0.12, 0.07
"""How far lower lip and chin, and brows, are moved by hand, in shares of the face's height."""


def edited_by_hand(points: np.ndarray) -> dict[str, np.ndarray]:
    """Landmarks with the mouth opened, and with the brow at the image's left raised, [68, 2]."""
    height = np.ptp(points[:, 1])
    opened, raised = points.copy(), points.copy()
    opened[[*range(55, 60), 65, 66, 67], 1] += OPENED * height  # the lower lip
    opened[4:13, 1] += 0.6 * OPENED * height  # the chin follows
    raised[17:22, 1] -= RAISED * height
    return {"mouth opened": opened, "brow raised": raised}


def spread(points: np.ndarray) -> dict[str, np.ndarray]:
    """What `edited_by_hand` changes, of landmarks [N, 68, 2]: how far the lips are apart, and the
    brow at the image's left from its eye, [N] in pixels."""
    down = points[..., 1]
    eye = down[:, [36, 37, 38, 39, 40, 41]].mean(axis=1)
    return {
        "mouth opened": down[:, 65:68].mean(axis=1) - down[:, 61:64].mean(axis=1),
        "brow raised": eye - down[:, 17:22].mean(axis=1),
    }


def followed(suite: Suite, known: Mapping[str, Any]) -> dict[str, float]:
    """The share of an edit by hand that is read in what is redrawn.

    Each portrait is redrawn with its own landmarks and with those of `edited_by_hand`, and `spread`
    is read in both: the sum of the changes over the sum of the wished ones.
    """
    inversion = encoder.Settings()
    networks, redrawing = inversion.networks(suite, jax.random.key(0)), redrawing_of(suite)

    def changes(images: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        portraits = from_uint8(jnp.asarray(images))
        w_plus, _ = inverted(inversion, networks, portraits)

        def read(points: np.ndarray) -> dict[str, np.ndarray]:
            drawn = _redraw(redrawing, networks.generator, w_plus, jnp.asarray(points))
            return spread(np.asarray(points_read(redrawing.landmarks, eight_bits(drawn))))

        own = np.asarray(_seen(redrawing, portraits).points)
        by_hand = [edited_by_hand(points) for points in own]
        before, asked, found = read(own), spread(own), {}
        for name in by_hand[0]:
            points = np.stack([each[name] for each in by_hand])
            found[name] = {
                "reached": read(points)[name] - before[name],
                "wanted": spread(points)[name] - asked[name],
            }
        return found

    found = by_chunks(changes, known["image"], size=CHUNK)
    return {
        name: float(each["reached"].sum() / each["wanted"].sum()) for name, each in found.items()
    }


def wishes_measured(suite: Suite, known: Mapping[str, Any]) -> dict[str, float]:
    """By how much the wished landmarks themselves differ from the true ones, of `WISHES`: percent
    of the face, as in ``table_true``. Wishes are made of landmarks and faces that are read."""
    redrawing, size = redrawing_of(suite), suite.generator.resolution
    goals = {"taken": known["other"], "own": known["true"]}

    def errors(images: np.ndarray, others: np.ndarray, goals: Any) -> dict[str, jax.Array]:
        own, other = (_seen(redrawing, from_uint8(jnp.asarray(each))) for each in (images, others))
        points = {wish: wished(redrawing, own, other, size, proportions=wish) for wish in WISHES}
        return {wish: nme(points[wish], goals[wish], normaliser="box") for wish in WISHES}

    images = known["image"]
    found = by_chunks(errors, images, np.roll(images, 1, axis=0), goals, size=CHUNK)
    return {wish: 100 * float(each.mean()) for wish, each in found.items()}


def redrawn(suite: Suite, known: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
    """The first portraits redrawn by landmark images, for the sheet.

    Args:
      suite: has a ``latent_difference``.
      known: of `portraits_known`.
      count: how many.

    Returns:
      Title to uint8 [count, R, R, 3]: of each kind of wish the landmark image and what is drawn.
    """
    inversion = encoder.Settings()
    networks, redrawing = inversion.networks(suite, jax.random.key(0)), redrawing_of(suite)
    images, others = (
        from_uint8(jnp.asarray(known["image"][rows]))
        for rows in (np.arange(count), np.arange(count) - 1)
    )
    w_plus, inversions = inverted(inversion, networks, images)
    own, other = see(redrawing, images), see(redrawing, others)
    size = suite.generator.resolution
    by_hand = [edited_by_hand(np.asarray(points)) for points in own.points]
    wishes = {
        "own": own.points,
        "another's": wished(redrawing, own, other, size, proportions="own"),
        **{name: jnp.asarray(np.stack([each[name] for each in by_hand])) for name in by_hand[0]},
    }
    shown = {"portrait": known["image"][:count], "inversion": np.asarray(to_uint8(inversions))}
    for name, points in wishes.items():
        shown[f"{name}: lines"] = np.asarray(to_uint8(landmark_images(points, size)))
        drawn = _redraw(redrawing, networks.generator, w_plus, points)
        shown[name] = np.asarray(to_uint8(jnp.clip(drawn, -1, 1)))
    return shown


@jax.jit
def _seen(redrawing: Redrawing, images: jax.Array) -> Seen:
    return see(redrawing, images)


@jax.jit
def _redraw(redrawing: Redrawing, generator: Any, w_plus: Any, points: jax.Array) -> jax.Array:
    return redraw(redrawing, generator, w_plus, points, noise="const")[1]
