"""The exceptions that jaxface raises on purpose.

Every one of them derives from `JaxfaceError`, and each subsystem defines its own kinds next to
the code that raises them (`ImageError` in `images`, `WeightsError` in `weights`). The command
line prints a `JaxfaceError` as one line; anything else is a defect and keeps its traceback.
"""


class JaxfaceError(Exception):
    """Something the caller can put right. The message says what, where, got, expected."""


class UsageError(JaxfaceError):
    """The call itself was wrong: a bad option, an input that does not exist, a folder in use."""
