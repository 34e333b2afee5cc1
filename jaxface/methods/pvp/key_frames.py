"""Key frames: one frame of each cluster of head poses and expressions (section 4.1).

As ``make_keyframes_expr.py`` of the authors: numbers divided by their standard deviations, k-means,
a random member of each cluster. Theirs is scipy's k-means, which drops empty clusters, and is never
seeded; here scikit-learn's, seeded by a key, and a cluster without members is replaced by the
farthest unused frame, so that there are always K.
"""

import warnings
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxface.errors import UsageError
from jaxface.methods.pvp.settings import KeyFrameSettings
from jaxface.morphable.motion import Motion


class KeyFrames(NamedTuple):
    """The frames that were chosen.

    Attributes:
      frames: [K] numbers of frames, increasing.
      filled: those among them that stand for an empty cluster.
    """

    frames: np.ndarray
    filled: np.ndarray


def clustered(motion: Motion, *, angles: int = 2) -> np.ndarray:
    """What is clustered: head poses and expressions of T frames, over their deviations.

    Numbers that do not move are left out.

    Args:
      motion: of the frames.
      angles: of the head's that count, from the first: pitch, yaw, roll.

    Returns:
      float64 [T, F].
    """
    expression = np.asarray(motion.expression, np.float64)
    values = np.concatenate(
        [np.asarray(motion.rotation, np.float64)[:, :angles], expression], axis=1
    )
    deviation = values.std(axis=0)
    moving = deviation > 1e-9
    return values[:, moving] / deviation[moving]


def middle(motion: Motion, *, angles: int) -> int:
    """The frame whose pose and expression are nearest to the mean, of those that move in a clip.

    Args:
      motion: of T frames.
      angles: of the head's that count; see `clustered`.
    """
    values = clustered(motion, angles=angles)
    return int(np.square(values - values.mean(axis=0)).sum(axis=1).argmin())


def choose_key_frames(
    settings: KeyFrameSettings,
    motion: Motion,
    frames: np.ndarray,
    *,
    key: jax.Array,
    angles: int = 2,
) -> KeyFrames:
    """K of a clip's training frames.

    Args:
      settings: how many, and how.
      motion: of the training frames, T rows.
      frames: [T], their numbers in the clip, increasing.
      key: typed; decides everything that is random.
      angles: see `clustered`.

    Raises:
      UsageError: scikit-learn, the extra `directions`, is not installed.
    """
    count = min(settings.count, len(frames))
    nothing = np.zeros(0, int)
    if settings.choice == "uniform":
        places = np.linspace(0, len(frames) - 1, count).round().astype(int)
        return KeyFrames(frames[np.unique(places)], nothing)
    if count == len(frames):
        return KeyFrames(np.array(frames), nothing)
    values = clustered(motion, angles=angles)
    seeds = np.asarray(jax.random.bits(key, (2,), np.uint32))
    labels = clusters(values, count, restarts=settings.restarts, seed=int(seeds[0]))
    rng = np.random.default_rng(int(seeds[1]))
    chosen = [
        int(rng.choice(np.flatnonzero(labels == label)))
        for label in range(count)
        if label in labels
    ]
    filled = []
    while len(chosen) < count:
        nearest = np.linalg.norm(values[:, None] - values[chosen][None], axis=2).min(axis=1)
        nearest[chosen] = -1.0
        filled.append(int(nearest.argmax()))
        chosen.append(filled[-1])
    return KeyFrames(frames[np.sort(chosen)], frames[np.sort(np.array(filled, int))])


def clusters(
    values: np.ndarray, count: int, *, restarts: int, seed: int, start: Any = None
) -> np.ndarray:
    """The cluster of each row of `values` [T, F], by k-means: [T] in 0 to `count` - 1.

    Args:
      values: rows.
      count: of clusters, at most T; some may stay empty where rows are equal.
      restarts: the best of so many counts.
      seed: of the first centres.
      start: [count, F], the first centres, in place of random ones.
    """
    try:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise UsageError(
            "key frames are found by scikit-learn: pip install 'jaxface[directions]', or choose "
            "key_frames.choice=uniform"
        ) from error
    how: dict[str, Any] = {"init": "k-means++", "n_init": restarts}
    if start is not None:
        how = {"init": start, "n_init": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of equal rows, whose clusters fill up
        return KMeans(count, **how, tol=0.0, random_state=seed % 2**32).fit_predict(values)
