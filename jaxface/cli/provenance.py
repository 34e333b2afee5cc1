"""`jaxface provenance FILE...`: what images and clips say of their making."""

import argparse
import dataclasses
import json

from jaxface.errors import printable

NAME = "provenance"
HELP = "tell what images and clips say of their making: the program, and whether they are synthetic"

_EPILOG = """\
exit status: 0, every file says it; 1, some say nothing or cannot be read; 2, the call was wrong"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a PNG, JPEG, WebP or GIF file, or a clip"
    )
    parser.add_argument("--json", action="store_true", help="a JSON object a line, for programs")


def run(arguments: argparse.Namespace) -> int:
    from jaxface.media.image_errors import ImageError
    from jaxface.media.marks import read_marks
    from jaxface.media.video.errors import VideoError

    status = 0
    for path in arguments.files:
        marks, problem = None, None
        try:
            marks = read_marks(path)
        except (ImageError, VideoError) as error:
            problem = f"{error.status}: {error}"
        status = status if marks is not None else 1
        if arguments.json:
            said = {} if marks is None else dataclasses.asdict(marks) | {"kind": marks.kind}
            print(json.dumps({"path": path, "problem": problem} | said))
        elif marks is None:
            print(printable(f"{path}: {problem or 'says nothing of its making'}"))
        else:
            kind = marks.kind or marks.source_type or "of no stated kind"
            print(
                printable(f"{path}: {kind}, by {marks.maker or 'a program that it does not name'}")
            )
    return status
