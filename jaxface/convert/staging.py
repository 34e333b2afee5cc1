"""Outputs that appear whole or not at all: made in a hidden folder beside, then renamed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxface.convert.refusal import Refusal
from jaxface.errors import WeightsError


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A path on the target's disk; what the block puts there becomes the target when it succeeds.

    The target may be a file, which is replaced, or a folder, which must be absent or empty. If the
    block raises, the target stays as it was and nothing is left beside it.

    Raises:
        Refusal: if it cannot be written; its message names the target, never the hidden folder.
    """
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        yield folder / target.name
        os.replace(folder / target.name, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Refusal(f"{target}: cannot be written: {reason}") from error
    except WeightsError as error:
        raise Refusal(str(error).replace(str(folder), str(target.parent))) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
