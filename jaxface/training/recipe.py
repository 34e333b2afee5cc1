"""What a training method hands to whoever runs it: the state, the stages, and how to look at it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from jaxface.errors import UsageError
from jaxface.training.loop import Phase


@dataclasses.dataclass(frozen=True)
class Stage:
    """So many steps of the same phases.

    Attributes:
      phases: of a step.
      steps: how many.
      batch_size: over all devices and processes.
      microbatches: parts of a batch whose gradients the phases take one after the other.
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
                f"{self.batch_size}; change one with --set"
            )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A method made ready to run.

    Attributes:
      state: what training changes, to begin with.
      stages: done one after the other, each going on with the state of the one before.
      fields: what a batch must hold.
      constants: what the phases read, see `jaxface.training.loop`.
      networks: state -> the finished networks by their role in a suite.
      parameters: the weights whose table is printed at the start.
      sample_images: state -> images [N, R, R, 3] to look at, or None.
      score: state -> numbers from held-out items, or None.
    """

    state: Any
    stages: Sequence[Stage]
    fields: tuple[str, ...]
    networks: Callable[[Any], Mapping[str, Any]]
    parameters: Any
    constants: Any = None
    sample_images: Callable[[Any], Any] | None = None
    score: Callable[[Any], Mapping[str, float]] | None = None


class RecipeMaker(Protocol):
    """A method's `recipe` function.

    Args:
      settings: the method's frozen dataclass.
      key: typed key of the initial weights and of the pictures to look at.
      networks: networks to begin with or to read, by role.
      held_out: items that are not trained on, stacked by field; None where there are none.
    """

    def __call__(
        self,
        settings: Any,
        *,
        key: Any,
        networks: Mapping[str, Any],
        held_out: Mapping[str, Any] | None,
    ) -> Recipe: ...
