"""Finding the linear directions of a suite's generator, as `jaxface train` runs it.

Both settings write a `jaxface.nets.LatentDirections` that `jaxface edit --direction` moves along,
once it lies in the suite's folder. They have no training stages: everything is done where the
finished network is asked for.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import UsageError
from jaxface.latents import broadcast_w
from jaxface.methods.linear_directions import (
    conditioned,
    ganspace,
    interfacegan_boundary,
    sample_w,
)
from jaxface.morphable import FaceParameters
from jaxface.morphable.attributes import NamedParameter, named_parameter
from jaxface.morphable.bases import basis_of
from jaxface.nets import Generator, LatentDirections
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.training.beginning import needed_network
from jaxface.training.recipe import Recipe
from jaxface.vocabulary import Basis


@dataclasses.dataclass(frozen=True)
class GANSpaceSettings:
    """`ganspace` of a suite's generator, as `jaxface train` runs it: nothing is optimised.

    Attributes:
      samples: latents drawn; 1,000,000 in the reference.
      components: how many; 80 in the reference.
    """

    samples: int = 1_000_000
    components: int = 80

    @property
    def trains(self) -> str:
        """See `jaxface.training.recipe.Trainable`."""
        return "direction_ganspace"

    def recipe(
        self, *, key: jax.Array, networks: Mapping[str, Any], held_out: Mapping[str, Any] | None
    ) -> Recipe:
        """See `jaxface.training.recipe`; needs a generator.

        Raises:
          UsageError: there is none, or the settings do not fit it.
        """
        del held_out
        (generator,) = _required(self, networks, "generator")

        def find(_: Any) -> dict[str, LatentDirections]:
            try:
                directions = ganspace(
                    generator, key, samples=self.samples, components=self.components
                )
            except ValueError as error:
                raise UsageError(f"train direction: {error}") from error
            return {self.trains: directions}

        return Recipe(state={}, stages=(), fields=(), networks=find, parameters=None)


@dataclasses.dataclass(frozen=True)
class BoundarySettings:
    """`interfacegan_boundary` of the face parameters that a suite's reconstruction network reads.

    Samples of the generator are read by the network, and their latents in W are parted by each
    attribute. Nothing is optimised on a device.

    Attributes:
      attributes: names of `jaxface.morphable.attributes.named_parameters`, such as yaw and smile.
      samples: latents drawn, without truncation; 500,000 in the reference.
      share: see `interfacegan_boundary`.
      conditioned: whether each boundary is kept free of the others, see `conditioned`.
      batch_size: images at a time; no influence on which.
    """

    attributes: tuple[str, ...] = ("yaw", "pitch", "smile")
    samples: int = 20_000
    share: float = 0.02
    conditioned: bool = False
    batch_size: int = 100

    @property
    def trains(self) -> str:
        """See `jaxface.training.recipe.Trainable`."""
        return "direction_interfacegan"

    def recipe(
        self, *, key: jax.Array, networks: Mapping[str, Any], held_out: Mapping[str, Any] | None
    ) -> Recipe:
        """See `jaxface.training.recipe`; needs a generator and a reconstruction network.

        Raises:
          UsageError: one is missing, or the settings do not fit them.
        """
        del held_out
        generator, reconstruction = _required(self, networks, "generator", "reconstruction")
        basis = basis_of(reconstruction, networks.get("face_model"))

        def find(_: Any) -> dict[str, LatentDirections]:
            try:
                found = boundaries(self, generator, reconstruction, key, basis=basis)
                return {self.trains: found}
            except ValueError as error:
                raise UsageError(f"train direction: {error}") from error

        return Recipe(state={}, stages=(), fields=(), networks=find, parameters=None)


def boundaries(
    settings: BoundarySettings,
    generator: Generator,
    reconstruction: Any,
    key: jax.Array,
    *,
    basis: Basis = "embedded",
) -> LatentDirections:
    """A boundary in W for each attribute, from samples that a network reads.

    Args:
      settings: what is read, and of how many samples.
      generator: unconditional.
      reconstruction: images to PIE's 257 parameters.
      key: typed key of the samples.
      basis: of the face model that these are of.

    Returns:
      Directions by the attributes' names, of unit 1: a strength is a distance in W.

    Raises:
      ValueError: an unknown attribute, or see `interfacegan_boundary` and `conditioned`.
      UsageError: scikit-learn is not installed.
    """
    parameters = tuple(named_parameter(name, basis) for name in settings.attributes)
    latents, scores = [], []
    for start in range(0, settings.samples, settings.batch_size):
        numbers = np.arange(start, start + settings.batch_size)
        w, values = _read_samples(generator, reconstruction, key, numbers, parameters=parameters)
        latents.append(np.asarray(w)[: settings.samples - start])
        scores.append(np.asarray(values)[: settings.samples - start])
    latents, scores = np.concatenate(latents), np.concatenate(scores)
    found = [
        interfacegan_boundary(latents, scores[:, index], name=name, share=settings.share)
        for index, name in enumerate(settings.attributes)
    ]
    normals = jnp.concatenate([each.vectors[...] for each in found])
    directions = directions_of(settings.attributes, normals)
    if not settings.conditioned:
        return directions
    free = [
        conditioned(directions, name, others=[n for n in settings.attributes if n != name])
        for name in settings.attributes
    ]
    return directions_of(settings.attributes, jnp.concatenate([each.vectors[...] for each in free]))


@functools.partial(jax.jit, static_argnames="parameters")
def _read_samples(
    generator: Generator,
    reconstruction: Any,
    key: jax.Array,
    numbers: np.ndarray,
    *,
    parameters: tuple[NamedParameter, ...],
) -> tuple[jax.Array, jax.Array]:
    """w [N, w_dim] of samples, and named parameters of theirs, [N, K]."""
    w = sample_w(generator, key, numbers)
    face = FaceParameters.from_flat(
        reconstruction(generator.synthesis(broadcast_w(w, generator.num_ws)))
    )
    values = [face.group(group)[:, np.array(at)].mean(axis=1) for group, at in parameters]
    return w, jnp.stack(values, axis=1)


def _required(settings: Any, networks: Mapping[str, Any], *roles: str) -> list[Any]:
    why = f"{type(settings).__name__} fits to what it gives"
    return [needed_network("direction", networks, role, why=why) for role in roles]
