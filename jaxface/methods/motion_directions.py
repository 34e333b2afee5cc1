"""Directions of W in degrees and ARKit's units, fitted to samples of a suite's own generator.

Samples are read by MediaPipe (`jaxface.methods.motion_reading`), and their latents regressed on the
motion that was read:

    w = mean + M m + noise,    M = Cov(w, m) Cov(m, m)^-1

A column of M is how w changes on average with one unit of its motion, the other motions held. To
move along it changes what goes with the motion among the generator's people as little as a linear
map can tell. `jaxface.methods.motion_editing` edits portraits along these directions.
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
from jaxface.morphable.motion import measured, motion_names
from jaxface.nets import Generator, LatentDirections
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.training.recipe import Recipe
from jaxface.vocabulary import ANGLES

DIRECTIONS = "motion"
"""The name of these directions among a suite's."""
DEGREE, UNIT = "degree", "ARKit unit"


@dataclasses.dataclass(frozen=True)
class MotionDirectionSettings:
    """Fits the directions, as `jaxface train` runs it: nothing is optimised on a device.

    Attributes:
      names: of `jaxface.morphable.motion.motion_names`. A motion that hardly varies among the
        samples has no direction worth having; leave it out.
      samples: latents drawn.
      truncation: psi of the samples, towards W's mean.
      resolution: what the samples are drawn at; one that the generator has.
      batch_size: samples at a time; no influence on which.
    """

    names: tuple[str, ...] = (
        *ANGLES,
        "smile",
        "jaw_open",
        "brow_raise",
        "brow_furrow",
        "blink_left",
        "blink_right",
        "pucker",
        "upper_lip_raise",
    )
    samples: int = 2000
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
        for role in ("generator", *ROLES):
            if role not in networks:
                raise UsageError(
                    f"train direction: MotionDirectionSettings needs a {role}; name a suite that "
                    "has one in the configuration"
                )
        reader = MotionReader(*(networks[role] for role in ROLES))

        def find(_: Any) -> dict[str, LatentDirections]:
            latents, values = read_samples(self, networks["generator"], reader, key)
            try:
                return {self.trains: motion_directions(latents, values, self.names)}
            except ValueError as error:
                raise UsageError(f"train direction: {error}") from error

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


def motion_directions(
    latents: np.ndarray, values: np.ndarray, names: tuple[str, ...]
) -> LatentDirections:
    """The regression of latents on motion, in float64.

    Args:
      latents: [N, w_dim].
      values: [N, K], angles in degrees, expressions in ARKit's units.
      names: of the K motions.

    Returns:
      K directions whose strengths are in those units, which `DirectionsConfig.unit_names` names.

    Raises:
      ValueError: shapes that do not fit, or motions that do not vary, or not independently.
    """
    latents, values = np.asarray(latents, np.float64), np.asarray(values, np.float64)
    if latents.ndim != 2 or values.shape != (len(latents), len(names)):
        raise ValueError(
            f"motion_directions: expected latents [N, dim] and values [N, {len(names)}], got "
            f"{latents.shape} and {values.shape}."
        )
    centred = values - values.mean(axis=0)
    deviations = centred.std(axis=0)
    if still := [name for name, std in zip(names, deviations, strict=True) if std < 1e-4]:
        raise ValueError(f"motion_directions: {', '.join(still)} does not vary in the samples.")
    scaled = centred / deviations
    mean = latents.mean(axis=0)
    correlation = scaled.T @ scaled / len(scaled)
    if np.linalg.cond(correlation) > 1e6:
        raise ValueError(f"motion_directions: {', '.join(names)} do not vary independently.")
    together = scaled.T @ (latents - mean) / len(scaled)
    vectors = np.linalg.solve(correlation, together) / deviations[:, None]
    units = tuple(DEGREE if name in ANGLES else UNIT for name in names)
    return directions_of(
        names,
        jnp.asarray(vectors),
        units=jnp.asarray(np.linalg.norm(vectors, axis=1)),
        mean=jnp.asarray(mean),
        unit_names=units,
    )
