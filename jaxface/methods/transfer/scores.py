"""Validation of Transfer: clips of persons that are not trained on drive other such persons.

The three statistics of the paper's section 4.3, by the suite's own networks: ``pose_mae``, mean
absolute difference of yaw and pitch in degrees; ``fl``, correlation of the aspect ratios of
`jaxface.metrics.aspect_ratios` between driver and result; ``csim``, cosine of the recognition
network's embeddings of result and target. The paper chooses its model by expression and identity,
without a formula; here by their sum.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.losses import identity
from jaxface.media.images import from_uint8
from jaxface.methods.transfer.drawing import draw, head_angles
from jaxface.metrics import aspect_ratios, ratio_correlations
from jaxface.nets import Generator
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.runtime.chunks import by_chunks

CHUNK = 16
"""Frames drawn together; a clip's last chunk is filled up."""

SHOWN = 6
"""Clips on a sheet of samples, each with its driver, its target and the result."""


class Judges(NamedTuple):
    """Networks that judge, None where the suite has none."""

    landmarks: Any = None
    recognition: Any = None
    angles: Any = None
    """HopeNet or a network of PIE's parameters."""

    @classmethod
    def of(cls, networks: Mapping[str, Any]) -> "Judges":
        """The judges of a suite, by role: landmarks, recognition, and pose or reconstruction."""
        angles = next((role for role in ("pose", "reconstruction") if role in networks), None)
        found = {role: networks[role] for role in ("landmarks", "recognition") if role in networks}
        return cls(**found, angles=None if angles is None else networks[angles])

    @property
    def choose(self) -> bool:
        """Whether they can tell a better model: by expression, by identity, or both."""
        return self.landmarks is not None or self.recognition is not None


def merit(scores: Mapping[str, float]) -> float:
    """By what the best model is chosen: ``fl`` and ``csim``, added."""
    return scores.get("fl", 0.0) + scores.get("csim", 0.0)


def clip_scores(
    judges: Judges, driving: np.ndarray, target: np.ndarray, drawn: np.ndarray
) -> dict[str, float]:
    """The statistics of one clip.

    Args:
      judges: who judge.
      driving: [T, S, S, 3] in [-1, 1].
      target: [S, S, 3] in [-1, 1].
      drawn: the result, [T, R, R, 3].

    Returns:
      ``pose_mae``, ``csim`` and ``fl_<signal>``, of which those are left out that are undefined.
    """
    scores = {}
    if judges.angles is not None:
        ours, theirs = (_of_all(head_angles, judges.angles, x) for x in (drawn, driving))
        scores["pose_mae"] = float(np.abs(ours - theirs).mean())
    if judges.recognition is not None:
        found = _of_all(_embeddings, judges.recognition, drawn)
        wanted = np.asarray(_embeddings(judges.recognition, jnp.asarray(target)[None]))
        cosines = identity.similarity(jnp.asarray(found), jnp.asarray(wanted.repeat(len(found), 0)))
        scores["csim"] = float(cosines.mean())
    if judges.landmarks is not None:
        ours, theirs = (
            aspect_ratios(_of_all(_points, judges.landmarks, x)) for x in (drawn, driving)
        )
        found = ratio_correlations(theirs, ours)
        scores |= {f"fl_{name}": value for name, value in found.items()}
    return scores


def mean_scores(clips: list[dict[str, float]]) -> dict[str, float]:
    """Means over clips, and ``fl``: over the signals of a clip, then over clips.

    ``fl_clips`` counts the clips that have one.
    """
    names = sorted({name for clip in clips for name in clip})
    scores = {n: float(np.mean([clip[n] for clip in clips if n in clip])) for n in names}
    signals = [[v for n, v in clip.items() if n.startswith("fl_")] for clip in clips]
    means = [np.mean(each) for each in signals if each]
    if means:
        scores["fl"] = float(np.mean(means))
        scores["fl_clips"] = float(len(means))
    return scores


def validation(
    held_out: Mapping[str, Any], judges: Judges, generator: Generator
) -> tuple[Callable[[Any], dict[str, float]], Callable[[Any], np.ndarray]]:
    """A recipe's `score` and `sample_images`.

    Args:
      held_out: ``driving`` [C, T, S, S, 3] and ``target`` [C, S, S, 3], uint8; ``identity``, the
        targets' codes [C, L, w_dim].
      judges: who judge.
      generator: what draws where the state has none of its own.
    """
    driving, target, codes = (held_out[name] for name in ("driving", "target", "identity"))

    def drawn(state: Any, clip: int, frames: int | None = None) -> np.ndarray:
        ours = generator if state.generator is None else state.generator
        code = jnp.asarray(codes[clip])[None]
        shown = from_uint8(np.asarray(driving[clip][:frames]))
        return _of_all(lambda g, x: draw(state.network, g, code, x), ours, shown)

    def score(state: Any) -> dict[str, float]:
        clips = []
        for clip in range(len(driving)):
            seen = from_uint8(np.asarray(driving[clip])), from_uint8(np.asarray(target[clip]))
            clips.append(clip_scores(judges, *seen, drawn(state, clip)))
        return mean_scores(clips)

    def sample_images(state: Any) -> np.ndarray:
        sheet = []
        for clip in range(min(SHOWN, len(driving))):
            result = drawn(state, clip, 1)[0]
            seen = [from_uint8(np.asarray(each)) for each in (driving[clip][0], target[clip])]
            sheet += [_resized(each, len(result)) for each in seen] + [result]
        return np.stack(sheet)

    return score, sample_images


@jax.jit
def _embeddings(network: Any, images: jax.Array) -> jax.Array:
    return portrait_embeddings(network, images)


@jax.jit
def _points(network: Any, images: jax.Array) -> jax.Array:
    return network(images)


def _of_all(fn: Callable[[Any, jax.Array], jax.Array], network: Any, images: Any) -> np.ndarray:
    return by_chunks(functools.partial(fn, network), images, size=CHUNK)


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    if len(image) == side:
        return image
    return np.asarray(jax.image.resize(image, (side, side, 3), "linear"))
