"""`jaxface compile`: the programs of `jaxface invert`, compiled ahead of time, for the devices that
are here; for those that are described, also those of `reenact` and `train`.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from jaxface.cli.inversion_options import add_method_arguments, inversion_of
from jaxface.cli.refusals import refuse_options
from jaxface.cli.suite_options import fit_for_use
from jaxface.errors import UsageError

NAME = "compile"
HELP = "compile what invert will run, into the cache that a fleet shares"

_EPILOG = """\
The programs go to the persistent compilation cache: JAX_COMPILATION_CACHE_DIR, which may be a
shared folder or gs://, by default the user's own cache folder. A process of `jaxface invert` with
the same suite, settings and batch, on the same kind and number of devices, with the same versions
of jax, jaxlib and jaxface, then reads them instead of compiling. Nothing is embedded, and no image
is read.

With --topology the devices are described, not here: v5e (one TPU), v5e:2x4, v5p:2x2x1, h100x8.
Nothing goes to the cache. What XLA says of each program is printed: operations, traffic, the
estimated time, memory, collectives, and the largest batch that fits. These are a compiler's
estimates, no measurements. It needs pip install "jaxface[tpu]" or "jaxface[cuda]", and no device.
With --method these are the frames of `jaxface reenact`, with --config the steps of `jaxface train`,
whose networks are made or read here and whose data is not. `jaxface benchmark NAME --topology` does
it with random weights of the published sizes.

The batch is chosen as invert chooses it: --batch-size, or else by the devices, the inputs that a
process has to do (--inputs) and the memory. Processes that may end up with few inputs, as restarted
ones, want a fixed --batch-size.

exit status: 0, compiled; 2, the call was wrong
"""

_EMBEDDING = ("preset", "dtype", "seed", "shard_size", "reconstructions")
_WITHOUT = {
    "method": (*_EMBEDDING, "changes"),
    "config": (*_EMBEDDING, "suite", "commercial"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add_method_arguments(parser)
    parser.add_argument(
        "--inputs",
        type=int,
        metavar="N",
        help="that each process has to do (a shard's, with --shard-size, else enough for a batch)",
    )
    parser.add_argument(
        "--shard-size", type=int, metavar="N", help="for a job in shards of about N inputs"
    )
    parser.add_argument(
        "--reconstructions",
        action="store_true",
        help="with --shard-size: for a job that stores the reconstructions too",
    )
    parser.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help="that each process of the fleet has, of this machine's kind (this machine's)",
    )
    parser.add_argument(
        "--topology",
        metavar="NAME",
        help="devices that are described, such as v5e:2x4 or h100x8: tell what a job costs there",
    )
    parser.add_argument(
        "--method",
        metavar="NAME",
        help="with --topology: frames of a reenactment by this method, see jaxface reenact",
    )
    parser.add_argument(
        "--config",
        metavar="FILE[:VARIANT]",
        help="with --topology: steps of a training, see jaxface train; --set changes its settings",
    )
    parser.add_argument("--json", action="store_true", help="with --topology: as JSON")


def run(arguments: argparse.Namespace) -> int:
    for name in ("inputs", "shard_size", "devices"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')}: expected at least 1, got {value}")
    if arguments.reconstructions and arguments.shard_size is None:
        raise UsageError("--reconstructions requires --shard-size")
    for name in ("method", "config", "json"):
        if getattr(arguments, name) and arguments.topology is None:
            raise UsageError(f"--{name} requires --topology")
    if arguments.method and arguments.config:
        raise UsageError("--method is of a reenactment and --config of a training; give one")
    for name, without in _WITHOUT.items():
        if getattr(arguments, name):
            refuse_options(arguments, add_arguments, without, f"has no use with --{name}")
    if arguments.topology is not None:
        return _tell(arguments)
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not folder:
        raise UsageError(
            "there is no compilation cache: JAXFACE_COMPILATION_CACHE is off, or there is no home "
            "folder; name one with JAX_COMPILATION_CACHE_DIR"
        )
    _take_devices(arguments.devices)

    import jax

    from jaxface.jobs.runner import Runner
    from jaxface.runtime.progress import JobProgress

    # What is quick to compile here may not be so there.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    begin, known = time.perf_counter(), _entries(folder)
    inputs = arguments.inputs or arguments.shard_size or 2**31
    with JobProgress(0, 0, show=False) as bar:
        keep_images = arguments.shard_size is None or arguments.reconstructions
        runner = Runner(
            inversion_of(arguments, keep_images=keep_images),
            batch_size=arguments.batch_size,
            inputs=inputs,
            bar=bar,
        )
        count = runner.compile()
    seconds = time.perf_counter() - begin
    devices = f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}"
    added = "" if known is None else f", {len((_entries(folder) or set()) - known)} new ones"
    print(f"{count} programs for batches of {runner.size} on {devices}, {seconds:.1f} s")
    print(f"cache: {folder}{added}")
    return 0


def _tell(arguments: argparse.Namespace) -> int:
    """Compiles for a topology, and prints what XLA says."""
    for name in ("devices", "inputs"):
        if getattr(arguments, name) is not None:
            raise UsageError(f"--{name} is of devices that are here, and --topology of others")
    # JAX is to find no accelerator of this process: described ones have the same compiler.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

    import jax

    from jaxface.benchmark.job_cost import table
    from jaxface.runtime.topologies import described

    jax.config.update("jax_enable_compilation_cache", False)
    topology = described(arguments.topology)
    if arguments.config is not None:
        costs = _training_costs(arguments, topology)
    elif arguments.method is not None:
        costs = [_reenactment_cost(arguments, topology)]
    else:
        costs = [_inversion_cost(arguments, topology)]
    for cost in costs:
        print(json.dumps(cost.to_json()) if arguments.json else table(cost))
    return 0


def _inversion_cost(arguments: argparse.Namespace, topology: Any) -> Any:
    from jaxface.benchmark.job_cost import inversion_cost

    keep_images = arguments.shard_size is None or arguments.reconstructions
    arguments.dtype = arguments.dtype or "bfloat16"  # as on an accelerator that is here
    task = inversion_of(arguments, keep_images=keep_images)
    return inversion_cost(task, topology, batch_size=arguments.batch_size, dtype=arguments.dtype)


def _reenactment_cost(arguments: argparse.Namespace, topology: Any) -> Any:
    from jaxface import load_suite
    from jaxface.benchmark.job_cost import reenactment_cost
    from jaxface.methods.reenactment_presets import reenactment_preset

    method = reenactment_preset(arguments.method)
    suite = fit_for_use(load_suite(arguments.suite), arguments)
    return reenactment_cost(suite, method, topology, batch_size=arguments.batch_size)


def _training_costs(arguments: argparse.Namespace, topology: Any) -> list[Any]:
    from jaxface.benchmark.training_cost import training_costs
    from jaxface.cli.train import batch_changes
    from jaxface.settings import apply_overrides
    from jaxface.training.experiment import load_experiment

    experiment = load_experiment(arguments.config)
    changes = [*batch_changes(experiment.method, arguments.batch_size), *arguments.changes]
    return training_costs(apply_overrides(experiment, changes), topology)


def _take_devices(count: int | None) -> None:
    """Insists on as many devices; of a CPU, where JAX is not imported yet, it makes them."""
    if count is None:
        return
    os.environ["JAX_NUM_CPU_DEVICES"] = str(count)

    import jax

    if (found := jax.local_device_count()) != count:
        raise UsageError(
            f"--devices {count}: this process has {found}; compile where there are {count}, or let "
            "it see fewer (CUDA_VISIBLE_DEVICES, TPU_VISIBLE_CHIPS)"
        )


def _entries(folder: str) -> set[str] | None:
    """The programs in a local cache; None for one elsewhere."""
    if "://" in folder:
        return None
    return {path.name for path in Path(folder).glob("*-cache")}
