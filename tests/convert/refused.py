"""What every family's refusals have in common: one line, and nothing written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pickle_writer import torch_zip

from jaxface.convert import Refusal, convert

Arrays = dict[str, Any]


def check_refused(arrays: Arrays, edit: Callable[[Arrays], Any], reason: str, folder: Path) -> None:
    """A state dictionary is refused after an edit, for a reason that matches."""
    edit(arrays)
    source = folder / "source"
    source.write_bytes(torch_zip(arrays))
    with pytest.raises(Refusal, match=reason) as refusal:
        convert("auto", source, folder / "out")
    assert "\n" not in str(refusal.value)
    assert list(folder.iterdir()) == [source]


def check_other_family(arrays: Arrays, family: str, other: str, folder: Path) -> None:
    """A state dictionary of one family is not taken for another's."""
    source = folder / "source"
    source.write_bytes(torch_zip(arrays))
    with pytest.raises(Refusal, match=f"is of the family {family}, not {other}"):
        convert(other, source, folder / "out")
