"""Linear directions: GANSpace's components, InterFaceGAN's boundaries, and edits along them.

What they are and how they are applied is in `jaxface.nets.edits.linear_directions`. `ganspace` and
`interfacegan_boundary` find them on the host, in float64, without a gradient of the generator, and
`jaxface.methods.direction_fitting` has both find those of a suite; `edit_along` and `Move` edit
portraits.
"""

import dataclasses
import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import UsageError
from jaxface.latents import check_w_plus
from jaxface.methods.pie.editing import Edit, Noise
from jaxface.morphable import FaceParameters
from jaxface.nets import Generator, LatentDirections
from jaxface.nets.edits.linear_directions import Space, directions_of
from jaxface.suite import Suite

_BATCH = 8192
"""Latents mapped at a time; no influence on which."""

SVM_C = 1.0
"""Weight of the margin's violations, scikit-learn's default, which InterFaceGAN's fit leaves."""
_TOLERANCE = 1e-4
"""Of the dual's projected gradient, where the fit ends: scikit-learn's default."""
_SWEEPS = 3_000


def ganspace(
    generator: Generator, key: jax.Array, *, samples: int, components: int
) -> LatentDirections:
    """Principal components of W (Härkönen et al. 2020, section 2.1, StyleGAN).

    An exact decomposition of the samples' covariance, where the reference fits incrementally
    (``decomposition.py``: 1,000,000 samples, 80 components). The sign, which a component does not
    have, is such that the entry of the largest magnitude is positive.

    Args:
      generator: unconditional.
      key: typed key of the samples.
      samples: latents to draw, without truncation.
      components: how many, by falling variance.

    Returns:
      ``component_0``, ``component_1``, ...: directions in W whose unit is the standard deviation of
      the samples along them, and whose mean is the samples'.

    Raises:
      ValueError: fewer samples than two, or not 1 to w_dim components.
    """
    config = generator.config
    if samples < 2 or not 1 <= components <= config.w_dim:
        raise ValueError(
            f"ganspace: expected at least 2 samples and 1 to {config.w_dim} components, got "
            f"{samples} and {components}."
        )
    total = np.zeros(config.w_dim)
    squares = np.zeros((config.w_dim, config.w_dim))
    origin = np.zeros(config.w_dim)  # near the mean, so that the squares lose no digits
    for start in range(0, samples, _BATCH):
        numbers = np.arange(start, min(start + _BATCH, samples))
        w = np.asarray(sample_w(generator, key, numbers), np.float64)
        if start == 0:
            origin = w.mean(axis=0)
        total += (w - origin).sum(axis=0)
        squares += (w - origin).T @ (w - origin)
    mean = total / samples
    values, vectors = np.linalg.eigh(squares / samples - np.outer(mean, mean))
    vectors = vectors.T[::-1][:components]
    peaks = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    deviations = np.sqrt(np.maximum(values[::-1][:components], 0.0))
    return directions_of(
        [f"component_{index}" for index in range(components)],
        jnp.asarray(vectors * np.sign(peaks)),
        units=jnp.asarray(deviations),
        mean=jnp.asarray(mean + origin),
    )


@jax.jit
def sample_w(generator: Generator, key: jax.Array, numbers: jax.Array | np.ndarray) -> jax.Array:
    """w of random latents, [N, w_dim], without truncation.

    Args:
      generator: unconditional.
      key: typed key of all samples.
      numbers: of these samples, [N]: each has its own latent, whatever the others are.
    """
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.asarray(numbers))
    z = jax.vmap(lambda key: jax.random.normal(key, (generator.config.z_dim,)))(keys)
    return generator.mapping.to_w(z)


def interfacegan_boundary(
    latents: np.ndarray,
    scores: np.ndarray,
    *,
    name: str,
    share: float = 0.02,
    space: Space = "w",
) -> LatentDirections:
    """The normal of the plane that parts the latents of high scores from those of low ones.

    A linear support vector machine on the latents of the highest and the lowest scores (Shen et al.
    2020, section 3.1; ``train_boundary`` in its ``utils/manipulator.py``, without the held-out
    part). Solved by scikit-learn's LinearSVC, liblinear's dual coordinate descent (Hsieh et al.
    2008), on latents centred between the two classes; the plane's offset, which an edit does not
    use, is regularised as the normal is.

    Args:
      latents: [N, dim], in Z or W.
      scores: [N], of what the direction is to change, larger for more of it.
      name: of the direction.
      share: of the latents, taken at either end; 0.02 in the reference. At most 0.5.
      space: what the latents are.

    Returns:
      One direction of length 1, towards higher scores, whose unit is 1.

    Raises:
      ValueError: shapes that do not fit, a share that takes no latents or more than half of them at
        an end, scores that are all the same there, or classes that overlap so much that the fit
        does not end.
      UsageError: scikit-learn is not installed.
    """
    latents, scores = np.asarray(latents, np.float64), np.asarray(scores, np.float64)
    if latents.ndim != 2 or scores.shape != latents.shape[:1]:
        raise ValueError(
            f"interfacegan_boundary: expected latents [N, dim] and scores [N], got "
            f"{latents.shape} and {scores.shape}."
        )
    count = int(share * len(latents)) if 0 < share <= 0.5 else 0
    if count < 1:
        raise ValueError(
            f"interfacegan_boundary: a share of {share} of {len(latents)} latents takes none or "
            "more than half at an end."
        )
    order = np.argsort(scores, kind="stable")
    low, high = order[:count], order[-count:]
    if scores[low].max() >= scores[high].min():
        raise ValueError(
            "interfacegan_boundary: the highest scores are no higher than the lowest; "
            "expected a score that varies."
        )
    middle = (latents[low].mean(axis=0) + latents[high].mean(axis=0)) / 2
    inputs = latents[np.concatenate([low, high])] - middle
    labels = np.repeat([-1.0, 1.0], count)
    normal = _svm(np.concatenate([inputs, np.ones((2 * count, 1))], axis=1), labels)[:-1]
    return directions_of([name], jnp.asarray(normal[None]), space=space)


def conditioned(
    directions: LatentDirections, name: str, *, others: Sequence[str]
) -> LatentDirections:
    """A direction without what it shares with others: moving along it leaves their coordinates.

    InterFaceGAN's conditional manipulation (section 3.1; ``project_boundary``), for any number of
    others.

    Args:
      directions: in Z or W, the same for every row.
      name: of the direction to change.
      others: names of the directions to keep out of it.

    Returns:
      One direction of the same name, unit and mean.

    Raises:
      ValueError: an unknown name, directions of several rows, or one that lies among the others.
    """
    if directions.config.rows != 1:
        raise ValueError(
            f"conditioned: expected directions of one row, got {directions.config.rows}."
        )
    unknown = [each for each in (name, *others) if each not in directions.names]
    if unknown:
        raise ValueError(f"conditioned: no {unknown[0]!r} among {', '.join(directions.names)}.")
    vectors = np.asarray(directions.vectors[...], np.float64)[:, 0]
    index = directions.names.index(name)
    vector = vectors[index]
    if others:
        basis = vectors[[directions.names.index(other) for other in others]].T
        vector = vector - basis @ np.linalg.lstsq(basis, vector, rcond=None)[0]
    # What is left of a vector of length 1 in float32 when nothing is: some roundings.
    if np.linalg.norm(vector) < 1e-5:
        raise ValueError(f"conditioned: {name} lies among {', '.join(others)}.")
    return directions_of(
        [name],
        jnp.asarray(vector[None]),
        space=directions.config.space,
        units=directions.units[...][index : index + 1],
        mean=directions.mean[...],
    )


def _svm(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The normal that minimises ``|w|^2 / 2 + C sum max(0, 1 - y w . x)``, by its dual.

    Args:
      inputs: [N, D].
      labels: [N], 1 or -1.

    Returns:
      [D].

    Raises:
      ValueError: the fit does not end.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise UsageError(
            "boundaries need scikit-learn, which is not installed: python -m pip install "
            "'jaxface[directions]'"
        ) from error
    machine = LinearSVC(
        C=SVM_C,
        loss="hinge",
        fit_intercept=False,
        tol=_TOLERANCE,
        max_iter=_SWEEPS,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return machine.fit(inputs, labels).coef_[0]
        except ConvergenceWarning as warning:
            raise ValueError(
                f"interfacegan_boundary: {len(inputs)} latents are not parted after {_SWEEPS} "
                "sweeps; take a smaller share, or a score that depends on the latents."
            ) from warning


def edit_along(
    suite: Suite,
    w_plus: jax.Array | np.ndarray,
    directions: LatentDirections,
    strengths: Mapping[str, float | jax.Array],
    *,
    rows: Sequence[int] | None = None,
    noise: Noise = "const",
) -> Edit:
    """Moves inverted portraits along linear directions.

    Directions add up, so their order is of no matter. Nothing is wanted in terms of face parameters
    and there is no feedback: the result tells what became of them.

    Args:
      suite: has a generator and a reconstruction network.
      w_plus: [N, L, w_dim].
      directions: in W or W+, such as one of ``suite.directions``.
      strengths: by the directions' names, one or [N] each, in the directions' own units.
      rows: which rows of W+ move, as GANSpace's edits are confined to some layers; None for all.
      noise: see `jaxface.methods.pie.edit`.

    Raises:
      ValueError: wrong shapes, no strength, or a name that the directions do not have.
      SuiteError: the suite lacks a network.
    """
    generator = suite.generator
    check_w_plus("edit_along", w_plus, num_ws=generator.num_ws, w_dim=generator.config.w_dim)
    if not strengths:
        raise ValueError("edit_along: expected a strength of one direction or more, got none.")
    return _edit_along(
        generator,
        suite.reconstruction,
        directions,
        jnp.asarray(w_plus, jnp.float32),
        {name: jnp.asarray(strength) for name, strength in strengths.items()},
        rows=None if rows is None else tuple(rows),
        noise=noise,
    )


@functools.partial(jax.jit, static_argnames=("rows", "noise"))
def _edit_along(
    generator: Generator,
    reconstruction: Any,
    directions: LatentDirections,
    w_plus: jax.Array,
    strengths: Mapping[str, jax.Array],
    *,
    rows: tuple[int, ...] | None,
    noise: Noise,
) -> Edit:
    unedited = generator.synthesis(w_plus, noise=noise)
    before = FaceParameters.from_flat(reconstruction(unedited))
    for name, strength in strengths.items():
        w_plus = directions.move(w_plus, name, strength, rows=rows)
    images = generator.synthesis(w_plus, noise=noise)
    after = FaceParameters.from_flat(reconstruction(images))
    return Edit(w_plus, images, before, unedited, before, after)


@dataclasses.dataclass(frozen=True)
class Move:
    """A shift along a linear direction, see `jaxface.nets.LatentDirections`.

    Attributes:
      directions: a name in ``suite.directions``, or for `jaxface edit` in
        `jaxface.methods.direction_matrix.direction_sets`.
      name: of one of them.
      strength: in its unit.
      rows: the rows of W+ that move; None for all.
    """

    directions: str
    name: str
    strength: float
    rows: tuple[int, ...] | None = None
