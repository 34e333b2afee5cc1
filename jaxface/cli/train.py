"""`jaxface train`: trains a network by a configuration file."""

import argparse
import dataclasses
import pathlib
from typing import Any

from jaxface.cli.distributed import add_distributed_arguments, join_processes
from jaxface.cli.settings_options import add_changes_argument
from jaxface.errors import UsageError
from jaxface.runtime.files import atomic_writer

BEGIN = "begin.txt"
"""In a run's folder: the folder of --begin, so that the run can be resumed without naming it."""

NAME = "train"
HELP = "train a network of the suite by a configuration file"

_EPILOG = """\
FILE is a Python file with a function get_config(); configs/ has the published settings and the
embedded suite's own. Some have variants, FILE:VARIANT. --set changes a setting, by its dotted name:
--set method.learning_rate=1e-3 --set data.directory=/data.

DIR receives checkpoints/, metrics.jsonl, tensorboard/, samples/ and at the end the networks as
safetensors, also where it is stopped. A stopped run goes on with --resume, with the numbers it
would have had; --begin starts another one from its networks, with a fresh optimiser.

With --distributed several processes, one on each host, train together: the same command on each,
with DIR where all see it. See docs/training.md.

exit status: 0, trained to the end; 2, the call was wrong; 130 or 143, stopped and checkpointed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "target",
        nargs="?",
        metavar="NAME",
        help="what FILE trains, such as generator or rignet; refused if FILE trains something else",
    )
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="the experiment")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="the run folder (runs/ and the names of configuration, variant and a rignet's group)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in DIR, if there is one"
    )
    parser.add_argument(
        "--begin",
        metavar="DIR",
        help="begin with the networks of this folder instead of the configuration's own",
    )
    add_changes_argument(parser, "change a setting of the configuration")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="items of a step, in every stage (the configuration's)",
    )
    parser.add_argument(
        "--profile",
        metavar="DIR",
        type=pathlib.Path,
        help="trace the second and third chunk of steps, for XProf and Perfetto, in DIR",
    )
    add_distributed_arguments(parser)
    parser.add_argument(
        "--process",
        type=int,
        metavar="I",
        help="with --distributed: which of the processes this is, from 0 (the launcher's)",
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="P",
        help="with --distributed: how many there are (the launcher's)",
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.begin is not None and arguments.resume:
        raise UsageError("--begin starts a run and --resume continues one; give one of them")
    if not join_processes(arguments):
        for name in ("process", "processes"):
            if getattr(arguments, name) is not None:
                raise UsageError(f"--{name} requires --distributed")

    import jax

    from jaxface.runtime.devices import tell_devices
    from jaxface.settings import apply_overrides
    from jaxface.training.experiment import (
        check_name,
        load_experiment,
        run_experiment,
        split_config,
        split_role,
    )

    tell_devices()
    experiment = load_experiment(arguments.config)
    changes = [*batch_changes(experiment.method, arguments.batch_size), *arguments.changes]
    experiment = apply_overrides(experiment, changes)
    if arguments.target is not None:
        check_name(arguments.target, experiment.method)
    _, member = split_role(experiment.method.trains)
    file, variant = split_config(arguments.config)
    stem = "_".join(filter(None, [file.stem, variant, member]))
    out = pathlib.Path(arguments.out or pathlib.Path("runs") / stem)
    if (out / "checkpoints").exists() and not arguments.resume:
        raise UsageError(f"{out}: there is a run here; --resume continues it, --out names another")
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        # All have looked at DIR before any of them writes there.
        multihost_utils.sync_global_devices("run folder")
    begin = out / BEGIN
    if arguments.resume and begin.exists():
        arguments.begin = begin.read_text()  # the networks that give the state its form
    if arguments.begin is not None:
        networks = dict(experiment.networks) | _networks(pathlib.Path(arguments.begin))
        experiment = dataclasses.replace(experiment, networks=networks)

    def remember() -> None:
        if jax.process_index() or arguments.resume:
            return
        if arguments.begin is None:
            begin.unlink(missing_ok=True)  # of a call that got no further
        else:
            with atomic_writer(begin) as file:
                file.write(str(pathlib.Path(arguments.begin).absolute()).encode())

    networks = run_experiment(experiment, out, profile=arguments.profile, ready=remember)
    for role in networks if jax.process_index() == 0 else ():
        print(out / f"{role}.safetensors")
    return 0


def batch_changes(method: Any, size: int | None) -> list[str]:
    """Changes of a configuration that give every stage of a method this batch size.

    Raises:
      UsageError: it is no size, or the method has none.
    """
    if size is None:
        return []
    if size < 1:
        raise UsageError(f"--batch-size: expected at least 1, got {size}")
    if _has_batch_size(method):
        return [f"method.batch_size={size}"]
    stages = getattr(method, "stages", ())
    changes = [
        f"method.stages.{place}.batch_size={size}"
        for place, stage in enumerate(stages)
        if _has_batch_size(stage)
    ]
    if not changes:
        raise UsageError(
            f"--batch-size: {type(method).__name__} has none; --set changes its settings"
        )
    return changes


def _has_batch_size(settings: Any) -> bool:
    return "batch_size" in [field.name for field in dataclasses.fields(settings)]


def _networks(folder: pathlib.Path) -> dict[str, str]:
    """Role to file of a run folder's networks."""
    files = {path.stem: str(path) for path in sorted(folder.glob("*.safetensors"))}
    if not files:
        raise UsageError(f"--begin {folder}: no networks (*.safetensors) in this folder")
    return files
