"""`--suite`, and `--commercial`: a suite is refused for what its licences forbid."""

import argparse
from typing import TYPE_CHECKING

from jaxface.runtime.progress import note

if TYPE_CHECKING:
    from jaxface.suite import Suite


def add_suite_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite that is embedded into, and `add_commercial_argument`."""
    parser.add_argument(
        "--suite",
        default="embedded",
        metavar="NAME|DIR",
        help="the networks: a shipped suite's name or a folder of converted ones (embedded)",
    )
    add_commercial_argument(parser)


def add_commercial_argument(parser: argparse.ArgumentParser) -> None:
    """For verbs that draw with a suite."""
    parser.add_argument(
        "--commercial",
        action="store_true",
        help="refuse a suite with a network that is for non-commercial use only (see jaxface card)",
    )


def fit_for_use(suite: "Suite", arguments: argparse.Namespace) -> "Suite":
    """The suite, unless the call is commercial and one of its networks must not be.

    Raises:
      UsageError: naming every such network.
    """
    if arguments.commercial:
        from jaxface.licences import require_commercial_use

        unstated = require_commercial_use(suite)
        if unstated:
            note(f"the terms of {', '.join(unstated)} do not speak of commercial use")
    return suite
