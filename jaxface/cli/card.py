"""`jaxface card SUITE`: the model card of a suite."""

import argparse
import json

from jaxface.errors import printable

NAME = "card"
HELP = "write the model card of a suite: its networks, where they come from, their licences"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "suite",
        nargs="?",
        default="embedded",
        metavar="SUITE",
        help="a name or a folder (embedded)",
    )
    parser.add_argument("--out", metavar="FILE", help="write it there, not to the terminal")
    parser.add_argument("--json", action="store_true", help="as one JSON object, for programs")


def run(arguments: argparse.Namespace) -> int:
    from jaxface import load_suite
    from jaxface.card import as_json, as_markdown
    from jaxface.runtime.files import atomic_writer

    suite = load_suite(arguments.suite)
    text = json.dumps(as_json(suite), indent=2) + "\n" if arguments.json else as_markdown(suite)
    if arguments.out:
        with atomic_writer(arguments.out) as file:
            file.write(text.encode())
        print(f"written: {arguments.out}")
    else:
        print(printable(text), end="")
    return 0
