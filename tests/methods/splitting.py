"""What every method promises of many devices: each does its share of a step; each method's tests
call it."""

import jax
from jax.sharding import NamedSharding, PartitionSpec

from jaxface.runtime.devices import data_mesh
from jaxface.runtime.iteration import Phase, Program


def assert_split(phase, state, constants, batch, *, each=4):
    """A device of many, with `each` items, has as many operations as a device alone with as many.

    What is drawn from a key, and all that follows from it, would be computed whole on every device
    if nothing said that it is a batch (`jaxface.runtime.devices.over_devices`). The optimiser's
    operations, which are not split, are the same on both sides.

    Args:
      phase: of a training's step, or the number of a batch's items -> it.
      state, constants: arrays or shapes.
      batch: arrays or shapes [N, ...] by field; N is set here.
      each: items of a device, a multiple of what belongs together.
    """
    alone, of_many = (
        operations(phase, state, constants, batch, devices=devices, each=each)
        for devices in (1, jax.device_count())
    )
    assert of_many < 1.05 * alone, f"{of_many / alone:.2f} times as many operations"


def operations(phase, state, constants, batch, *, devices, each):
    """XLA's count of a device's operations in a step."""
    mesh = data_mesh(jax.devices()[:devices])

    def placed(tree, spec, rows=None):
        sharding = NamedSharding(mesh, spec)

        def shape(leaf):
            sides = leaf.shape if rows is None else (rows, *leaf.shape[1:])
            return jax.ShapeDtypeStruct(sides, leaf.dtype, sharding=sharding)

        return jax.tree.map(shape, tree)

    if not isinstance(phase, Phase):
        phase = phase(devices * each)
    program = Program(lambda state, rest, batch: phase.fn(state, rest[0], batch, rest[1]))
    cost = program.compiled(
        placed(state, PartitionSpec()),
        placed((constants, jax.random.key(0)), PartitionSpec()),
        placed(batch, PartitionSpec("data"), devices * each),
    ).cost_analysis()
    assert cost
    return cost["flops"]
