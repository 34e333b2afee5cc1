"""How settings are changed on the command line."""

import argparse


def add_changes_argument(parser: argparse._ActionsContainer, what: str) -> None:
    """Adds ``--set``, whose ``changes`` `jaxface.settings.apply_overrides` takes.

    Args:
      parser: or a group of one.
      what: the beginning of the help: what is changed, with examples.
    """
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="NAME=VALUE",
        help=f"{what}; may be repeated",
    )
