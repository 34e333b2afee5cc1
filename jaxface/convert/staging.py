"""Outputs that appear whole or not at all, and refusals that name the output."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxface.convert.refusal import Refusal
from jaxface.errors import WeightsError
from jaxface.runtime.files import atomic_path


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A hidden path for what becomes the target, see `jaxface.runtime.files.atomic_path`.

    The target may be a file, which is replaced, or a folder, which must be absent or empty.

    Raises:
        Refusal: if it cannot be written; its message names the target, never the hidden path.
    """
    hidden = target
    try:
        with atomic_path(target) as hidden:
            yield hidden
    except OSError as error:
        reason = error.strerror or str(error)
        raise Refusal(f"{target}: cannot be written: {reason}") from error
    except WeightsError as error:
        raise Refusal(str(error).replace(str(hidden), str(target))) from error
