"""`jaxface reenact` of an avatar: replay, head poses, another clip, edits that stay."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxface.cli.driver_options import check_driver_arguments
from jaxface.cli.refusals import refuse_options
from jaxface.errors import UsageError

_AVATARS = ("pitch", "yaw", "turn_frames", "directions", "project", "match_pose")
"""Options of avatars alone."""

_SHARED = (
    *("sources", "driving", "out", "suite", "commercial", "steady", "no_audio", "lossless"),
    *("align", "landmarks", "workers", "any_way_up", "quiet", "verbose"),
    *("fps", "start", "end", "every", "deinterlace", "allow_truncated"),
    *("track", "smoothing", "max_gap"),
)
"""Options of `jaxface reenact` that avatars have too."""


def is_avatar(path: str) -> bool:
    """Whether a path is an avatar's folder, or that of `jaxface personalise`; without JAX."""
    return any((folder / "avatar.json").is_file() for folder in (Path(path), Path(path) / "avatar"))


def add_avatar_arguments(parser: argparse.ArgumentParser) -> None:
    """What avatars can do beside being driven."""
    group = parser.add_argument_group("an avatar (of jaxface personalise) as SOURCE")
    for name in ("pitch", "yaw"):
        group.add_argument(
            f"--{name}",
            metavar="A..B",
            help=f"in place of --driving: turn from a {name} to another and back, degrees, such "
            f"as --{name}=-20..20; one number stays",
        )
    group.add_argument(
        "--turn-frames", type=int, metavar="N", help="with --pitch and --yaw: frames (100)"
    )
    group.add_argument(
        "--direction",
        action="append",
        default=[],
        dest="directions",
        metavar="SET.NAME=X",
        help="an edit of the suite's that stays while the avatar moves, see jaxface edit; may be "
        "repeated",
    )
    group.add_argument(
        "--project",
        action="store_true",
        help="with --direction: bring edits back to the person's manifold",
    )
    group.add_argument(
        "--match-pose",
        choices=("none", "mean", "deviation"),
        help="what of the driver's head poses is brought to the avatar's: expressions always are "
        "(none)",
    )


def refuse_avatar_options(arguments: argparse.Namespace) -> None:
    """Refuses what only an avatar can do.

    Raises:
      UsageError: it is asked for, and no SOURCE is an avatar.
    """
    for name in _AVATARS:
        if getattr(arguments, name):
            option = {"directions": "direction"}.get(name, name.replace("_", "-"))
            raise UsageError(
                f"--{option} is of avatars, and no SOURCE is one (jaxface personalise)"
            )


def reenact_avatar(
    arguments: argparse.Namespace, add_arguments: Callable[[argparse.ArgumentParser], None]
) -> int:
    """The verb where its one SOURCE is an avatar."""
    _check(arguments, add_arguments)
    pitch, yaw = _degrees(arguments, "pitch"), _degrees(arguments, "yaw")
    from jaxface.cli.clip_options import clip_alignment_of, clip_reading_of
    from jaxface.cli.inversion_options import alignment_of
    from jaxface.cli.suite_options import fit_for_use
    from jaxface.jobs.avatar_clips import driven_by, replayed, turned, write_drive
    from jaxface.jobs.avatars import read_avatar
    from jaxface.jobs.inputs.motion_files import is_motion_file
    from jaxface.media.video.writing import Encoding
    from jaxface.methods.pvp import Edit
    from jaxface.runtime.devices import tell_devices

    tell_devices()
    edits = [Edit.parse(text) for text in arguments.directions]
    stored = read_avatar(arguments.sources[0], suite=arguments.suite)
    avatar, out = stored.avatar, Path(arguments.out)
    fit_for_use(avatar.suite, arguments)
    if arguments.driving is not None:
        if not Path(arguments.driving).exists():
            raise UsageError(f"--driving {arguments.driving}: no such file or folder")
        named = argparse.Namespace(**vars(arguments) | {"suite": avatar.suite.name})
        found: Any = alignment_of(named)
        if found is not None and not is_motion_file(arguments.driving):
            found = clip_alignment_of(arguments, found, avatar.suite)
        drive = driven_by(
            avatar,
            arguments.driving,
            reading=clip_reading_of(arguments),
            alignment=found,
            folder=str(out),
            match=arguments.match_pose or "none",
            steady=arguments.steady or 0.0,
        )
    elif pitch is None and yaw is None:
        drive = replayed(avatar, stored.times)
    else:
        drive = turned(
            avatar,
            pitch=pitch or (0.0, 0.0),
            yaw=yaw or (0.0, 0.0),
            frames=arguments.turn_frames or 100,
        )
    done = write_drive(
        out,
        avatar,
        drive,
        edits=edits,
        project=arguments.project,
        sound=not arguments.no_audio,
        encoding=Encoding(lossless=True) if arguments.lossless else None,
    )
    print(f"clip:          {out / 'clip.mp4'}, {done['frames']} frames")
    if done["outside"]:
        first = dict(done["first"])
        index = first.pop("index")
        told = ", ".join(f"{name} {value:g}" for name, value in first.items())
        print(
            f"beyond:        {done['outside']} frames ask for what the clip did not show, first "
            f"frame {index}: {told} ({out / 'frames.jsonl'})"
        )
    return 0


def _check(
    arguments: argparse.Namespace, add_arguments: Callable[[argparse.ArgumentParser], None]
) -> None:
    if len(arguments.sources) > 1:
        raise UsageError(f"{arguments.sources[0]} is an avatar; it is driven by itself")
    if arguments.out is None:
        raise UsageError("--out DIR is missing: the folder for the results")
    others = vars(arguments).keys() - {*_AVATARS, *_SHARED}
    refuse_options(arguments, add_arguments, others, "is not of avatars")
    check_driver_arguments(arguments)
    turns = [name for name in ("pitch", "yaw") if getattr(arguments, name) is not None]
    if arguments.driving is None:
        for name in ("match_pose", "steady", "align", "fps", "start", "end", "every"):
            if getattr(arguments, name) not in (None, False):
                raise UsageError(f"--{name.replace('_', '-')} requires --driving")
    elif turns:
        raise UsageError(f"--{turns[0]} is in place of --driving")
    if arguments.turn_frames is not None and (not turns or arguments.turn_frames < 1):
        raise UsageError("--turn-frames: at least 1, and with --pitch or --yaw")
    if arguments.project and not arguments.directions:
        raise UsageError("--project requires --direction")


def _degrees(arguments: argparse.Namespace, name: str) -> tuple[float, float] | None:
    """A sweep's two ends.

    Raises:
      UsageError: they are no angles.
    """
    text = getattr(arguments, name)
    if text is None:
        return None
    parts = text.split("..")
    try:
        ends = [float(part) for part in parts]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2) or not all(abs(end) <= 90 for end in ends):
        raise UsageError(f"--{name}: expected degrees such as -20..20, up to 90; got {text!r}")
    return ends[0], ends[-1]
