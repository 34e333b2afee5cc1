"""A CPU is measured with small matrices in tests: nobody reads the shares."""

import pytest

from jaxface.benchmark import hardware


@pytest.fixture(autouse=True)
def small_measures(monkeypatch):
    monkeypatch.setattr(hardware, "MATRIX_SIDE", 64)
    monkeypatch.setattr(hardware, "ARRAY_BYTES", 1 << 20)
