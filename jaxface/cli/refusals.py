"""Options that a verb has, and that have no use in one of its calls."""

import argparse
from collections.abc import Callable, Collection

from jaxface.errors import UsageError


def refuse_options(
    arguments: argparse.Namespace,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    names: Collection[str],
    why: str,
) -> None:
    """Refuses options that are given: the call would do the same without them.

    Args:
      arguments: of the call.
      add_arguments: of the verb, with the options' names and defaults.
      names: where the arguments hold them.
      why: follows the option in the message, such as "is not of avatars".

    Raises:
      UsageError: one of them is not its default.
    """
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    for action in parser._actions:
        given = getattr(arguments, action.dest)
        if action.dest in names and given != parser.get_default(action.dest):
            raise UsageError(f"{action.option_strings[-1]} {why}")
