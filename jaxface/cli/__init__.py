"""The `jaxface` command: `jaxface VERB ...`.

Each verb is a module of this package with `NAME`, `HELP`, `add_arguments(parser)` and
`run(arguments) -> int`. Verb modules import JAX and the library inside `run`, so that help and
mistakes are answered at once.

Exit status: 0, all went well; 1, the call ran and some of what it was asked for failed; 2, the
call itself was wrong; 130, stopped by Ctrl-C.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from jaxface import __version__
from jaxface.cli.environment import keep_freed_memory, share_cpu_cores
from jaxface.errors import JaxfaceError, UsageError, did_you_mean, printable
from jaxface.runtime.compilation_cache import use_compilation_cache

VERBS = (
    "invert",
    "compile",
    "edit",
    "status",
    "merge",
    "demo",
    "train",
    "evaluate",
    "data",
    "convert",
    "benchmark",
)

INTERRUPTED = 130  # 128 + SIGINT, what shells report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      argv: arguments without the program's name; default: the process's own.

    Returns:
      The exit status; see the module.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(argv)
    except JaxfaceError as error:
        print(printable(f"jaxface: error: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jaxface: stopped", file=sys.stderr)
        return INTERRUPTED


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"jaxface {__version__}")
        return 0
    verb = _module(argv[0])
    parser = _Parser(prog=f"jaxface {argv[0]}", description=verb.HELP)
    verb.add_arguments(parser)
    try:
        arguments = parser.parse_args(argv[1:])
    except SystemExit:  # after --help; a wrong argument raises UsageError
        return 0
    use_compilation_cache()
    share_cpu_cores()
    keep_freed_memory()
    return verb.run(arguments)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument as the other errors are reported: one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def _module(verb: str) -> ModuleType:
    if verb not in VERBS:
        raise UsageError(f"unknown verb {verb!r}; {did_you_mean(verb, VERBS, cutoff=0.6)}")
    return importlib.import_module(f"jaxface.cli.{verb}")


def _overview() -> str:
    lines = [f"  {verb:<10} {_module(verb).HELP}" for verb in VERBS]
    return "\n".join(
        [
            "usage: jaxface VERB ...",
            "",
            "Portraits in StyleGAN2's latent space.",
            "",
            *lines,
            "",
            "jaxface VERB --help explains a verb; jaxface --version prints the version.",
        ]
    )
