"""`jaxface merge DIR`: one index of a sharded job's results."""

import argparse

NAME = "merge"
HELP = "make one index of a sharded job's results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="DIR", help="the --out of `jaxface invert`, here, on gs:// or s3://"
    )


def run(arguments: argparse.Namespace) -> int:
    from jaxface.jobs.outputs.results import OK, ROWS_FILE
    from jaxface.jobs.status import merge
    from jaxface.jobs.storage import join

    statuses = merge(arguments.folder)
    counts = "; ".join(f"{count} {name}" for name, count in sorted(statuses.items()))
    print(f"{join(arguments.folder, ROWS_FILE)}: {sum(statuses.values())} portraits: {counts}")
    return 0 if set(statuses) <= {OK} else 1
