"""`jaxface demo`: `jaxface invert` on the portraits that ship with the package."""

import argparse
from pathlib import Path

import jaxface
from jaxface.cli import invert

NAME = "demo"
HELP = "embed the portraits that ship with the package and show the result"

SAMPLES = Path(jaxface.__file__).parent / "assets" / "samples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="jaxface-demo", metavar="DIR", help="folder for the results (jaxface-demo)"
    )
    invert.add_method_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    only_inverts = {"inputs": [str(SAMPLES)], "split": None, "align": False}
    only_inverts |= {"face": None, "workers": None}
    return invert.run(argparse.Namespace(**vars(arguments), **only_inverts))
