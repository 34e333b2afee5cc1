"""`jaxface data`: makes a data set, or goes on making it: of renders, or of a collection of clips.

`synthetic_portraits` and `synthetic_clips` are rendered; `portrait_clips` is what a folder holds.
"""

import argparse
from typing import Any

from jaxface.cli.argument_types import seed
from jaxface.cli.collections import (
    UNLISTED,
    add_collection_arguments,
    list_collection,
    make_collection,
    refuse_collection_arguments,
)
from jaxface.cli.refusals import refuse_options
from jaxface.errors import UsageError

NAME = "data"
HELP = "make a data set: of the rendered face world, or of videos and published collections"

_FRAMES = 75


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="make portrait_clips of it: a folder of videos or of a published collection, FFHQ's "
        "zip, or a manifest (left out: render the face world)",
    )
    parser.add_argument("--out", metavar="DIR", help="folder of data sets; --list has none")
    parser.add_argument("--resolution", type=int, default=64, help="pixels per side (64)")
    parser.add_argument("--train", type=int, help="training items (100000), or persons (200)")
    parser.add_argument("--test", type=int, help="test items (2000), or persons (20)")
    parser.add_argument("--seed", type=seed, default=0, help="seed of all items (0)")
    parser.add_argument(
        "--shard-size",
        type=int,
        help="items per file, a multiple of 32 (2048); with --clips or SOURCE clips per file (16)",
    )
    parser.add_argument(
        "--images-per-identity",
        type=int,
        default=1,
        metavar="N",
        help="items in a row that show the same person (1)",
    )
    parser.add_argument(
        "--world",
        metavar="VERSION",
        help="version of the world, 2.0.0 or 3.0.0; the data set bears it (2.0.0; 3.0.0 of clips)",
    )
    parser.add_argument(
        "--clips",
        type=int,
        metavar="N",
        help="make synthetic_clips: N clips of each of --train and --test persons",
    )
    parser.add_argument(
        "--frames",
        type=int,
        metavar="T",
        help=f"with --clips: frames of a clip, 25 a second ({_FRAMES}); with SOURCE: of a clip at "
        "most",
    )
    parser.add_argument(
        "--videos",
        metavar="DIR",
        help="with --clips: write the clips as MP4 too, in VoxCeleb's layout",
    )
    add_collection_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.source is not None and args.list is not None:
        refuse_options(args, add_arguments, UNLISTED, "is of a data set, and --list makes none")
        return list_collection(args)
    if args.out is None:
        raise UsageError("--out DIR is required: the folder that data sets are made in")
    if args.source is not None:
        return make_collection(args)
    refuse_collection_arguments(args, but=("every",) if args.clips is not None else ())
    given = {"num_train": args.train, "num_test": args.test, "shard_size": args.shard_size}
    sizes: dict[str, Any] = {name: size for name, size in given.items() if size is not None}
    if args.clips is not None:
        return _make_clips(args, sizes if args.every is None else sizes | {"every": args.every})
    if args.frames is not None or args.videos is not None:
        raise UsageError("--frames and --videos are of clips; add --clips N, or leave them out")
    from jaxface.data.synthetic_portraits import PortraitsConfig, generate

    config = PortraitsConfig(
        resolution=args.resolution,
        seed=args.seed,
        images_per_identity=args.images_per_identity,
        version=args.world or "2.0.0",
        **sizes,
    )
    print(generate(config, args.out))
    return 0


def _make_clips(args: argparse.Namespace, sizes: dict[str, Any]) -> int:
    from jaxface.data.clip_view import ClipView
    from jaxface.data.synthetic_clips import ClipsConfig, generate

    if args.images_per_identity != 1:
        raise UsageError(
            "--clips: says how many clips each person has; leave --images-per-identity out"
        )
    if args.videos is not None:
        from jaxface.media.video import load_av

        load_av()  # what is missing is told before anything is rendered
    config = ClipsConfig(
        resolution=args.resolution,
        clips=args.clips,
        frames=_FRAMES if args.frames is None else args.frames,
        seed=args.seed,
        version=args.world or "3.0.0",
        **sizes,
    )
    folder = generate(config, args.out)
    if args.videos is not None:
        for split, persons in (("train", config.num_train), ("test", config.num_test)):
            if persons:
                ClipView(folder, split=split).write_videos(args.videos)
    print(folder)
    return 0
