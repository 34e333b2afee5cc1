"""The product's exceptions: each says what, where, got, expected and what to do."""

import difflib
from collections.abc import Collection


class JaxfaceError(Exception):
    """A problem with an input, a file or a call; its message is one line for the user."""


class WeightsError(JaxfaceError):
    """A weights file, or a set of named arrays, does not describe the network it claims to."""


class SuiteError(JaxfaceError):
    """A suite cannot be found, or lacks a network."""


class UsageError(JaxfaceError):
    """The call itself was wrong: a bad option, an input that does not exist, a folder in use."""


def printable(text: str, *, lines: bool = True) -> str:
    """Text for a terminal: control characters, which could be commands to it, become "?".

    Names and contents of files are whoever's that made them. Line breaks and tabs stay, unless the
    text is to be of one line.
    """
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else "?" for c in text)


LONGEST = 200
"""Characters that a message quotes of a file or of a library's error."""


def on_one_line(text: str) -> str:
    """Text that a message quotes: no line breaks, no control characters, at most `LONGEST`."""
    return printable(" ".join(text[: 4 * LONGEST].split())[:LONGEST])


def did_you_mean(name: str, known: Collection[str], *, cutoff: float = 0.0) -> str:
    """The hint for an unknown name: the nearest known one, or all where none is near.

    Args:
      name: what was given; capitals make no difference.
      known: what is accepted.
      cutoff: in [0, 1], how alike two names must be to be near; 0 always finds one.
    """
    by_folded = {each.casefold(): each for each in reversed(list(known))}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=cutoff)
    if near:
        return f"did you mean {by_folded[near[0]]!r}?"
    return f"expected one of {', '.join(known)}"
