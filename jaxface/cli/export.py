"""`jaxface export SUITE`: programs that run where jaxface is not installed."""

import argparse

from jaxface.cli.settings_options import add_changes_argument
from jaxface.cli.suite_options import add_commercial_argument, fit_for_use
from jaxface.errors import UsageError

NAME = "export"
HELP = "write a suite's programs as StableHLO or ONNX, to run without jaxface"

_EPILOG = """\
  synthesis    latent codes of W+ to images
  encoder      portraits to codes
  edit         codes and the parameters wanted to edited codes and images
  invert_step  an inversion, taken apart: begin, the start and a step of each stage, finish

A StableHLO folder is run with JAX, flatbuffers and safetensors alone:

  weights = safetensors.numpy.load_file("DIR/weights.safetensors")
  program = jax.export.deserialize(open("DIR/synthesis.jax_export", "rb").read())
  images = jax.jit(program.call)(weights, {"w_plus": w_plus})["images"]

export.json names every input, its shape and dtype, the networks' digests and licences.

exit status: 0, written; 2, the call was wrong
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("suite", metavar="SUITE", help="a name or a folder")
    parser.add_argument(
        "--what",
        choices=("synthesis", "encoder", "edit", "invert_step"),
        default="synthesis",
        help="the program (synthesis)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--to", choices=("stablehlo", "onnx"), default="stablehlo", help="the format (stablehlo)"
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="rows of every input (any number; what has no such form says so)",
    )
    parser.add_argument(
        "--platforms",
        nargs="+",
        choices=("cpu", "cuda", "rocm", "tpu"),
        default=[],
        help="that StableHLO is lowered for (the one that JAX runs on here)",
    )
    parser.add_argument(
        "--preset", metavar="NAME", help="with --what invert_step: the method (pie_embedded)"
    )
    add_changes_argument(parser, "with --what invert_step: change a setting of the preset")
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        dest="groups",
        choices=("pose", "expression", "illumination"),
        help="with --what edit: the parameters; may be repeated (all that the suite edits)",
    )
    parser.add_argument(
        "--feedback", type=int, metavar="N", help="with --what edit: rounds of feedback (1)"
    )
    add_commercial_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    for name, what in (
        ("preset", "invert_step"),
        ("changes", "invert_step"),
        ("groups", "edit"),
        ("feedback", "edit"),
    ):
        if getattr(arguments, name) not in (None, []) and arguments.what != what:
            option = {"changes": "set", "groups": "group"}.get(name, name)
            raise UsageError(f"--{option} requires --what {what}")
    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise UsageError(f"--batch-size: expected at least 1, got {arguments.batch_size}")
    if arguments.feedback is not None and arguments.feedback < 0:
        raise UsageError(f"--feedback: expected at least 0, got {arguments.feedback}")
    if arguments.platforms and arguments.to != "stablehlo":
        raise UsageError("--platforms requires --to stablehlo")

    from jaxface import load_suite
    from jaxface.export.files import write_programs
    from jaxface.export.programs import exportables
    from jaxface.methods.presets import preset
    from jaxface.settings import apply_overrides

    suite = fit_for_use(load_suite(arguments.suite), arguments)
    programs = exportables(
        suite,
        arguments.what,
        inverter=apply_overrides(preset(arguments.preset or "pie_embedded"), arguments.changes),
        groups=arguments.groups,
        feedback=1 if arguments.feedback is None else arguments.feedback,
    )
    for path in write_programs(
        programs,
        suite,
        arguments.out,
        to=arguments.to,
        batch=arguments.batch_size,
        platforms=arguments.platforms,
    ):
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
    return 0
