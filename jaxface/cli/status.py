"""`jaxface status DIR`: how far a job is, while it runs or afterwards."""

import argparse

from jaxface.errors import printable

NAME = "status"
HELP = "tell how far a job of `invert` is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="DIR", help="the --out of `jaxface invert`, here, on gs:// or s3://"
    )


def run(arguments: argparse.Namespace) -> int:
    from jaxface.jobs.status import describe, overview

    print(printable(describe(overview(arguments.folder))))
    return 0
