"""Fixtures shared by the converter's tests."""

import os
from pathlib import Path

import pytest

# How parity files reach the tests: a folder beside the repository, or wherever the user says.
FIXTURES = Path(
    os.environ.get("JAXFACE_FIXTURES") or Path(__file__).parents[2] / ".." / "shared" / "fixtures"
)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of reference outputs, which is not part of the repository."""
    if not FIXTURES.is_dir():
        pytest.skip(f"no parity fixtures in {FIXTURES} (set JAXFACE_FIXTURES)")
    return FIXTURES
