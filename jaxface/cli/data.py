"""`jaxface data`: makes the `synthetic_portraits` data set, or goes on making it."""

import argparse

NAME = "data"
HELP = "render the embedded face world into a data set with every true parameter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of data sets")
    parser.add_argument("--resolution", type=int, default=64, help="pixels per side (64)")
    parser.add_argument("--train", type=int, default=100_000, help="training items (100000)")
    parser.add_argument("--test", type=int, default=2_000, help="test items (2000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all items (0)")
    parser.add_argument(
        "--shard-size", type=int, default=2048, help="items per file, a multiple of 32 (2048)"
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
        default="2.0.0",
        metavar="VERSION",
        help="version of the world, 2.0.0 or 3.0.0; the data set bears it (2.0.0)",
    )


def run(args: argparse.Namespace) -> int:
    from jaxface.data.synthetic_portraits import PortraitsConfig, generate

    config = PortraitsConfig(
        resolution=args.resolution,
        num_train=args.train,
        num_test=args.test,
        seed=args.seed,
        shard_size=args.shard_size,
        images_per_identity=args.images_per_identity,
        version=args.world,
    )
    print(generate(config, args.out))
    return 0
