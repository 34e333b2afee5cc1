"""The one error of this package, and the guard that makes every other one into it."""

import contextlib
from collections.abc import Iterator

from jaxface.errors import JaxfaceError


class Refusal(Exception):
    """The input cannot be converted; the message is one line and says what to do about it."""


@contextlib.contextmanager
def refusing(what: str = "damaged, or of a form that is not known") -> Iterator[None]:
    """Makes whatever is raised within a `Refusal`: a file can say anything, in any combination.

    The readers refuse what they know to be wrong in words of their own; this is for the rest.

    Args:
        what: is said of the file, before the error's own words.
    """
    try:
        yield
    except (Refusal, JaxfaceError):
        raise
    except MemoryError as error:
        raise Refusal("needs more memory than there is") from error
    except Exception as error:
        from jaxface.convert.formats.words import one_line

        name = type(error).__name__
        raise Refusal(f"{what} ({name}: {one_line(error)})") from error
