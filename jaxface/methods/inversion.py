"""Inversion: from portraits to latent codes, by any method, in one form.

An `Inverter` is a method's frozen settings. It says which networks of a suite it needs and gives a
`jaxface.solving.procedure.Procedure` whose inputs are portraits and whose results are `Inverted`.
`invert` runs one over a batch; `jaxface.jobs` runs the same procedure over collections.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, Self

import jax
import numpy as np
from jax.sharding import Mesh

from jaxface.nets import Generator, GeneratorConfig
from jaxface.runtime.devices import Dtype
from jaxface.solving.procedure import Compiled, Procedure
from jaxface.solving.solver import Progress
from jaxface.suite import Suite


class Inverted(NamedTuple):
    """What a procedure gives of N portraits.

    Attributes:
      w_plus: [N, L, w_dim].
      images: what the generator makes of it, [N, R, R, 3]; not clipped to [-1, 1].
      losses: {name: [N]}, of `images`; empty where nothing was optimised.
      weights: where the generator was tuned, the difference of its synthesis network's parameters
        to the suite's, leaves [N, ...]; else None.
    """

    w_plus: jax.Array
    images: jax.Array
    losses: Mapping[str, jax.Array]
    weights: Any = None


class Inverter(Protocol):
    """A method that inverts portraits: a frozen, hashable dataclass of its settings.

    Networks are passed to the procedure as a pytree with an attribute ``generator``.
    """

    @property
    def dtype(self) -> Dtype:
        """What networks compute in, "float32" or "bfloat16"; latents and losses are float32."""
        ...

    @property
    def row_losses(self) -> tuple[str, ...]:
        """The names of `Inverted.losses` that a result's row tells."""
        ...

    @property
    def tunes_generator(self) -> bool:
        """Whether there are `Inverted.weights`."""
        ...

    def computing_in(self, dtype: Dtype) -> Self:
        """The same method with another dtype."""
        ...

    def roles(self) -> Mapping[str, str]:
        """The roles of a suite that are needed, each with a sentence on what needs it."""
        ...

    def networks(self, suite: Suite, key: jax.Array) -> Any:
        """What the procedure needs of a suite.

        Args:
          suite: has the networks of `roles`.
          key: of what is sampled beforehand.

        Raises:
          SuiteError: the suite lacks a network, or has one that cannot do it.
        """
        ...

    def procedure(self, config: GeneratorConfig) -> Procedure:
        """From images [N, R, R, 3] in [-1, 1] to `Inverted`.

        Its targets hold the images as their attribute ``images``.

        Args:
          config: of the suite's generator.
        """
        ...


class ComputesIn:
    """The `Inverter.computing_in` of settings with a field ``dtype``."""

    def computing_in(self, dtype: Dtype) -> Self:
        """See `Inverter`."""
        return dataclasses.replace(self, dtype=dtype)  # pyright: ignore[reportArgumentType]


def generator_in(suite: Suite, dtype: Dtype) -> Generator:
    """The suite's generator; in float32 it computes as its own configuration says.

    Raises:
      SuiteError: the suite has none.
    """
    generator = suite.generator
    return generator if dtype == "float32" else generator.computing_in(dtype)


@dataclasses.dataclass(frozen=True)
class Inversion:
    """Inverted portraits, as NumPy arrays.

    Attributes:
      w_plus: [N, L, w_dim].
      images: what the generator makes of them, [N, R, R, 3]; not clipped to [-1, 1].
      losses: as the method names them: [N], of `images`.
      status: [N] of `jaxface.solving.solver.Status`; `DIVERGED` rows hold the last finite latent.
      steps: [N] updates each portrait took.
      traces: {stage: {name: [steps, N]}}.
      seconds: wall time of the batch without compilation.
      compile_seconds: time spent compiling.
      weights: see `Inverted.weights`.
    """

    w_plus: np.ndarray
    images: np.ndarray
    losses: dict[str, np.ndarray]
    status: np.ndarray
    steps: np.ndarray
    traces: dict[str, dict[str, np.ndarray]]
    seconds: float
    compile_seconds: float
    weights: Any = None


def invert(
    inverter: Inverter,
    suite: Suite,
    images: jax.Array | np.ndarray,
    *,
    keys: jax.Array,
    networks_key: jax.Array,
    mask: np.ndarray | None = None,
    mesh: Mesh | None = None,
    chunk: int = 50,
    progress: Callable[[Progress], None] | None = None,
) -> Inversion:
    """Inverts a batch of portraits by any method.

    A portrait's result does not depend on the others of its batch. Batches of one shape compile
    once; pad the last one and mask the padding out.

    Args:
      inverter: such as one of `jaxface.methods.presets.PRESETS`.
      suite: has the networks that the method needs.
      images: [N, R, R, 3] in [-1, 1] with R the generator's resolution.
      keys: [N] typed keys, see `jaxface.keys.item_keys`.
      networks_key: of what the method samples once for all portraits, as PIE's bank.
      mask: [N] bool, False for rows that only pad the batch.
      mesh: devices with an axis "data" to split the rows over; N must be a multiple of it.
      chunk: iterations between two calls of `progress`; no influence on results.
      progress: called after each chunk.

    Raises:
      ValueError: wrong shapes.
      SuiteError: the suite lacks a network.
    """
    config = suite.generator.config
    check_images(images, config)
    networks = inverter.networks(suite, networks_key)
    return run(
        compiled(inverter, config, mesh=mesh, chunk=chunk),
        networks,
        images,
        keys,
        mask=mask,
        progress=progress,
    )


def run(
    program: Compiled,
    networks: Any,
    images: jax.Array | np.ndarray,
    keys: jax.Array,
    *,
    mask: np.ndarray | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Inversion:
    """`invert` with networks at hand and a program of `compiled`."""
    solved = program(networks, images, keys, mask=mask, progress=progress)
    w_plus, reconstructions, losses = jax.device_get(solved.results[:3])
    return Inversion(
        w_plus=w_plus,
        images=reconstructions,
        losses=losses,
        status=solved.status,
        steps=solved.steps,
        traces=solved.traces,
        seconds=solved.seconds,
        compile_seconds=solved.compile_seconds,
        weights=solved.results.weights,
    )


@functools.lru_cache(maxsize=8)
def compiled(
    inverter: Inverter, config: GeneratorConfig, *, mesh: Mesh | None = None, chunk: int = 50
) -> Compiled:
    """The programs of a method over generators of one configuration; equal calls share them."""
    return Compiled(inverter.procedure(config), mesh=mesh, chunk=chunk)


def check_images(images: jax.Array | np.ndarray, config: GeneratorConfig) -> None:
    """Refuses what is no batch of portraits of the generator's size.

    Raises:
      ValueError: wrong shapes.
    """
    shape = (config.resolution, config.resolution, 3)
    if images.ndim != 4 or images.shape[1:] != shape:
        raise ValueError(f"invert: images must be [N, {shape}], got {images.shape}.")
