"""`python -m jaxface`, the same as the `jaxface` command."""

import sys

from jaxface.cli import main

if __name__ == "__main__":
    sys.exit(main())
