"""Options of a driver: what happens beyond its end, how steady it is, whose sound a clip gets."""

import argparse
import dataclasses
import math
from typing import Any

from jaxface.errors import UsageError

DRIVER_OPTIONS = ("beyond", "steady", "audio")
"""None where they are not given."""


def add_driver_arguments(group: Any, *, of: str) -> None:
    """Adds the options to a parser or a group.

    Args:
      group: receives them.
      of: when they have a use, such as "with a driver", for the help.
    """
    group.add_argument(
        "--beyond",
        choices=("hold", "loop", "stop"),
        help=f"{of}, shorter than the source clip: its last frame, it once more, or leave the "
        "frames (hold)",
    )
    group.add_argument(
        "--steady",
        type=float,
        metavar="S",
        help=f"{of}: seconds over which its motion is averaged (0)",
    )
    group.add_argument(
        "--audio",
        choices=("source", "driver"),
        help=f"{of}: whose sound a source clip gets (its own; a portrait's clip has the driver's)",
    )


def check_driver_arguments(arguments: argparse.Namespace) -> None:
    """Refuses values that mean nothing.

    Raises:
      UsageError: there is one.
    """
    if arguments.steady is not None and not 0 <= arguments.steady < math.inf:
        raise UsageError(f"--steady: expected 0 or more seconds, got {arguments.steady}")
    if arguments.audio is not None and arguments.no_audio:
        raise UsageError("--audio and --no-audio contradict each other")


def with_driver_sound(writing: Any, driver: Any, arguments: argparse.Namespace) -> Any:
    """The `ClipWriting` with the sound that the arguments ask for.

    Args:
      writing: of clips.
      driver: has `clip`, its file, and `start` in it.
      arguments: of `add_driver_arguments`.
    """
    sound = None if arguments.audio == "source" else (driver.clip, driver.start)
    return dataclasses.replace(writing, driver=sound, driver_sound=arguments.audio == "driver")
