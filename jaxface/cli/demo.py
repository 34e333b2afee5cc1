"""`jaxface demo`: `jaxface invert` on the portraits that ship with the package.

With a suite for photographs, one that finds faces itself: on the photographs among them, aligned;
then `jaxface edit` where the suite has directions of motion, put back into the photographs.
"""

import argparse
from pathlib import Path
from typing import Any

import jaxface
from jaxface.cli import edit, invert
from jaxface.cli.inversion_options import add_method_arguments

NAME = "demo"
HELP = "embed the portraits that ship with the package and show the result"

SAMPLES = Path(jaxface.__file__).parent / "assets" / "samples"
PHOTOGRAPHS = "*.jpg"
EDIT = ("--yaw", "12", "--smile", "0.9", "--paste-back")
"""What is done to the photographs: both heads turn, one of the two begins to smile."""
EDITED = "edited"
"""The folder of it, inside the demo's."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="jaxface-demo", metavar="DIR", help="folder for the results (jaxface-demo)"
    )
    add_method_arguments(parser)
    parser.set_defaults(preset=None)


def run(arguments: argparse.Namespace) -> int:
    from jaxface import load_suite
    from jaxface.media.mesh_detection import MeshFaces
    from jaxface.methods.motion_editing import edits_motion

    suite = load_suite(arguments.suite)
    if MeshFaces.of_suite(suite) is None:
        arguments.preset = arguments.preset or "pie_embedded"
        return _call(invert, [str(SAMPLES), "--out", arguments.out], arguments)
    arguments.preset = arguments.preset or "photo_fast"
    photographs = [str(path) for path in sorted(SAMPLES.glob(PHOTOGRAPHS))]
    status = _call(invert, [*photographs, "--align", "--out", arguments.out], arguments)
    if status != 0 or not edits_motion(suite):
        return status
    out = str(Path(arguments.out) / EDITED)
    options = [arguments.out, "--out", out, "--suite", arguments.suite, *EDIT]
    return _call(edit, options, argparse.Namespace())


def _call(verb: Any, options: list[str], arguments: argparse.Namespace) -> int:
    """A verb with options of its own, and those of the demo in place of its defaults."""
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    whole = vars(parser.parse_args(options))
    return verb.run(argparse.Namespace(**(whole | vars(arguments))))
