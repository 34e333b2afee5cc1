"""What a training begins with: networks that it needs, and the one given or a fresh one."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jaxface.errors import UsageError

N = TypeVar("N")


def needed_network(training: str, networks: Mapping[str, Any], role: str, *, why: str) -> Any:
    """The network in a role, which a training cannot do without.

    Args:
      training: what the message begins with.
      networks: of the experiment, by role.
      role: of the network.
      why: a clause for the message, such as "it draws".

    Raises:
      UsageError: the experiment has none.
    """
    if role not in networks:
        raise UsageError(
            f"{training}: training needs a network of role {role!r}: {why}; name its file in the "
            "configuration's networks, or a suite that has it"
        )
    return networks[role]


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
