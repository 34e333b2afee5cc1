"""The `jaxface` command: `jaxface VERB ...`.

Each verb is a module of this package with `NAME`, `HELP`, `add_arguments(parser)` and
`run(arguments) -> int`. Verb modules import JAX and the library inside `run`, so that help and
mistakes are answered at once.

Exit status: 0, all went well; 1, the call ran and some of what it was asked for failed; 2, the
call itself was wrong; 130, stopped by Ctrl-C; 141, nobody reads the output any more.
"""

import argparse
import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from jaxface import __version__
from jaxface.cli.environment import keep_freed_memory, share_cpu_cores
from jaxface.errors import JaxfaceError, UsageError, did_you_mean, printable
from jaxface.runtime.compilation_cache import use_compilation_cache
from jaxface.runtime.cpu_convolutions import use_eigen_convolutions
from jaxface.runtime.progress import is_verbose, set_verbosity

VERBS = (
    "invert",
    "compile",
    "edit",
    "reenact",
    "personalise",
    "studio",
    "status",
    "merge",
    "demo",
    "train",
    "evaluate",
    "data",
    "convert",
    "card",
    "export",
    "provenance",
    "benchmark",
)

VERBOSITY = ("--quiet", "--verbose")

TYPES = {
    "int": "a whole number",
    "positive": "a whole number from 1 on",
    "float": "a number",
    "_number": "a number",
    "_ratio": "a number from 1 on",
}
"""What the functions that read arguments expect, by their names."""

INTERRUPTED = 130  # 128 + SIGINT, what shells report
UNREAD = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      argv: arguments without the program's name; default: the process's own.

    Returns:
      The exit status; see the module.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _dispatch(argv)
        sys.stdout.flush()
        return status
    except JaxfaceError as error:
        return _failed(str(error))
    except BrokenPipeError:  # who read the output has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except OSError as error:  # of a file that no reader or writer answers for
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return _failed(f"{place}{error.strerror or error}")
    except MemoryError:
        return _failed("this needs more memory than there is")
    except KeyboardInterrupt:
        print("jaxface: stopped", file=sys.stderr)
        return INTERRUPTED


def _failed(message: str) -> int:
    """Tells an error in one line, and with --verbose where it comes from; the exit status."""
    if is_verbose():
        traceback.print_exc()
    print(printable(f"jaxface: error: {message}", lines=False), file=sys.stderr)
    return 2


def _dispatch(argv: list[str]) -> int:
    if argv[0:1] == ["help"] and len(argv) > 1:
        argv = [argv[1], "--help"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"jaxface {__version__}")
        return 0
    verb = _module(argv[0])
    parser = _Parser(prog=f"jaxface {argv[0]}", description=verb.HELP)
    verb.add_arguments(parser)
    _add_verbosity(parser)
    told = [argument for argument in argv[1:] if argument in VERBOSITY]
    rest = [argument for argument in argv[1:] if argument not in VERBOSITY]
    try:
        arguments = parser.parse_args([*told, *rest])  # a verb may have names with own options
    except SystemExit:  # after --help; a wrong argument raises UsageError
        return 0
    set_verbosity("quiet" if arguments.quiet else "verbose" if arguments.verbose else "normal")
    use_eigen_convolutions()
    use_compilation_cache()
    share_cpu_cores()
    keep_freed_memory()
    return verb.run(arguments)


def _add_verbosity(parser: argparse.ArgumentParser) -> None:
    told = parser.add_mutually_exclusive_group()
    told.add_argument(
        "--quiet", action="store_true", help="no progress and no notes: results and errors alone"
    )
    told.add_argument(
        "--verbose",
        action="store_true",
        help="also the devices, what compiling took, and where in the code an error comes from",
    )


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument as the other errors are reported: one line, in the user's words."""

    def error(self, message: str) -> NoReturn:
        wrong = re.fullmatch(r"(argument .*: )invalid (\w+) value: (.*)", message)
        if wrong is not None and wrong[2] in TYPES:
            message = f"{wrong[1]}expected {TYPES[wrong[2]]}, got {wrong[3]}"
        choice = re.fullmatch(r"(arg.*: )invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice is not None:
            known = [name.strip().strip("'") for name in choice[3].split(",")]
            near = did_you_mean(choice[2], known, cutoff=0.6)
            message = (
                f"{choice[1]}invalid choice: {choice[2]!r}, expected one of {', '.join(known)}"
            )
            message += f"; {near}" if near.startswith("did") else ""
        unknown = re.fullmatch(r"unrecognized arguments: (.*)", message)
        if unknown is not None and unknown[1].startswith("--"):
            near = did_you_mean(unknown[1].split()[0].split("=")[0], self._flags(), cutoff=0.7)
            message += f"; {near}" if near.startswith("did") else ""
        raise UsageError(f"{message} (see {self.prog} --help)")

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]


def _module(verb: str) -> ModuleType:
    if verb not in VERBS:
        raise UsageError(f"unknown verb {verb!r}; {did_you_mean(verb, VERBS, cutoff=0.6)}")
    return importlib.import_module(f"jaxface.cli.{verb}")


def _overview() -> str:
    lines = [f"  {verb:<11} {_module(verb).HELP}" for verb in VERBS]
    return "\n".join(
        [
            "usage: jaxface VERB ...",
            "",
            "Portraits in StyleGAN2's latent space.",
            "",
            *lines,
            "",
            "jaxface help VERB explains a verb; jaxface --version prints the version.",
        ]
    )
