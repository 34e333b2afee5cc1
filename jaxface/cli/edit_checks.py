"""What `jaxface edit` may be asked for: options that contradict each other are told first."""

import argparse
from pathlib import Path

from jaxface.cli.driver_options import DRIVER_OPTIONS, check_driver_arguments
from jaxface.errors import UsageError
from jaxface.vocabulary import (
    ANGLE_LIMITS,
    ANGLES,
    EXPRESSION_LIMIT,
    EXPRESSION_NAMES,
    LANDMARKS,
)


def check_arguments(arguments: argparse.Namespace) -> None:
    """Refuses calls that no suite could answer.

    Raises:
      UsageError: naming the options.
    """
    named = {
        group: [n for n in names if getattr(arguments, n) is not None]
        for group, names in (("pose", ANGLES), ("expression", EXPRESSION_NAMES))
    }
    if arguments.light is None and arguments.strength is not None:
        raise UsageError("--strength requires --light")
    if arguments.strength is not None and not 0 <= arguments.strength <= 1:
        raise UsageError(f"--strength: expected 0 to 1, got {arguments.strength:g}")
    _check_landmarks(arguments)
    if (arguments.like is None) != (not arguments.groups):
        raise UsageError("--like and --group go together: what to take, and from which portrait")
    driven = arguments.like is not None and Path(arguments.like).is_dir()
    for name in ("neutral", *DRIVER_OPTIONS):
        if getattr(arguments, name) is not None and not driven:
            raise UsageError(f"--{name} requires --like with the folder of a clip's embeddings")
    if arguments.neutral not in (None, "first", "mean") and not arguments.neutral.isdecimal():
        raise UsageError(
            f"--neutral: expected first, mean or a number from 0, got {arguments.neutral!r}"
        )
    check_driver_arguments(arguments)
    if arguments.relative and not any(named.values()):
        raise UsageError("--relative requires angles and expressions")
    if arguments.rows is not None and not arguments.directions:
        raise UsageError("--rows requires --direction")
    asked = (arguments.light, arguments.like, arguments.directions, arguments.landmarks)
    if not any((*named.values(), *asked)):
        raise UsageError("no edit given; name one, such as --yaw 20 (see jaxface edit --help)")
    taken = {group: names[0] for group, names in named.items() if names}
    taken |= {"illumination": "light"} if arguments.light is not None else {}
    for group in arguments.groups:
        if group in taken:
            raise UsageError(f"--group {group} and --{taken[group]} both edit the {group}")
    for name, least in (("feedback", 0), ("frames", 2), ("batch_size", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise UsageError(f"--{name.replace('_', '-')}: expected at least {least}, got {value}")
    check_reach(arguments, EXPRESSION_LIMIT)
    for name in ("seconds", "mp4"):
        if getattr(arguments, name) and arguments.frames is None:
            raise UsageError(f"--{name} requires --frames")
    if arguments.seconds is not None and arguments.seconds <= 0:
        raise UsageError(f"--seconds: expected more than 0, got {arguments.seconds}")


def _check_landmarks(arguments: argparse.Namespace) -> None:
    own = LANDMARKS in arguments.groups
    if own and arguments.landmarks is not None:
        raise UsageError("--landmarks and --group landmarks both say which; give one of them")
    if own and arguments.like is not None and Path(arguments.like).is_dir():
        raise UsageError(
            "--group landmarks is taken from a portrait; jaxface reenact --method "
            "latent_difference drives by a clip's"
        )
    if arguments.landmarks_size is not None:
        if arguments.landmarks is None:
            raise UsageError("--landmarks-size requires --landmarks")
        if arguments.landmarks_size <= 0:
            raise UsageError(
                f"--landmarks-size: expected more than 0, got {arguments.landmarks_size:g}"
            )
    if arguments.proportions is not None and not (own or arguments.landmarks is not None):
        raise UsageError("--proportions requires --landmarks, or --like with --group landmarks")
    if arguments.proportions == "own" and arguments.landmarks is not None:
        raise UsageError(
            "--proportions own: of a file of points the other face is not known; give the portrait "
            "itself, --like IMAGE --group landmarks"
        )


def check_reach(arguments: argparse.Namespace, expressions: float) -> None:
    """Refuses targets beyond what there are portraits of: the result would be no face.

    Args:
      arguments: of the call.
      expressions: largest amount of an expression.

    Raises:
      UsageError: naming the first option, unless the call has ``--force``.
    """
    for name, most in (ANGLE_LIMITS | dict.fromkeys(EXPRESSION_NAMES, expressions)).items():
        value = getattr(arguments, name)
        if value is not None and abs(value) > most and not arguments.force:
            raise UsageError(
                f"--{name.replace('_', '-')} {value:g}: generators learn from portraits within "
                f"{-most:g} to {most:g}; name a target there, or try it all the same with --force"
            )
