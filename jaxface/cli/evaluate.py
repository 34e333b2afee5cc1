"""`jaxface evaluate NAME`: what a suite reaches, measured."""

import argparse
import importlib
import textwrap
from pathlib import Path
from typing import Any

from jaxface.errors import UsageError
from jaxface.evaluation import EVALUATIONS, Option

NAME = "evaluate"
HELP = "measure a suite against the embedded world's ground truth"

_NOTES = """\
The renders that a suite is compared with are drawn anew, from keys that no training uses. With the
defaults a generator takes some minutes of a CPU; pie, which inverts every portrait six times, takes
much longer: --portraits, --edits, --iterations and --columns make it smaller.

exit status: 0, measured; 1, bfloat16 is worse; 2, the call was wrong; 130, stopped by Ctrl-C
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    paragraphs = (f"{name}: {each.help}" for name, each in EVALUATIONS.items())
    parser.epilog = "\n\n".join([*(textwrap.fill(text, 100) for text in paragraphs), _NOTES])
    parser.add_argument(
        "name", choices=tuple(EVALUATIONS), metavar="NAME", help=", ".join(EVALUATIONS)
    )
    parser.add_argument(
        "--suite",
        default="embedded",
        metavar="NAME|DIR",
        help="a shipped suite's name or a folder of networks (embedded)",
    )
    for uses in _options().values():
        option = next(iter(uses.values()))
        kind: dict[str, Any] = {"type": option.type, "metavar": option.metavar}
        if option.type is bool:
            kind = {"action": "store_true", "default": None}
        parser.add_argument(option.flag, help=_help(uses), **kind)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the report")


def run(arguments: argparse.Namespace) -> int:
    options = _values(arguments)

    from jaxface import load_suite
    from jaxface.evaluation.outputs import Workspace
    from jaxface.jobs.outputs.results import ResultsFolder
    from jaxface.runtime.devices import tell_devices
    from jaxface.runtime.progress import working

    tell_devices()

    evaluation = importlib.import_module(EVALUATIONS[arguments.name].module)
    with working("loading the suite") as line:

        def say(text: str) -> None:
            line.say(text)
            line.doing(text)

        workspace = Workspace(Path(arguments.out), claim=ResultsFolder, say=say)
        outcome = evaluation.run(load_suite(arguments.suite), workspace, **options)
    print(outcome.report)
    return 0 if outcome.passed else 1


def _options() -> dict[str, dict[str, Option]]:
    """By the option's name and the evaluation's: the options of all evaluations."""
    found: dict[str, dict[str, Option]] = {}
    for name, evaluation in EVALUATIONS.items():
        for option in evaluation.options:
            found.setdefault(option.name, {})[name] = option
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _help(uses: dict[str, Option]) -> str:
    """Such as "pie, precision: factor of the numbers of steps (1)"."""
    whose = "" if len(uses) == len(EVALUATIONS) else f"{', '.join(uses)}: "
    given = {name: each.default for name, each in uses.items() if each.default not in (None, False)}
    same = len(set(given.values())) == 1
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in given.values()]
    defaults = shown[:1] if same else [f"{n} {v}" for n, v in zip(given, shown, strict=True)]
    suffix = f" ({', '.join(defaults)})" if defaults else ""
    return f"{whose}{next(iter(uses.values())).help}{suffix}"


def _values(arguments: argparse.Namespace) -> dict[str, Any]:
    """The evaluation's options by name.

    Raises:
      UsageError: one that the evaluation does not have was given, or one is out of its range.
    """
    values: dict[str, Any] = {}
    for name, uses in _options().items():
        given = getattr(arguments, name)
        option = uses.get(arguments.name)
        if option is not None:
            values[name] = option.default if given is None else given
            if given is not None:
                option.check(given)
        elif given is not None:
            flag = next(iter(uses.values())).flag
            raise UsageError(f"{flag} is of use only with {' and '.join(uses)}")
    return values
