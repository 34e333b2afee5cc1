"""What a step of a training costs on devices that are described only, by XLA's word.

The methods' own preparation (fresh networks, what is read of the suite's) is done here, by this
process; the data's items are only described, where their source can do so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxface.benchmark.compiled import program_cost
from jaxface.benchmark.job_cost import JobCost, too_large
from jaxface.data.sources import DataSource, DescribesItems
from jaxface.errors import UsageError
from jaxface.runtime.devices import Dtype, data_mesh
from jaxface.runtime.progress import working
from jaxface.runtime.topologies import Topology
from jaxface.training.experiment import Experiment, recipe_of
from jaxface.training.loop import phase_programs
from jaxface.training.recipe import Recipe, Stage


def training_costs(experiment: Experiment, topology: Topology) -> list[JobCost]:
    """Compiles the phases of each stage of a training for a topology.

    A step runs a phase 1 / interval times in the mean. In microbatches the loop over them counts as
    often as there are; XLA does not count the operations then.

    Args:
      experiment: what is trained, with its batch sizes.
      topology: its devices, among which a batch is split.

    Returns:
      Of each stage the cost of a step.

    Raises:
      UsageError: a batch does not divide or does not fit, a network is missing, or there is nothing
        to train on a device.
    """
    recipe = recipe_of(experiment)
    if not recipe.stages:
        raise UsageError(
            f"{type(experiment.method).__name__} has no training steps: what it does runs once"
        )
    return [_stage_cost(recipe, stage, experiment.data, topology) for stage in recipe.stages]


def _stage_cost(recipe: Recipe, stage: Stage, data: DataSource, topology: Topology) -> JobCost:
    devices, parts = len(topology.devices), stage.microbatches
    if stage.batch_size // parts % devices:
        raise UsageError(
            f"{topology.name}: a microbatch of {stage.batch_size // parts} does not divide over "
            f"{devices} devices; give --batch-size or other microbatches"
        )
    batch = batch_shapes(data, stage.batch_size, recipe.fields)
    with working(f"compiling a step of {stage.batch_size} for {topology.name}"):
        try:
            programs = phase_programs(
                recipe.state,
                stage.phases,
                batch,
                constants=recipe.constants,
                mesh=data_mesh(topology.devices),
            )
        except jax.errors.JaxRuntimeError as error:
            raise UsageError(
                f"a batch of {stage.batch_size} does not fit {topology.name}: {too_large(error)}"
            ) from error
    # A phase's cost is of one batch, or of a loop over its parts.
    clock = topology.chip.clock
    costs = {
        name: program_cost(program, clock=clock, rounds=parts) for name, program in programs.items()
    }
    texts = [program.as_text() or "" for program in programs.values()]
    dtype: Dtype = "bfloat16" if any("bf16[" in text for text in texts) else "float32"
    return JobCost(
        topology,
        "item",
        stage.batch_size,
        max(cost.peak for cost in costs.values()),
        costs,
        {phase.name: 1 / phase.interval for phase in stage.phases},
        dtype,
    )


def batch_shapes(
    data: DataSource, size: int, fields: Sequence[str]
) -> Mapping[str, jax.ShapeDtypeStruct]:
    """A batch as shapes [size, ...]; of a source that cannot describe its items by reading some."""
    if isinstance(data, DescribesItems):
        items: Mapping[str, Any] = data.item_shapes()
        missing = [name for name in fields if name not in items]
        if missing:
            raise UsageError(f"data: {type(data).__name__} has no field {missing[0]!r}")
        shapes = {name: items[name] for name in fields}
    else:
        read = next(data.batches(size, fields, seed=0))
        shapes = {
            name: jax.ShapeDtypeStruct(np.shape(read[name])[1:], np.asarray(read[name]).dtype)
            for name in fields
        }
    return {
        name: jax.ShapeDtypeStruct((size, *shape.shape), shape.dtype)
        for name, shape in shapes.items()
    }
