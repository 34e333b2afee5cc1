"""Distances of reenacted frames, in each of the readings that papers publish under one name.

Landmarks are in pixels of an image of `SIDE`, whatever the images' size, angles in degrees where
nothing else is said.

* AKD, average keypoint distance. ``akd_fomm``: the mean absolute difference of the landmarks'
  coordinates, as the code of Siarohin et al. 2019, "First Order Motion Model for Image Animation",
  has it. ``akd_l2``: the mean distance of the landmarks.
* AED. ``aed_fomm``: average Euclidean distance of embeddings of identity (Siarohin et al. 2019).
  ``aed_pirenderer``: average expression distance, the mean absolute difference of the model's
  expression coefficients (Ren et al. 2021, "PIRenderer").
* APD, average pose distance. ``apd_pirenderer``: the mean absolute difference of the model's pose:
  three angles in radians and the translation (Ren et al. 2021). ``apd_radians``: of the angles.
* Pose and expression of "Finding Directions in GAN's Latent Space for Neural Face Reenactment"
  (Bounareli et al. 2022), whose code takes the mean of the three angles' differences in degrees and
  that of coefficients over their ranges: `angle_distance`, `coefficient_distance`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

SIDE = 256
"""Pixels a side that landmarks are told in."""


def akd_fomm(measured: Float[Array, "n k 2"], wanted: Float[Array, "n k 2"]) -> Float[Array, " n"]:
    """Mean absolute difference of coordinates, [N]."""
    return jnp.mean(jnp.abs(measured - wanted), axis=(1, 2))


def akd_l2(measured: Float[Array, "n k 2"], wanted: Float[Array, "n k 2"]) -> Float[Array, " n"]:
    """Mean distance of points, [N]."""
    return jnp.mean(jnp.linalg.norm(measured - wanted, axis=-1), axis=1)


def embedding_distance(
    measured: Float[Array, "n d"], wanted: Float[Array, "n d"]
) -> Float[Array, " n"]:
    """Euclidean distance of embeddings of unit length, [N], from 0 to 2."""
    return jnp.linalg.norm(_unit(measured) - _unit(wanted), axis=-1)


def mean_difference(
    measured: Float[Array, "n d"], wanted: Float[Array, "n d"]
) -> Float[Array, " n"]:
    """Mean absolute difference of numbers, [N]."""
    return jnp.mean(jnp.abs(measured - wanted), axis=-1)


def angle_distance(
    measured: Float[Array, "n 3"], wanted: Float[Array, "n 3"]
) -> Float[Array, " n"]:
    """Mean absolute difference of pitch, yaw and roll, radians in, degrees out: [N]."""
    return jnp.rad2deg(mean_difference(measured, wanted))


def coefficient_distance(
    measured: Float[Array, "n d"], wanted: Float[Array, "n d"], ranges: Float[Array, "d 2"]
) -> Float[Array, " n"]:
    """Mean absolute difference of coefficients as shares of their ranges, [N].

    Args:
      measured, wanted: [N, D].
      ranges: the least and the largest value of each; those without a range are left out. Not a
        number where none has one.
    """
    spans = ranges[:, 1] - ranges[:, 0]
    used = spans > 0
    shares = jnp.abs(measured - wanted) / jnp.where(used, spans, 1.0)
    return jnp.mean(shares, axis=-1, where=used)


def acceleration(landmarks: Float[Array, "t k 2"]) -> Float[Array, " steps"]:
    """How much landmarks jump: the mean length of their second differences, [T - 2].

    Args:
      landmarks: of the frames of a clip at one rate, [T, K, 2], T >= 3.

    Raises:
      ValueError: fewer frames.
    """
    if len(landmarks) < 3:
        raise ValueError(f"acceleration: expected three frames or more, got {len(landmarks)}.")
    second = landmarks[2:] - 2 * landmarks[1:-1] + landmarks[:-2]
    return jnp.mean(jnp.linalg.norm(second, axis=-1), axis=1)


@jax.jit
def warping_error_of_flow(
    frames: Float[Array, "t h w c"],
    flow: Float[Array, "steps h w 2"],
    back: Float[Array, "steps h w 2"],
    matte: Float[Array, "steps h w"],
) -> Float[Array, " steps"]:
    """`jaxface.metrics.warping_error` with a flow that is known.

    Args:
      frames: [T, H, W, C] in [-1, 1].
      flow: of each frame into the next, [T - 1, H, W, 2], pixels to the right and down.
      back: of each next frame into the one before.
      matte: 1 where `flow` is known, [T - 1, H, W].

    Returns:
      [T - 1]: the mean squared difference of each frame to the next one, warped, where `matte` says
      so and the two flows cancel within half a pixel; not a number where that is nowhere.
    """

    def pair(first: Array, second: Array, there: Array, back: Array, known: Array) -> Array:
        height, width = known.shape
        y, x = jnp.mgrid[: float(height), : float(width)]
        places = [y + there[..., 1], x + there[..., 0]]
        inside = (places[0] >= 0) & (places[0] <= height - 1)
        inside &= (places[1] >= 0) & (places[1] <= width - 1)

        def seen_there(image: Array) -> Array:
            return jax.vmap(
                lambda each: map_coordinates(each, places, order=1, mode="nearest"), -1, -1
            )(image)

        returned = seen_there(back)
        stays = jnp.square(there + returned).sum(-1) <= 0.25
        seen = (known > 0) & inside & stays
        error = jnp.square(first - seen_there(second)).mean(-1)
        return jnp.mean(error, where=seen)

    return jax.vmap(pair)(frames[:-1], frames[1:], flow, back, matte)


def rank_correlation(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation: Pearson's of ranks, where ties have their mean.

    Returns:
      From -1 to 1; not a number where either is constant or fewer than two are given.

    Raises:
      ValueError: the lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(
            f"rank_correlation: expected as many of both, got {len(first)} and {len(second)}."
        )
    if len(first) < 2:
        return float("nan")
    a, b = _ranks(np.asarray(first)), _ranks(np.asarray(second))
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places]


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
