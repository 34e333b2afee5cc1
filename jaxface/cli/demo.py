"""`jaxface demo`: `jaxface invert` on the portraits that ship with the package."""

import argparse
from pathlib import Path

import jaxface
from jaxface.cli import invert
from jaxface.cli.inversion_options import add_method_arguments

NAME = "demo"
HELP = "embed the portraits that ship with the package and show the result"

SAMPLES = Path(jaxface.__file__).parent / "assets" / "samples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="jaxface-demo", metavar="DIR", help="folder for the results (jaxface-demo)"
    )
    add_method_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    call = argparse.ArgumentParser()
    invert.add_arguments(call)
    whole = call.parse_args([str(SAMPLES), "--out", arguments.out])
    return invert.run(argparse.Namespace(**(vars(whole) | vars(arguments))))
