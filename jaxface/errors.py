"""The product's exceptions: each says what, where, got, expected and what to do."""


class JaxfaceError(Exception):
    """A problem with an input, a file or a call; its message is one line for the user."""


class WeightsError(JaxfaceError):
    """A weights file, or a set of named arrays, does not describe the network it claims to."""


class SuiteError(JaxfaceError):
    """A suite cannot be found, or lacks a network."""


class UsageError(JaxfaceError):
    """The call itself was wrong: a bad option, an input that does not exist, a folder in use."""
