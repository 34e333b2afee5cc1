"""`jaxface status DIR`: how far a job is, while it runs or afterwards."""

import argparse
import json

from jaxface.errors import printable

NAME = "status"
HELP = "tell how far a job of `invert` is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="DIR", help="the --out of `jaxface invert`, here, on gs:// or s3://"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object, for programs")


def run(arguments: argparse.Namespace) -> int:
    from jaxface.jobs.status import as_json, describe, overview

    seen = overview(arguments.folder)
    print(json.dumps(as_json(seen)) if arguments.json else printable(describe(seen)))
    return 0
