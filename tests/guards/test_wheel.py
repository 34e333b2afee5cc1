"""The wheel: what is in it, and that it works outside of the source tree."""

import os
import subprocess
import sys
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
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True, text=True, timeout=300)
    (path,) = out.glob("jaxface-*.whl")
    return path


def test_what_is_in_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {*NEEDED} - {*names} == set()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"jaxface"}
    assert not [name for name in names if "test" in name or "__pycache__" in name]


def test_it_works_outside_the_tree(wheel, tmp_path):
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
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", str(wheel))
    assert run(str(bin_folder / "jaxface"), "--version").startswith("jaxface ")
    assert "usage: jaxface convert" in run(str(bin_folder / "jaxface"), "convert", "--help")
    code = "import jaxface; print(jaxface.__file__); print(jaxface.load_suite('embedded').files)"
    home, files = run(python, "-c", code).splitlines()
    assert str(tmp_path / "venv") in home
    assert "generator" in files
