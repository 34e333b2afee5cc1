"""Types of options that several verbs have."""

import argparse

SEEDS = 2**32
"""JAX's keys drop what is above 32 bits, so that larger seeds would repeat smaller ones."""


def seed(text: str) -> int:
    """A seed of random keys.

    Raises:
      ArgumentTypeError: it is none.
    """
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < SEEDS:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 0 to {SEEDS - 1}, got {text!r}"
        )
    return value
