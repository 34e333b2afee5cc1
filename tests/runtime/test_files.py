"""Files and folders that appear whole or not at all."""

import os

import pytest

from jaxface.runtime.files import atomic_path, atomic_writer


def test_a_file_is_replaced_at_the_end(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    for text in (b"one", b"two"):
        with atomic_writer(target) as file:
            file.write(text)
            assert not target.exists() or target.read_bytes() != text
        assert target.read_bytes() == text
    assert os.listdir(target.parent) == ["a.txt"]


def make_folder(target, name):
    with atomic_path(target) as hidden:
        (hidden / name).mkdir(parents=True)
        (hidden / name / "a").write_text("x")
        assert not (target / name).exists()


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "suite"
    make_folder(target, "deep")
    assert (target / "deep" / "a").read_text() == "x"
    with pytest.raises(OSError, match="not empty"):
        make_folder(target, "other")
    assert [path.name for path in tmp_path.iterdir()] == ["suite"]
    assert [path.name for path in target.iterdir()] == ["deep"]


def fail(target, folder):
    with atomic_path(target) as hidden:
        if folder:
            hidden.mkdir()
        (hidden / "b" if folder else hidden).write_text("half")
        raise RuntimeError


@pytest.mark.parametrize("folder", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path, folder):
    target = tmp_path / "a"
    target.write_text("before")
    with pytest.raises(RuntimeError):
        fail(target, folder)
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_noticed(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), atomic_writer(tmp_path / "a") as file:
        file.write(b"x")
    assert not list(tmp_path.iterdir())
