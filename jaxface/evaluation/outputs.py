"""Where an evaluation works, and what every one leaves: a report and a document."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from jaxface.runtime.files import atomic_writer


@dataclasses.dataclass(frozen=True)
class Workspace:
    """What an evaluation's ``run`` is given beside the suite.

    Attributes:
      folder: receives report, document, figures and finished parts.
      claim: ``(folder, description)`` to a context manager that holds the folder exclusively and
        refuses one that was begun with another description, as `jaxface.jobs` has it. For
        evaluations that go on where a stopped one ended.
      say: receives lines of progress.
    """

    folder: Path
    claim: Callable[[Path, Mapping[str, Any]], AbstractContextManager[Any]]
    say: Callable[[str], None]

    def write(self, name: str, report: str, document: Mapping[str, Any]) -> None:
        """Writes ``<name>.md`` and ``<name>.json``; each appears whole or not at all.

        Args:
          name: of the evaluation.
          report: Markdown.
          document: everything that was measured, in JSON's types.
        """
        texts = {f"{name}.md": report, f"{name}.json": json.dumps(document, indent=1)}
        for file_name, text in texts.items():
            with atomic_writer(self.folder / file_name) as file:
                file.write(text.rstrip("\n").encode() + b"\n")


class Outcome(NamedTuple):
    """What an evaluation's ``run`` gives.

    Attributes:
      report: Markdown.
      passed: whether what was measured is good enough; always, for those that only measure.
    """

    report: str
    passed: bool = True
