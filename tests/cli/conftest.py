"""What the tests of the verbs share."""

import pytest

from tests import shard_jobs


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A working folder with images in `in`, one of them damaged, and a manifest of them."""
    monkeypatch.chdir(tmp_path)
    shard_jobs.write_pictures(tmp_path)
    return tmp_path
