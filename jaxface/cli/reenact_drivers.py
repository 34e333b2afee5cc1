"""What `jaxface reenact` drives by: a method by its name, and its driver, motion or images."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxface.errors import UsageError


class Driven(NamedTuple):
    """A driver that has been read.

    Attributes:
      driving: it.
      remarks: what the user should know, beside what holds of every driver.
      task: the job of it, by the fields of `jaxface.jobs.driven_task.DrivenTask` that follow
        `driving`.
    """

    driving: Any
    remarks: tuple[str, ...]
    task: Callable[..., Any]


def retargeting_of(arguments: argparse.Namespace) -> Any:
    """The `Retargeting` that the arguments ask for."""
    from jaxface.morphable.retargeting import Retargeting

    gains = []
    for text in arguments.gains:
        region, _, value = text.partition("=")
        try:
            gains.append((region, float(value)))
        except ValueError as error:
            raise UsageError(f"--gain: expected such as pose=1.2, got {text!r}") from error
    regions = tuple(dict.fromkeys(name.strip() for name in arguments.regions.split(",")))
    try:
        return Retargeting(
            arguments.motion == "relative", arguments.neutral_first, regions, tuple(gains)
        )
    except ValueError as error:
        raise UsageError(f"--motion, --regions, --gain: {error}") from error


def read_driven(
    arguments: argparse.Namespace, suite: Any, method: Any, *, reading: Any, alignment: Any
) -> Driven:
    """Reads the driver of a method.

    Args:
      arguments: of `jaxface reenact`.
      suite: has what the method needs once subjects are embedded.
      method: of `reenactment_preset`; one driven by motion has the groups that follow already.
      reading: of a clip.
      alignment: how faces are found.

    Raises:
      UsageError: it cannot be read, or does not fit what is asked for.
    """
    from jaxface.methods.reenactment_presets import is_image_driven

    read = _read_images if is_image_driven(method) else _read_motion
    options = {
        "size": suite.generator.resolution,
        "reading": reading,
        "alignment": alignment,
        "folder": arguments.out,
    }
    return read(arguments, suite, method, options)


def _read_motion(
    arguments: argparse.Namespace, suite: Any, method: Any, options: dict[str, Any]
) -> Driven:
    from jaxface.jobs.inputs.driving import read_driving
    from jaxface.jobs.reenactment import Reenactment, basis_of

    retargeting = retargeting_of(arguments)
    networks = method.networks(suite)
    driving = _steady(read_driving(arguments.driving, method, networks, **options), arguments)
    driving.neutral(retargeting)  # which a single frame has not
    basis = basis_of(method, networks, options["size"])
    try:
        retargeting.check(driving.basis, basis)
    except ValueError as error:
        raise UsageError(f"--driving {arguments.driving}: {error}") from error

    def task(*fields: Any, **more: Any) -> Reenactment:
        named = {"retargeting": retargeting, **more}
        return Reenactment(suite, arguments.method, method, driving, *fields, **named)

    remark = retargeting.remark(driving.basis, basis)
    return Driven(driving, () if remark is None else (remark,), task)


def _read_images(
    arguments: argparse.Namespace, suite: Any, method: Any, options: dict[str, Any]
) -> Driven:
    from jaxface.jobs.image_reenactment import ImageReenactment
    from jaxface.jobs.inputs.driving import read_driving_codes

    networks = method.networks(suite)
    driving = _steady(read_driving_codes(arguments.driving, method, networks, **options), arguments)

    def task(*fields: Any, **more: Any) -> ImageReenactment:
        return ImageReenactment(suite, arguments.method, method, driving, *fields, **more)

    return Driven(driving, (), task)


def _steady(driving: Any, arguments: argparse.Namespace) -> Any:
    if not arguments.steady:
        return driving
    return dataclasses.replace(driving, driver=driving.driver.smoothed(arguments.steady))


def check_driven_by_images(arguments: argparse.Namespace) -> None:
    """Refuses what only motion can be asked for.

    Raises:
      UsageError: it is asked for.
    """
    given = {
        "--motion relative": arguments.motion == "relative",
        "--neutral-first": arguments.neutral_first,
        "--regions": arguments.regions != "all",
        "--gain": bool(arguments.gains),
        "--save-motion": arguments.save_motion is not None,
    }
    for option, there in given.items():
        if there:
            raise UsageError(
                f"{option}: is of methods that are driven by motion, and --method "
                f"{arguments.method} is driven by images"
            )


def check_identity(arguments: argparse.Namespace) -> None:
    """Refuses --identity where it has no use.

    Raises:
      UsageError: beside a SOURCE, or with a method that draws nobody at random.
    """
    if arguments.identity is None:
        return
    if arguments.sources:
        raise UsageError(
            f"--identity {arguments.identity}: in place of a SOURCE, and {arguments.sources[0]} is "
            "named too"
        )
    if arguments.method != "transfer":
        raise UsageError(f"--identity {arguments.identity}: is of --method transfer")


def random_path(arguments: argparse.Namespace) -> Path:
    """Where the portrait of a random identity is written: ``random/seed-N.png`` in the results'."""
    return Path(arguments.out) / "random" / f"seed-{arguments.seed}.png"


def write_random_portrait(arguments: argparse.Namespace, suite: Any, method: Any) -> None:
    """Writes what the generator draws of --seed; it is then embedded as any portrait is."""
    import jax

    from jaxface.media.images import encode_png, to_uint8
    from jaxface.runtime.files import atomic_writer

    _, image = method.random_portrait(suite, key=jax.random.key(arguments.seed))
    path = random_path(arguments)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(path) as file:
        file.write(encode_png(jax.device_get(to_uint8(image[0]))))
