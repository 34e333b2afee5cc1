"""`jaxface data SOURCE`: a collection of clips, recognised, listed and made a data set."""

import argparse
import sys
from collections import Counter
from collections.abc import Collection
from typing import Any

from jaxface.errors import UsageError, printable

_OPTIONS = {
    "layout": "auto",
    "align": False,
    "suite": "embedded",
    "landmarks": None,
    "workers": 0,
    "every": 1,
    "fps": None,
    "test_share": 0.1,
    "max_missing": None,
    "list": None,
    "process": None,
    "processes": None,
}
"""Options that need SOURCE, and their defaults."""

UNLISTED = (
    *("out", "resolution", "frames", "shard_size"),
    *("align", "suite", "landmarks", "workers", "every", "process", "processes"),
)
"""Options that say how a collection becomes a data set, without effect on its manifest."""


def add_collection_arguments(parser: argparse.ArgumentParser) -> None:
    """What `make_collection` reads, besides --out, --resolution, --frames and --shard-size."""
    group = parser.add_argument_group("with SOURCE")
    group.add_argument(
        "--layout",
        metavar="NAME",
        help="auto, vox, fomm, stelabou, nha, nerfblendshape, ffhq, video or folder (auto)",
    )
    group.add_argument(
        "--align",
        action="store_true",
        default=None,
        help="cut out FFHQ's crop of each clip's largest face, smoothed over time",
    )
    group.add_argument(
        "--suite",
        metavar="NAME|DIR",
        help="with --align: find faces by this suite's networks, where it has them (embedded)",
    )
    group.add_argument(
        "--landmarks",
        metavar="FILE",
        help="with --align: a converted landmark network that places points in dlib's boxes",
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="with --align: processes that find faces (0)"
    )
    group.add_argument(
        "--every", type=int, metavar="N", help="take each n-th frame (1); with --clips too"
    )
    group.add_argument(
        "--fps", type=float, help="of folders of images, instead of the layout's own"
    )
    group.add_argument(
        "--test-share",
        type=float,
        metavar="S",
        help="of the persons whose split the collection does not say (0.1)",
    )
    group.add_argument(
        "--max-missing",
        type=int,
        metavar="N",
        help="give up where more of the listed clips are absent (any number)",
    )
    group.add_argument(
        "--list", metavar="FILE", help="write the manifest there, to be edited, and stop"
    )
    group.add_argument(
        "--process", type=int, metavar="N", help="which of the processes this is (the launcher's)"
    )
    group.add_argument(
        "--processes", type=int, metavar="N", help="how many share the shards (the launcher's)"
    )


def refuse_collection_arguments(args: argparse.Namespace, *, but: Collection[str] = ()) -> None:
    """Refuses what only a collection has.

    Args:
      args: of the call.
      but: names of those that what is made has too.

    Raises:
      UsageError: such an option is given.
    """
    for name in _OPTIONS:
        if name not in but and getattr(args, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is of a collection; name its folder")


def list_collection(args: argparse.Namespace) -> int:
    """Writes the manifest of the collection, and makes nothing; the arguments' errors as below."""
    from jaxface.data.clips.listing import write_manifest

    listing, _ = _listed(args)
    write_manifest(args.list, listing)
    print(args.list)
    return 0


def make_collection(args: argparse.Namespace) -> int:
    """Lists the collection, tells what it is, and makes `portrait_clips` of it.

    Returns:
      The exit status: 1 where clips could not be read; absent ones are told.

    Raises:
      UsageError: options that do not belong together.
      JaxfaceError: no such collection, or none of its clips can be used.
    """
    from jaxface.jobs.launchers import share_of_this_process
    from jaxface.runtime.progress import note

    share = share_of_this_process(args.process, args.processes)
    listing, chosen = _listed(args)

    from jaxface.data.clips.cropping import Cropping
    from jaxface.data.portrait_clips import OK, PortraitClipsConfig, generate, read_report

    find_faces = None
    if chosen["align"] and not all(clip.landmarks for clip in listing.clips):
        find_faces = _detector(chosen)
    config = PortraitClipsConfig(
        listing=listing,
        cropping=Cropping(args.resolution, chosen["align"], find_faces, chosen["workers"]),
        every=chosen["every"],
        frames=args.frames,
        shard_size=args.shard_size,
    )
    folder, complete = generate(config, args.out, share=share)
    if not complete:
        note(f"process {share.index} of {share.count}: its shards are done, others' are not yet")
        print(folder)
        return 0
    rows = read_report(folder)
    statuses = Counter(row["status"] for row in rows)
    frames = sum(row["frames"] for row in rows)
    counts = ", ".join(f"{number} {status}" for status, number in sorted(statuses.items()))
    note(f"{frames} frames of {len(rows)} clips ({counts})")
    failed = [row for row in rows if row["status"] != OK]
    for row in failed[:3]:
        text = f"jaxface: {row['clip']}: {row['status']}: {row['reason']}"
        print(printable(text), file=sys.stderr)
    print(folder)
    return 1 if failed else 0


def _listed(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The `Listing`, which is told, and all options with their defaults."""
    for name in ("train", "test", "clips", "videos", "world"):
        if getattr(args, name) is not None:
            raise UsageError(f"--{name} is of the rendered world; SOURCE has its own clips")
    if args.images_per_identity != 1 or args.seed:
        raise UsageError("--images-per-identity and --seed are of the rendered world")
    chosen = {
        name: default if getattr(args, name) is None else getattr(args, name)
        for name, default in _OPTIONS.items()
    }
    if not chosen["align"]:
        for name in ("suite", "landmarks", "workers"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name} requires --align")

    from jaxface.data.clips.layouts import list_clips

    listing, absent = list_clips(
        args.source,
        layout=chosen["layout"],
        fps=args.fps,
        test_share=chosen["test_share"],
        max_missing=args.max_missing,
    )
    _tell(listing, absent)
    return listing, chosen


def _tell(listing: Any, absent: tuple[str, ...]) -> None:
    """What was recognised, its first three clips, and what is absent."""
    from jaxface.data.clips.listing import shown
    from jaxface.runtime.progress import note

    clips = listing.clips
    of_test = [clip for clip in clips if clip.split == "test"]
    note(
        f"layout {listing.layout}: {len(clips)} clips of {len(listing.identities)} persons, "
        f"{len(of_test)} of {len({clip.identity for clip in of_test})} for the test"
    )
    for clip in clips[:3]:
        note(f"  {clip.split}  {clip.identity}  {clip.path}")
    for remark in listing.remarks:
        note(f"jaxface: {remark}")
    if absent:
        note(f"jaxface: {len(absent)} listed clips are absent: {shown(absent)}")


def _detector(chosen: dict[str, Any]) -> Any:
    """As `jaxface invert --align` chooses it."""
    from jaxface.cli.inversion_options import alignment_of

    arguments = argparse.Namespace(face="largest", any_way_up=False, **chosen)
    return alignment_of(arguments).find_faces
