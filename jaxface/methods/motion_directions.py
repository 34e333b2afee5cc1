"""Directions of W in degrees and ARKit's units, fitted to samples of a suite's own generator.

Samples are read by MediaPipe (`jaxface.methods.motion_reading`), and the motion regressed on their
latents by ridge regression:

    m = A (w - mean) + noise

Of all changes of w that change one motion by a unit and leave the others, to first order, a
direction is the shortest one by W's own covariance C (Mahalanobis):

    M = C A^T (A C A^T)^-1

one column a motion, so that an edit is as likely among the generator's people as it can be.
`jaxface.methods.motion_editing` edits portraits along these directions.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import UsageError
from jaxface.latents import broadcast_w
from jaxface.methods.linear_directions import sample_w
from jaxface.methods.motion_reading import ROLES, MotionReader, read_motion
from jaxface.methods.ridge import ridge
from jaxface.morphable.motion import measured, motion_names
from jaxface.nets import Generator, LatentDirections
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.training.beginning import needed_network
from jaxface.training.recipe import Recipe
from jaxface.vocabulary import ANGLES

DIRECTIONS = "motion"
"""The name of these directions among a suite's."""
DEGREE, UNIT = "degree", "ARKit unit"

_BATCH = 2000
"""Latents mapped at a time; no influence on which."""
_INDEPENDENT = 1e6
"""Condition of the predicted motions' covariance beyond which they are one motion."""


@dataclasses.dataclass(frozen=True)
class MotionDirectionSettings:
    """Fits the directions, as `jaxface train` runs it: nothing is optimised on a device.

    Attributes:
      names: of `jaxface.morphable.motion.motion_names`. A motion that hardly varies among the
        samples has no direction worth having: the roll of aligned faces, brows, closed eyes, open
        mouths. And what goes together, such as a smile and a raised lip, is better not held apart.
      samples: latents whose images are read.
      covariance_samples: latents that C is of, of which there are no images.
      truncation: psi of the samples, towards W's mean.
      resolution: what the samples are drawn at; one that the generator has.
      batch_size: samples at a time; no influence on which.
    """

    names: tuple[str, ...] = ("pitch", "yaw", "smile")
    samples: int = 1000
    covariance_samples: int = 20_000
    truncation: float = 1.0
    resolution: int = 512
    batch_size: int = 10

    def __post_init__(self):
        if self.samples < 2 * len(self.names):
            raise ValueError(
                f"MotionDirectionSettings: expected at least {2 * len(self.names)} samples for "
                f"{len(self.names)} names, got {self.samples}."
            )
        if unknown := [name for name in self.names if name not in motion_names()]:
            raise ValueError(
                f"MotionDirectionSettings: names are out of {', '.join(motion_names())}; got "
                f"{unknown[0]!r}."
            )

    @property
    def trains(self) -> str:
        """See `jaxface.training.recipe.Trainable`."""
        return f"direction_{DIRECTIONS}"

    def recipe(
        self, *, key: jax.Array, networks: Mapping[str, Any], held_out: Mapping[str, Any] | None
    ) -> Recipe:
        """See `jaxface.training.recipe`; needs a generator and what reads motion.

        Raises:
          UsageError: a network is missing, or a motion does not vary.
        """
        del held_out
        generator = needed_network("direction", networks, "generator", why="it draws samples")
        why = "it reads their motion"
        reader = MotionReader(
            *(needed_network("direction", networks, role, why=why) for role in ROLES)
        )

        def find(_: Any) -> dict[str, LatentDirections]:
            latents, values = read_samples(self, generator, reader, key)
            covariance = covariance_of_w(self, generator, key)
            try:
                fitted = motion_directions(latents, values, self.names, covariance=covariance)
            except ValueError as error:
                raise UsageError(f"train direction: {error}") from error
            return {self.trains: fitted}

        return Recipe(state={}, stages=(), fields=(), networks=find, parameters=None)


def read_samples(
    settings: MotionDirectionSettings, generator: Generator, reader: MotionReader, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Samples of W and what motion the generator's images of them have.

    Args:
      settings: how many, and what is read.
      generator: unconditional.
      reader: see `jaxface.methods.motion_reading.reader_of`.
      key: typed key of the samples.

    Returns:
      w [N, w_dim] and the motion [N, K] in the units of `measured`.
    """

    @jax.jit
    def read(generator: Generator, reader: MotionReader, numbers: jax.Array) -> Any:
        w = sample_w(generator, key, numbers)
        w = generator.w_mean + settings.truncation * (w - generator.w_mean)
        w_plus = broadcast_w(w, generator.num_ws)
        images = generator.synthesis(w_plus, resolution=settings.resolution)
        return w, measured(read_motion(reader, images), settings.names)

    parts = []
    for start in range(0, settings.samples, settings.batch_size):
        numbers = np.arange(start, start + settings.batch_size)
        found = jax.device_get(read(generator, reader, jnp.asarray(numbers)))
        parts.append([x[: settings.samples - start] for x in found])
    latents, values = (np.concatenate(each) for each in zip(*parts, strict=True))
    return latents, values


def covariance_of_w(
    settings: MotionDirectionSettings, generator: Generator, key: jax.Array
) -> np.ndarray:
    """C of samples of W, without truncation: [w_dim, w_dim] in float64."""
    parts = [
        np.asarray(sample_w(generator, key, np.arange(start, start + _BATCH)), np.float64)
        for start in range(0, settings.covariance_samples, _BATCH)
    ]
    return np.cov(np.concatenate(parts)[: settings.covariance_samples], rowvar=False)


def motion_directions(
    latents: np.ndarray, values: np.ndarray, names: tuple[str, ...], *, covariance: np.ndarray
) -> LatentDirections:
    """The shortest changes of W that change one motion each, in float64.

    Args:
      latents: [N, w_dim].
      values: [N, K], angles in degrees, expressions in ARKit's units.
      names: of the K motions.
      covariance: C, [w_dim, w_dim].

    Returns:
      K directions whose strengths are in those units, which `DirectionsConfig.unit_names` names.

    Raises:
      ValueError: shapes that do not fit, motions that do not vary or not independently, or of which
        the latents tell nothing.
    """
    latents, values = np.asarray(latents, np.float64), np.asarray(values, np.float64)
    if latents.ndim != 2 or values.shape != (len(latents), len(names)):
        raise ValueError(
            f"motion_directions: expected latents [N, dim] and values [N, {len(names)}], got "
            f"{latents.shape} and {values.shape}."
        )
    deviations = values.std(axis=0)
    if still := [name for name, std in zip(names, deviations, strict=True) if std < 1e-4]:
        raise ValueError(f"motion_directions: {', '.join(still)} does not vary in the samples.")
    scaled = (values - values.mean(axis=0)) / deviations
    mean = latents.mean(axis=0)
    rows, explained = ridge(latents - mean, scaled)
    if unknown := [name for name, share in zip(names, explained, strict=True) if share <= 0]:
        raise ValueError(
            f"motion_directions: {len(latents)} samples tell nothing of {', '.join(unknown)}; take "
            "more, or leave it out."
        )
    together = rows @ covariance @ rows.T
    if np.linalg.cond(together) > _INDEPENDENT:
        raise ValueError(f"motion_directions: {', '.join(names)} do not vary independently.")
    vectors = np.linalg.solve(together, rows @ covariance) / deviations[:, None]
    return directions_of(
        names,
        jnp.asarray(vectors),
        units=jnp.asarray(np.linalg.norm(vectors, axis=1)),
        mean=jnp.asarray(mean),
        unit_names=tuple(DEGREE if name in ANGLES else UNIT for name in names),
    )
