"""`jaxface benchmark NAME`: times the hot paths, alone or beside other implementations."""

import argparse
import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from jaxface.benchmark.catalogue import BENCHMARKS, WORKLOADS, positive
from jaxface.cli import benchmark_input
from jaxface.errors import UsageError
from jaxface.runtime.progress import note, one_by_one

NAME = "benchmark"
HELP = "time synthesis, projection, PIE, PTI, Transfer, networks or a suite, alone or beside others"

SEED = 0

ALL_RESOLUTIONS = (256, 1024)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, row in WORKLOADS.items():
        workload = names.add_parser(name, help=row.about, description=row.about)
        _add_generator_arguments(workload, resolutions=[256])
        for option, keywords in row.options.items():
            workload.add_argument(f"--{option}", **keywords)
        _add_shared_arguments(workload)
        _add_out(workload)
    about = BENCHMARKS["networks"].about
    networks = names.add_parser("networks", help=about, description=about)
    networks.add_argument(
        "--only", nargs="+", metavar="NETWORK", help="some of them, such as e4e ir-se50 deca (all)"
    )
    networks.add_argument(
        "--tiny", action="store_true", help="narrow and shallow ones, to try the command out"
    )
    _add_shared_arguments(networks)
    _add_out(networks)
    row = BENCHMARKS["suite"]
    suite = names.add_parser("suite", help=row.about, description=row.about)
    for option, keywords in row.options.items():
        suite.add_argument(f"--{option}", **keywords)
    _add_shared_arguments(suite)
    _add_out(suite)
    reading = names.add_parser(
        benchmark_input.NAME, help=benchmark_input.HELP, description=benchmark_input.HELP
    )
    benchmark_input.add_arguments(reading)
    about = f"{', '.join(WORKLOADS)} at {' and '.join(map(str, ALL_RESOLUTIONS))} px, with report"
    everything = names.add_parser("all", help=about, description=about)
    everything.add_argument("--only", nargs="+", choices=WORKLOADS, help="some of them (all)")
    _add_generator_arguments(everything, resolutions=[*ALL_RESOLUTIONS])
    _add_shared_arguments(everything)
    everything.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for benchmark.json, benchmark.md and roofline.png",
    )
    about = "whether a later result is slower than an earlier one; exit status 1 if it is"
    compare = names.add_parser("compare", help=about, description=about)
    compare.add_argument("old", metavar="OLD.json", help="the result to compare with")
    compare.add_argument("new", metavar="NEW.json", help="the result in question")
    compare.add_argument(
        "--tolerance",
        type=_ratio,
        default=1.1,
        help="ratio of medians, new to old, above which a row is a regression (1.1)",
    )


def run(args: argparse.Namespace) -> int:
    if args.name == "compare":
        return _compare(args)
    if args.name == benchmark_input.NAME:
        return benchmark_input.run(args)
    if args.topology is not None and (args.peer or args.profile or args.beside_cpu):
        option = "--peer" if args.peer else "--profile" if args.profile else "--beside-cpu"
        raise UsageError(f"{option} is of what runs; with --topology programs are only compiled")
    if args.topology is not None:
        # JAX is to find no accelerator of this process: described ones have the same compiler.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with _without_compilation_cache():
        if args.name == "networks":
            report = _networks(args)
        elif args.name == "suite":
            report = _suite(args)
        elif args.name == "all":
            report = _all(args)
        else:
            report = _workload(args)
    from jaxface.benchmark import table, write_report

    print(table(report))
    measured = args.topology is None
    if (
        measured
        and args.name in WORKLOADS
        and (summary := WORKLOADS[args.name].load().summary) is not None
    ):
        print(f"\n{summary(report)}")
    if args.name != "all" and args.out is not None:
        write_report(args.out, report)
    return 0


def _workload(args: argparse.Namespace) -> dict[str, Any]:
    from jaxface.benchmark import workload_problem

    row = WORKLOADS[args.name]
    if (args.perceptual or args.lpips) and not row.load().energy:
        option = "--perceptual" if args.perceptual else "--lpips"
        raise UsageError(f"{option}: belongs to projection, not to {args.name}")
    options = {name: getattr(args, name) for name in row.options}
    sweep = _sweep(args, partial=False)
    for sizes in one_by_one((_label(args.name, sizes), sizes) for sizes in _sizes(args)):
        sweep.measure(args.name, workload_problem(args.name, **sizes, options=options))
    return sweep.document()


def _networks(args: argparse.Namespace) -> dict[str, Any]:
    from jaxface.benchmark import network_names, random_network

    names = network_names(args.only)
    sweep = _sweep(args, partial=True)
    runs = [(name, dtype) for name in names for dtype in args.dtype]
    for name, dtype in one_by_one((f"{name} {dtype}", (name, dtype)) for name, dtype in runs):
        sweep.measure("networks", random_network(name, dtype=dtype, tiny=args.tiny, seed=SEED))
    return sweep.document()


def _suite(args: argparse.Namespace) -> dict[str, Any]:
    from jaxface.benchmark.suite_generator import suite_problem

    options = {name: getattr(args, name) for name in BENCHMARKS["suite"].options}
    sweep = _sweep(args, partial=False)
    runs = [(f"{args.suite} {dtype}", dtype) for dtype in args.dtype]
    for dtype in one_by_one(runs):
        sweep.measure("suite", suite_problem(**options, dtype=dtype))
    return sweep.document()


def _all(args: argparse.Namespace) -> dict[str, Any]:
    from jaxface.benchmark import workload_problem
    from jaxface.benchmark.summary import write_summary
    from jaxface.media.plots import load_matplotlib

    load_matplotlib()  # or the roofline would fail after the first measurement
    if not args.perceptual:
        args.lpips = True  # the energy of StyleGAN2's projector
    sweep = _sweep(args, partial=True)
    report: dict[str, Any] = {}
    runs = [(name, sizes) for sizes in _sizes(args) for name in args.only or WORKLOADS]
    for name, sizes in one_by_one((_label(*run), run) for run in runs):
        sweep.measure(name, workload_problem(name, **sizes))
        # After each, so that a later one that runs out of memory loses nothing.
        report = sweep.document()
        write_summary(args.out, report)
    return report


def _label(name: str, sizes: Mapping[str, Any]) -> str:
    return f"{name} {sizes['resolution']} px {sizes['dtype']}"


def _compare(args: argparse.Namespace) -> int:
    from jaxface.benchmark import read_report
    from jaxface.benchmark.regression import compare_reports

    comparison = compare_reports(read_report(args.old), read_report(args.new), args.tolerance)
    print(comparison.table())
    return 1 if comparison.regressions else 0


def _sizes(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from jaxface.benchmark import Energy
    from jaxface.nets import LPIPSConfig

    energy = Energy(args.perceptual, LPIPSConfig("vgg") if args.lpips else None)
    for resolution in args.resolution:
        for dtype in args.dtype:
            yield {
                "resolution": resolution,
                "channel_base": args.channel_base,
                "channel_max": args.channel_max,
                "dtype": dtype,
                "energy": energy,
                "seed": SEED,
            }


def _sweep(args: argparse.Namespace, *, partial: bool) -> Any:
    from jaxface.benchmark import Sweep
    from jaxface.runtime.topologies import described

    return Sweep(
        peers=args.peer,
        dtypes=args.dtype,
        batches=args.batch,
        repeats=args.repeats,
        seed=SEED,
        cpu=args.beside_cpu,
        partial=partial,
        profile=args.profile,
        topology=None if args.topology is None else described(args.topology),
        note=note,
    )


@contextlib.contextmanager
def _without_compilation_cache() -> Iterator[None]:
    """A program read back from the cache would be reported as one compiled in no time."""
    import jax

    cached = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)


def _add_generator_arguments(parser: argparse.ArgumentParser, *, resolutions: list[int]) -> None:
    shown = " ".join(map(str, resolutions))
    parser.add_argument(
        "--resolution",
        type=positive,
        nargs="+",
        default=resolutions,
        help=f"pixels per side ({shown})",
    )
    parser.add_argument(
        "--channel-base",
        type=positive,
        help="channels at resolution r are min(base / r, max) (16384, and 32768 from 512 px on)",
    )
    parser.add_argument("--channel-max", type=positive, default=512, help="see there (512)")
    parser.add_argument(
        "--perceptual",
        action="store_true",
        help="projection: add Image2StyleGAN's VGG-16 term, of full width, to the energy",
    )
    parser.add_argument(
        "--lpips",
        action="store_true",
        help="projection: add LPIPS on VGG-16, of full width, to the energy",
    )


def _add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch-size",
        "--batch",
        type=positive,
        nargs="+",
        default=[1, 4],
        dest="batch",
        metavar="N",
        help="batch sizes (1 4)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        nargs="+",
        default=["float32"],
        help="what convolutions compute in, one or both (float32)",
    )
    parser.add_argument("--repeats", type=positive, default=10, help="rounds timed (10)")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="MODULE:FACTORY",
        help="another implementation to time in the same rounds (repeatable); see "
        "benchmarks/README.md",
    )
    parser.add_argument(
        "--beside-cpu",
        action="store_true",
        help="let jaxface on the CPU take part, to see how far the accelerator's outputs are from "
        "it (for small sizes)",
    )
    parser.add_argument(
        "--topology",
        metavar="NAME",
        help="compile for one described device, such as v5e or h100, instead of running: the rows "
        "are XLA's estimates and say so; see jaxface compile",
    )
    parser.add_argument(
        "--profile",
        metavar="DIR",
        help="trace a few more calls of each program, for XProf and Perfetto, in DIR",
    )


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE.json", help="write the results there")


def _ratio(text: str) -> float:
    value = float(text)
    if not value >= 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return value
