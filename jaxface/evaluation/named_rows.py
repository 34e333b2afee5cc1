"""Rows of a table whose networks the call names: ``--rows ROW=DIR,ROW=DIR``."""

from collections.abc import Collection

from jaxface.errors import UsageError, did_you_mean
from jaxface.suite import Suite, overlaid


def named_suites(suite: Suite, named: str | None, known: Collection[str]) -> dict[str, Suite]:
    """The suite of each row that is named: a folder's networks in place of the suite's.

    Args:
      suite: has what the folders lack.
      named: comma-separated ROW=DIR; None or empty for none.
      known: the rows that can be named.

    Raises:
      UsageError: no such row, or one without a folder.
    """
    found: dict[str, Suite] = {}
    for text in (named or "").split(","):
        if not text.strip():
            continue
        row, _, folder = (part.strip() for part in text.partition("="))
        if row not in known or not folder:
            hint = did_you_mean(row, known) if row not in known else "name its folder."
            raise UsageError(f"--rows: expected ROW=DIR, got {text!r}; {hint}")
        found[row] = overlaid(suite, folder)
    return found
