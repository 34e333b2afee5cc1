"""Wheel and sdist: what is in them, and that they work outside of the source tree."""

import os
import subprocess
import sys
import tarfile
import zipfile

import pytest
from source import ROOT

pytestmark = pytest.mark.slow

NEEDED = (
    "jaxface/py.typed",
    "jaxface/assets/embedded/generator.safetensors",
    "jaxface/assets/embedded/reconstruction.safetensors",
    "jaxface/assets/samples/grace_hopper.jpg",
    "jaxface/cli/convert.py",
    "jaxface/convert/families/arcface.py",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the sdist of this tree."""
    out = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "build", "--wheel", "--sdist", "--no-isolation"]
    command = [*build, "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return {path.suffix: path for path in out.iterdir()}


@pytest.fixture
def wheel(built):
    return built[".whl"]


@pytest.fixture
def sdist(built):
    return built[".gz"]


def test_what_is_in_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {*NEEDED} - {*names} == set()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"jaxface"}
    assert not [name for name in names if "test" in name or "__pycache__" in name]


def test_the_sdist_has_all_that_development_takes(sdist, wheel):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    package = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("jaxface/")}
    assert package - names == set()
    needed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "tests/conftest.py"}
    assert {*needed, "docs/index.md", "configs/embedded_64.py", ".ci/run"} - names == set()
    assert not [name for name in names if "__pycache__" in name or name.startswith("runs/")]


@pytest.mark.parametrize("suffix", [".whl", ".gz"])
def test_it_works_outside_the_tree(built, suffix, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    bin_folder = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")

    def run(*command):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", "--system-site-packages", str(tmp_path / "venv"))
    python = str(bin_folder / "python")
    # A venv of a venv sees the packages of the first one's base: add those of the tests' own.
    (site,) = (tmp_path / "venv").glob("**/site-packages")
    # Without the editable install's own .pth file, which .pth files do not follow.
    (site / "tests.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    install = [python, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation"]
    run(*install, "--quiet", str(built[suffix]))
    assert run(str(bin_folder / "jaxface"), "--version").startswith("jaxface ")
    assert "usage: jaxface convert" in run(str(bin_folder / "jaxface"), "convert", "--help")
    code = "import jaxface; print(jaxface.__file__); print(jaxface.load_suite('embedded').files)"
    home, files = run(python, "-c", code).splitlines()
    assert str(tmp_path / "venv") in home
    assert "generator" in files
