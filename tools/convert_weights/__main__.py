"""``python -m tools.convert_weights FAMILY IN OUT`` is ``jaxface convert FAMILY IN OUT``."""

import sys
from collections.abc import Sequence

import jaxface.cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the verb; 0 when a file was written, 2 when it was refused."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return jaxface.cli.main(["convert", *arguments])


if __name__ == "__main__":
    sys.exit(main())
