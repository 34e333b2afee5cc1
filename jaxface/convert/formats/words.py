"""What a file says, for messages: one line, abbreviated, without control characters."""

import reprlib
from typing import Any

from jaxface.errors import LONGEST, on_one_line

_DIGITS = 200  # bits of the largest integer that is written out


class _Abbreviated(reprlib.Repr):
    """Never looks deeper or further than it shows: values may be shared and nested without end."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxother = 3, 80
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 4

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write the longest, and the others are no use."""
        if x.bit_length() > _DIGITS:
            return f"an integer of {x.bit_length()} bits"
        return repr(x)

    def repr_bool(self, x: bool, level: int) -> str:
        return repr(x)

    repr_float = repr_complex = repr_NoneType = repr_bool

    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(x[:LONGEST], level)

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x[:LONGEST])

    repr_bytearray = repr_bytes

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{...}"
        shown = [
            f"{self.repr1(key, level - 1)}: {self.repr1(x[key], level - 1)}"
            for _, key in zip(range(self.maxdict), x, strict=False)
        ]
        return "{" + ", ".join(shown + ["..."] * (len(x) > len(shown))) + "}"

    def repr_set(self, x: set[Any], level: int) -> str:
        return f"a set of {len(x)}"

    def repr_frozenset(self, x: frozenset[Any], level: int) -> str:
        return f"a set of {len(x)}"

    def repr_instance(self, x: object, level: int) -> str:
        # A class of ours says its own name; its attributes are the file's.
        path = getattr(x, "path", None)
        return f"<{path[:80]}>" if isinstance(path, str) else f"<{type(x).__name__}>"


_REPR = _Abbreviated()


def one_line(value: object) -> str:
    """Text for an error message: no line breaks, no control characters, not too long.

    Text and exceptions say what they say, anything else what it looks like, abbreviated.
    """
    if not isinstance(value, str):
        value = str(value) if isinstance(value, Exception) else shown(value)
    return on_one_line(value)


def shown(value: object) -> str:
    """As `repr`, abbreviated and on one line."""
    return one_line(_REPR.repr(value))


def keys_of(mapping: Any) -> str:
    """The first keys of what a file holds."""
    keys = [one_line(key) for _, key in zip(range(8), mapping, strict=False)]
    return ", ".join(keys + ["..."] * (len(mapping) > len(keys))) or "(none)"
