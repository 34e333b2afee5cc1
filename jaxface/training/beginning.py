"""What a training begins with: the network that it is given, or a fresh one."""

from collections.abc import Callable
from typing import Any, TypeVar

from jaxface.errors import UsageError

N = TypeVar("N")


def network_to_begin_with(role: str, given: Any, config: Any, fresh: Callable[[], N]) -> N:
    """The network given, as it is, or what `fresh` makes where it is None.

    Args:
      role: of the network, for the message.
      given: None, or a network with a `config`.
      config: that the settings say.
      fresh: makes a network of that configuration.

    Raises:
      UsageError: the network given has another configuration.
    """
    if given is None:
        return fresh()
    if given.config != config:
        raise UsageError(
            f"{role}: the network to begin with has other sizes; it is {given.config}, the "
            f"settings say {config}"
        )
    return given
