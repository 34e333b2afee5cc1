"""Inversion of a clip's frames to latent codes that change as little as the face does.

An optimiser that begins at W's mean ends, for two frames that hardly differ, at codes that differ
visibly: the edited clip flickers. Two remedies, by any method with a stage in W+:

* a frame begins in W+ at a code that is near already: the mean of its face over the clip. The stage
  in W is left out;
* the energy pulls it towards a code that is smooth in time,

      E(w) + lambda_s mean((w - w_smooth)^2).

Both codes come from an earlier inversion of the clip, so that no frame waits for another one: rows
stay independent of their batch, of shards and of interruptions. This is the project's own; PIE
embeds single portraits (its limitation 8).
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxface.solving.procedure import Procedure
from jaxface.solving.solver import Stage

W_PLUS = "w_plus"
"""The name of the stage in W+."""


class Frames(NamedTuple):
    """What a coherent procedure is given of N frames; of one row on the host, without axis N.

    Attributes:
      images: [N, R, R, 3] in [-1, 1].
      start: [N, L, w_dim], where the optimisation begins.
      smooth: [N, L, w_dim], what it is pulled to.
    """

    images: Any
    start: Any
    smooth: Any


class Targets(NamedTuple):
    """What stays the same during an inversion: the method's own targets, and `Frames.smooth`."""

    known: Any
    smooth: jax.Array

    @property
    def images(self) -> jax.Array:
        """See `jaxface.methods.inversion.Inverter.procedure`."""
        return self.known.images


def has_stage_in_w_plus(procedure: Procedure) -> bool:
    """Whether `coherent` takes the procedure."""
    return any(stage.name == W_PLUS for stage in procedure.stages)


def coherent(procedure: Procedure, smoothness: float) -> Procedure:
    """From `Frames` to what the procedure gives of their images.

    Args:
      procedure: of an `Inverter` with a stage in W+; stages before that one are left out.
      smoothness: lambda_s, from 0; the term's name among the losses is "smoothness".

    Raises:
      ValueError: it has no such stage.
    """
    if not has_stage_in_w_plus(procedure):
        raise ValueError(
            f"coherent: the procedure has the stages {[s.name for s in procedure.stages]}, none "
            f"named {W_PLUS!r}."
        )
    first = [stage.name for stage in procedure.stages].index(W_PLUS)
    return Procedure(
        start=lambda networks, frames: frames.start,
        targets=lambda networks, frames: Targets(
            procedure.targets(networks, frames.images), frames.smooth
        ),
        stages=tuple(_stage(stage, smoothness) for stage in procedure.stages[first:]),
        finish=lambda networks, targets, variables, keys: procedure.finish(
            networks, targets.known, variables, keys
        ),
    )


def _stage(stage: Stage, smoothness: float) -> Stage:
    pulled = stage.name == W_PLUS and smoothness > 0

    def energy(variables: Any, networks: Any, targets: Targets, keys: Any, step: Any) -> Any:
        loss, terms = stage.energy(variables, networks, targets.known, keys, step)
        if pulled:
            term = jnp.mean((variables - targets.smooth) ** 2, axis=(1, 2))
            loss, terms = loss + smoothness * term, {**terms, "smoothness": term}
        return loss, terms

    return dataclasses.replace(stage, energy=energy)
