"""`jaxface benchmark NAME`: times the hot paths, alone or beside other implementations."""

import argparse

NAME = "benchmark"
HELP = "time synthesis or projection, alone or beside other implementations"

SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=("synthesis", "projection"), metavar="NAME",
                        help="synthesis or projection")  # fmt: skip
    parser.add_argument("--resolution", type=int, default=256, help="pixels per side (256)")
    parser.add_argument(
        "--channel-base",
        type=int,
        default=16384,
        help="channels at resolution r are min(base / r, max) (16384)",
    )
    parser.add_argument("--channel-max", type=int, default=512, help="see --channel-base (512)")
    parser.add_argument(
        "--batch", type=_positive, nargs="+", default=[1, 4], help="batch sizes (1 4)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="what convolutions compute in (float32)",
    )
    parser.add_argument("--repeats", type=_positive, default=10, help="rounds timed (10)")
    parser.add_argument(
        "--perceptual",
        action="store_true",
        help="projection: add a VGG-16 perceptual term of full width to the energy",
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="MODULE:FACTORY",
        help="another implementation to time in the same rounds (repeatable); see "
        "benchmarks/README.md",
    )
    parser.add_argument("--out", metavar="FILE.json", help="write the results there")


def run(args: argparse.Namespace) -> int:
    import jax

    from jaxface import benchmark
    from jaxface.benchmark.report import document
    from jaxface.errors import UsageError

    if args.perceptual and args.name != "projection":
        raise UsageError(f"--perceptual: {args.name} has no energy; it belongs to projection")
    # A program read back from the cache would be reported as one compiled in no time.
    cached = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        try:
            problem = benchmark.random_problem(
                resolution=args.resolution,
                channel_base=args.channel_base,
                channel_max=args.channel_max,
                dtype=args.dtype,
                perceptual=args.perceptual,
                seed=SEED,
            )
        except ValueError as error:
            raise UsageError(str(error)) from error
        peers = benchmark.load_peers(args.peer, problem)
        measurements = benchmark.run_benchmark(
            args.name,
            problem,
            batches=args.batch,
            repeats=args.repeats,
            peers=peers,
            seed=SEED,
        )
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)
    report = document(
        args.name, problem, measurements, peers=peers, repeats=args.repeats, seed=SEED
    )
    print(benchmark.table(report))
    if args.out is not None:
        benchmark.write_report(args.out, report)
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return value
