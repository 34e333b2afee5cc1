"""The seam between a training method and whoever runs it: `Trainable` settings make a `Recipe`.

A method that trains a network is one frozen dataclass of settings with two members: `trains`, the
role of the network that it writes, and `recipe`, which makes the initial state, the stages and the
evaluation. `jaxface.training.experiment.run_experiment` needs no more; no table names the methods.
Most methods train one network in one stage: `single_stage_recipe` is their recipe.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from flax import nnx

from jaxface.data.sources import DataSource
from jaxface.errors import UsageError
from jaxface.runtime.iteration import Phase


@dataclasses.dataclass(frozen=True)
class Stage:
    """A number of steps of the same phases.

    Attributes:
      phases: of a step.
      steps: how many.
      batch_size: over all devices and processes.
      microbatches: parts of a batch whose gradients are accumulated (gradient accumulation).
      group_size: a microbatch is a multiple of it.

    Raises:
      UsageError: the batch does not divide.
    """

    phases: Sequence[Phase]
    steps: int
    batch_size: int
    microbatches: int = 1
    group_size: int = 1

    def __post_init__(self):
        if self.microbatches < 1 or self.batch_size % (self.microbatches * self.group_size):
            raise UsageError(
                f"microbatches={self.microbatches}: expected at least 1, and a batch_size that is "
                f"a multiple of {max(self.microbatches, 1) * self.group_size}, got "
                f"{self.batch_size}; change one of the two"
            )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A method made ready to run.

    Attributes:
      state: the initial training state, a pytree.
      stages: run one after the other; each continues with the state of the one before.
      fields: what a batch must hold.
      networks: state -> the finished networks, by their role in a suite.
      parameters: the weights whose table is printed at the start.
      constants: what the phases read, see `jaxface.training.loop`.
      sample_images: state -> images [N, R, R, 3] in [-1, 1] for the sample grids, or None.
      score: state -> metrics on held-out items, or None.
      merit: those metrics -> a number that is larger where the networks are better: the run then
        ends with the networks of the best evaluation. None: with the last ones.
    """

    state: Any
    stages: Sequence[Stage]
    fields: tuple[str, ...]
    networks: Callable[[Any], Mapping[str, Any]]
    parameters: Any
    constants: Any = None
    sample_images: Callable[[Any], Any] | None = None
    score: Callable[[Any], Mapping[str, float]] | None = None
    merit: Callable[[Mapping[str, float]], float] | None = None


@runtime_checkable
class Trainable(Protocol):
    """Settings of a method that trains a network: a frozen dataclass.

    Its fields are what a run is: they are stored with checkpoints and networks as JSON, and a
    resumed run must have the same ones. A field that was renamed says so in its metadata,
    ``dataclasses.field(default=..., metadata={"formerly": "old_name"})``, so that older runs still
    resume. A field named ``microbatches`` may change between runs.
    """

    @property
    def trains(self) -> str:
        """The role of the network that the run writes, such as ``generator`` or ``rignet_pose``.

        A property, no field. A suite's network of this role is not read: the run
        begins with one only where the experiment names its file.
        """
        ...

    def recipe(
        self, *, key: Any, networks: Mapping[str, Any], held_out: Mapping[str, Any] | None
    ) -> Recipe:
        """The whole training.

        Args:
          key: typed key of the initial weights and of the images to look at.
          networks: networks to begin with or to read, by role; read from disk when asked for.
          held_out: items that are not trained on, arrays [N, ...] by field; None where the data
            has none.

        Raises:
          UsageError: a network is missing or does not fit.
        """
        ...


@runtime_checkable
class ChecksData(Protocol):
    """Settings that only some data can train; asked before any data is made or read."""

    def check_data(self, data: DataSource) -> None:
        """Raises UsageError where `data` cannot train this method."""
        ...


class SingleStage(Trainable, Protocol):
    """Trainable settings whose training is one stage."""

    @property
    def steps(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def microbatches(self) -> int: ...


def single_stage_recipe(
    settings: SingleStage,
    phase: Phase,
    state: Any,
    *,
    fields: tuple[str, ...],
    parameters: nnx.Module,
    finished: Callable[[Any], nnx.Module],
    group_size: int = 1,
    constants: Any = None,
    score: Callable[[Any], Mapping[str, float]] | None = None,
    sample_images: Callable[[Any], Any] | None = None,
) -> Recipe:
    """The recipe of a method that trains one network in one stage of one phase.

    Args:
      settings: say what is trained, for how many steps, on which batches.
      phase: of every step.
      state: the initial training state.
      fields: what a batch must hold.
      parameters: the trained module, whose parameters are listed at the start.
      finished: state -> the network of the role `settings.trains`.
      group_size: a microbatch is a multiple of it.
      constants: what the phase reads.
      score: see `Recipe`.
      sample_images: see `Recipe`.
    """
    stage = Stage(
        [phase],
        settings.steps,
        settings.batch_size,
        microbatches=settings.microbatches,
        group_size=group_size,
    )
    return Recipe(
        state=state,
        stages=[stage],
        fields=fields,
        networks=lambda state: {settings.trains: finished(state)},
        parameters=nnx.state(parameters, nnx.Param),
        constants=constants,
        sample_images=sample_images,
        score=score,
    )
