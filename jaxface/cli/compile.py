"""`jaxface compile`: the programs of `jaxface invert`, compiled ahead of time, for the devices that
are here or for those that are described.
"""

import argparse
import json
import os
import time
from pathlib import Path

from jaxface.cli.inversion_options import add_method_arguments, inversion_of
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

The batch is chosen as invert chooses it: --batch-size, or else by the devices, the inputs that a
process has to do (--inputs) and the memory. Processes that may end up with few inputs, as restarted
ones, want a fixed --batch-size.

exit status: 0, compiled; 2, the call was wrong
"""


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
    parser.add_argument("--json", action="store_true", help="with --topology: as JSON")


def run(arguments: argparse.Namespace) -> int:
    for name in ("inputs", "shard_size", "devices"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')}: expected at least 1, got {value}")
    if arguments.reconstructions and arguments.shard_size is None:
        raise UsageError("--reconstructions requires --shard-size")
    if arguments.json and arguments.topology is None:
        raise UsageError("--json requires --topology")
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

    from jaxface.benchmark.job_cost import job_cost, table
    from jaxface.runtime.topologies import described

    jax.config.update("jax_enable_compilation_cache", False)
    topology = described(arguments.topology)
    keep_images = arguments.shard_size is None or arguments.reconstructions
    arguments.dtype = arguments.dtype or "bfloat16"  # as on an accelerator that is here
    task = inversion_of(arguments, keep_images=keep_images)
    cost = job_cost(task, topology, batch_size=arguments.batch_size, dtype=arguments.dtype)
    print(json.dumps(cost.to_json()) if arguments.json else table(cost))
    return 0


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
