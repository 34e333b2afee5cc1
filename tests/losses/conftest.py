"""Losses are tested without implicit promotion of dtypes."""

import pytest


@pytest.fixture(autouse=True)
def _strict(strict_dtypes):
    """See the fixture of all tests."""
