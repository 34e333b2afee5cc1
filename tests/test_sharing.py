"""Suites that are saved whole, and suites on the Hugging Face Hub (which the tests do not ask)."""

import shutil
import sys
import types

import jax
import numpy as np
import pytest

import jaxface
from jaxface.cli import main
from jaxface.errors import SuiteError
from jaxface.suite import load_suite


def test_a_suite_is_saved_whole_with_its_card(tiny_suite, tmp_path):
    folder = jaxface.save_suite(load_suite(tiny_suite), tmp_path / "mine")
    saved, given = load_suite(folder), load_suite(tiny_suite)
    assert saved.files.keys() == given.files.keys()
    assert all(saved.digest(role) == given.digest(role) for role in given.files)
    card = (folder / "README.md").read_text()
    assert "# mine" in card
    assert given.digest("generator") in card
    with pytest.raises(OSError, match="mine"):
        jaxface.save_suite(given, folder)


def test_a_network_takes_the_place_of_the_suites(tiny_suite, tmp_path):
    suite = load_suite(tiny_suite)
    other = suite.generator.with_w_mean(jax.numpy.full((32,), 2.0))
    saved = load_suite(jaxface.save_suite(suite, tmp_path / "mine", networks={"generator": other}))
    np.testing.assert_array_equal(saved.generator.w_mean, 2.0)
    assert saved.digest("perceptual") == suite.digest("perceptual")
    with pytest.raises(SuiteError, match="encoder"):
        jaxface.save_suite(suite, tmp_path / "no", networks={"encoder": other})
    assert not (tmp_path / "no").exists()


def test_a_folder_of_results_does_not_hide_a_shipped_suite(tiny_suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "embedded" / "latents").mkdir(parents=True)
    assert "rignet_pose" in load_suite("embedded").files
    shutil.copytree(tiny_suite, "embedded", dirs_exist_ok=True)
    assert load_suite("embedded").generator.resolution == 16


@pytest.fixture
def hub(tiny_suite, tmp_path, monkeypatch):
    """A Hub with one repository; what it was asked for."""
    asked = []

    def snapshot_download(repository, *, revision, allow_patterns):
        asked.append((repository, revision, allow_patterns))
        if repository != "some/suite":
            raise FileNotFoundError(f"404 Client Error.\n{repository}: no such repository")
        return str(shutil.copytree(tiny_suite, tmp_path / "snapshot", dirs_exist_ok=True))

    module = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return asked


@pytest.mark.parametrize(
    ("name", "revision"), [("hf:some/suite", None), ("hf:some/suite@v1", "v1")]
)
def test_a_suite_on_the_hub_is_fetched(hub, name, revision):
    suite = load_suite(name)
    assert suite.name == name
    assert suite.generator.resolution == 16
    assert hub == [("some/suite", revision, ["*.safetensors"])]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hf:suite", "expected hf:owner/name"),
        ("hf:some/suite@", "expected hf:owner/name"),
        ("hf:no/suite", "cannot be fetched: 404 Client Error. no/suite: no such repository"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_the_hub_has_not_is_one_line(name, told, capsys):
    assert main(["card", name]) == 2
    printed = capsys.readouterr().err
    assert told in printed
    assert len(printed.splitlines()) == 1


def test_what_the_hub_needs_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SuiteError, match=r'pip install "jaxface\[hub\]"'):
        load_suite("hf:some/suite")
