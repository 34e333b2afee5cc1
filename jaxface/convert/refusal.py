"""The one error of this package."""


class Refusal(Exception):
    """The input cannot be converted; the message is one line and says what to do about it."""
