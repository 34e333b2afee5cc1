"""What a suite reaches, measured against the embedded world's ground truth.

An evaluation is a module with a function ``run`` (see `Evaluation`) and a row of `EVALUATIONS`,
from which `jaxface evaluate` takes its names, options and help. This module imports no JAX, so that
the command's help answers at once.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from jaxface.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Option:
    """A keyword of an evaluation's ``run``, and the command's option of that name.

    Attributes:
      name: the keyword; on the command line with dashes.
      help: what it sets. Evaluations that share an option share its help.
      default: where it is not given; None where ``run`` decides.
      type: text to value; `bool` for a flag.
      least: the smallest value, or None.
      above: what the value must exceed, or None.
      metavar: the value's name in the help.
    """

    name: str
    help: str
    default: Any = None
    type: Callable[[str], Any] = int
    least: int | None = None
    above: float | None = None
    metavar: str = "N"

    @property
    def flag(self) -> str:
        """As it is written on the command line."""
        return "--" + self.name.replace("_", "-")

    def check(self, value: Any) -> None:
        """Insists on a number in the option's range.

        Raises:
          UsageError: it is not in it.
        """
        if self.least is not None and value < self.least:
            raise UsageError(f"{self.flag}: expected at least {self.least}, got {value}")
        if self.above is not None and not self.above < value < math.inf:
            raise UsageError(f"{self.flag}: expected more than {self.above:g}, got {value}")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A row of `EVALUATIONS`.

    Attributes:
      module: has ``run(suite, workspace, **options) -> Outcome``, which measures a
        `jaxface.suite.Suite` and writes to a `jaxface.evaluation.outputs.Workspace`.
      help: what it does and writes, a paragraph.
      options: of ``run``.
    """

    module: str
    help: str
    options: tuple[Option, ...]


def _portraits(default: int, least: int) -> Option:
    return Option("portraits", "held-out renders to invert", default, least=least)


_ITERATIONS = Option(
    "iterations", "factor of the numbers of steps", 1.0, float, above=0, metavar="F"
)

EVALUATIONS: Mapping[str, Evaluation] = MappingProxyType(
    {
        "generator": Evaluation(
            "jaxface.evaluation.generator",
            "samples are compared with renders, and renders are inverted. DIR receives "
            "generator.json, generator.md and contact sheets (PNG): samples, renders above what "
            "the generator makes of their factors, truncation, interpolation and style mixing.",
            (
                _portraits(64, least=0),
                Option("samples", "items in each set", 10_000, least=10),
                Option(
                    "world",
                    "version of the world whose renders samples are compared with (default: that "
                    "whose faces the suite's reconstruction network reads)",
                    None,
                    str,
                    metavar="VERSION",
                ),
                Option(
                    "plain",
                    "z is plain noise, its first coordinates are no factors of a scene",
                    False,
                    bool,
                ),
            ),
        ),
        "pie": Evaluation(
            "jaxface.evaluation.pie",
            "held-out renders are inverted by the six columns of PIE's Table 2, edited, and judged "
            "by the suite's networks and by the ground truth. DIR receives pie.json, pie.md, "
            "figures (PNG) and parts/, what is finished: the same command again goes on where a "
            "stopped one ended. Its plots need matplotlib, the extra `plots`.",
            (
                _portraits(100, least=2),
                Option("edits", "edits of each portrait's pose (4)", least=1),
                Option("full", "the paper's 2500 edits, 25 of each portrait", False, bool),
                _ITERATIONS,
                Option(
                    "columns",
                    "columns of Table 2 to measure (all six)",
                    type=str,
                    metavar="NAME,...",
                ),
                Option("batch_size", "portraits inverted together", 20, least=1),
            ),
        ),
        "reenactment": Evaluation(
            "jaxface.evaluation.reenactment",
            "persons of the embedded world are embedded from one frame and driven by clips of "
            "their own and of others, and judged by networks and by the ground truth under one "
            "frozen protocol. DIR receives reenactment.json, reenactment.md, sheets (PNG) and "
            "parts/, what is finished.",
            (
                Option(
                    "methods",
                    "reenactment methods to measure",
                    "pie",
                    str,
                    metavar="NAME,...",
                ),
                Option("persons", "subjects, each with a clip", 6, least=2),
                Option("frames", "of each clip", 8, least=3),
                _ITERATIONS,
                Option(
                    "tables",
                    "Tables 2 to 5 of Finding Directions too: its matrix trained and drawn with "
                    "and without its parts",
                    False,
                    bool,
                ),
                Option("steps", "of each of those trainings", 30, least=2),
                Option(
                    "beside",
                    "reenactment.json of an earlier run of the same protocol, judges and networks, "
                    "whose methods the report has too",
                    type=str,
                    metavar="FILE",
                ),
            ),
        ),
        "transfer": Evaluation(
            "jaxface.evaluation.transfer",
            "Transfer's Table 1, and the same with the ground truth as judge: portraits of the "
            "embedded world are driven by clips of other persons, by the baselines and by the "
            "trained networks. DIR receives transfer.json, transfer.md, a sheet (PNG) and parts/, "
            "what is finished.",
            (
                Option("persons", "subjects, each with a clip", 8, least=2),
                Option("frames", "of each clip", 16, least=3),
                Option(
                    "rows",
                    "folders whose networks take the suite's place in a row of the table",
                    type=str,
                    metavar="ROW=DIR,...",
                ),
            ),
        ),
        "latent_difference": Evaluation(
            "jaxface.evaluation.latent_difference",
            "the Latent Difference Encoder's table, and the same with the ground truth as judge: "
            "renders of the embedded world are redrawn with the landmarks of others, by the "
            "inversion alone, by the trainings of the paper's ablation and by the suite's network; "
            "and the suite's encoders are compared. DIR receives latent_difference.json, "
            "latent_difference.md, three sheets (PNG) and parts/, what is finished.",
            (
                Option("portraits", "held-out renders to invert", 256, least=2),
                Option(
                    "rows",
                    "folders whose networks take the suite's place in a row of the table",
                    type=str,
                    metavar="ROW=DIR,...",
                ),
            ),
        ),
        "pvp": Evaluation(
            "jaxface.evaluation.pvp",
            "PVP's Table 2, and the same with the ground truth as judge: avatars of persons of the "
            "embedded world, learned from the first part of a clip, draw its last part, beside "
            "frame-by-frame inversion and the one-shot methods. DIR receives pvp.json, pvp.md, a "
            "sheet (PNG), avatars/ and parts/, what is finished.",
            (
                Option("persons", "subjects, each with a clip", 2, least=2),
                Option("frames", "of each clip", 500, least=100),
                _ITERATIONS,
                Option("preset", "how avatars are learned", "embedded", str, metavar="NAME"),
                Option(
                    "ablations",
                    "the first person's avatar learned again without each of its parts",
                    False,
                    bool,
                ),
            ),
        ),
        "precision": Evaluation(
            "jaxface.evaluation.precision",
            "held-out renders are inverted in float32 and in bfloat16, from several starts each. "
            "DIR receives precision.json and precision.md; the exit status is 1 if bfloat16 is "
            "worse by more than the noise of float32 runs.",
            (
                _portraits(8, least=1),
                _ITERATIONS,
                Option("preset", "how they are inverted", "pie_embedded", str, metavar="NAME"),
                Option("runs", "starts, for each dtype", 4, least=2),
            ),
        ),
    }
)
"""Every evaluation by name."""
