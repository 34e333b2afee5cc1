"""The command line: ``python -m tools.convert_weights FAMILY IN OUT``.

``suite SUITE.toml OUT/`` converts several files into a suite.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tools.convert_weights.convert import FAMILIES, convert
from tools.convert_weights.refusal import Refusal
from tools.convert_weights.suites import PRECISIONS, convert_suite

EXIT_REFUSED = 2


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like every other refusal."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_REFUSED, f"refused: {message} (--help explains the arguments)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m tools.convert_weights",
        description="Convert a published checkpoint into jaxface's safetensors format. Nothing "
        "in the checkpoint is executed; what cannot be converted is refused, with exit status 2.",
    )
    parser.add_argument(
        "family",
        choices=[*FAMILIES, "auto", "suite"],
        help="who wrote the checkpoint; or suite, to convert the parts of a suite",
    )
    parser.add_argument(
        "source", type=Path, metavar="IN", help="the checkpoint; a suite's SUITE.toml"
    )
    parser.add_argument(
        "target", type=Path, metavar="OUT", help="the safetensors file to write; a suite's folder"
    )
    parser.add_argument(
        "--network",
        metavar="NAME",
        help="which network of the file: G_ema, G or D of a StyleGAN2, encoder or decoder of pSp, "
        "e4e and ReStyle (default: the family's first: the average to make images with, the "
        "encoder)",
    )
    parser.add_argument(
        "--with",
        dest="extras",
        metavar="NAME=FILE",
        type=_named_file,
        action="append",
        default=[],
        help="a further file of a network that is published in several; once for each",
    )
    parser.add_argument(
        "--reduced-precision",
        choices=PRECISIONS,
        default="none",
        help="compute in this where the source computes in float16 (default: none, all float32)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="load the result, run it on a seeded input and print the ranges of its outputs; "
        "refuse NaN and infinity",
    )
    return parser


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"expected NAME=FILE, got {text!r}")
    return name, Path(file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when a file was written, 2 when it was refused."""
    options = _parser().parse_args(arguments)
    try:
        extras = dict(options.extras)
        if len(extras) < len(options.extras):
            raise Refusal("--with gives one name twice")
        if options.family == "suite":
            if options.network or extras or options.reduced_precision != "none":
                raise Refusal(
                    "suite takes no --network, --with or --reduced-precision: they are keys of "
                    "a part in SUITE.toml"
                )
            report = convert_suite(options.source, options.target, check=options.check)
        else:
            report = convert(
                options.family,
                options.source,
                options.target,
                network=options.network,
                extras=extras,
                reduced_precision=options.reduced_precision,
                check=options.check,
            ).report
    except Refusal as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    print("\n".join(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
