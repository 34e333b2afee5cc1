"""The command itself: quick help, versions, nearest names, and where compiled programs go."""

import os
import subprocess
import sys

import pytest

import jaxface
from jaxface.cli import VERBS, main
from jaxface.cli.environment import share_cpu_cores
from jaxface.runtime.compilation_cache import use_compilation_cache


def test_help_names_every_verb_without_importing_jax():
    code = (
        "import sys; from jaxface.cli import main; status = main(['--help']); "
        "heavy = {'jax', 'flax', 'numpy', 'tensorflow_datasets', 'grain'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout


def test_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "jaxface", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"jaxface {jaxface.__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert f"usage: jaxface {verb}" in capsys.readouterr().out


def test_unknown_verb_gets_the_nearest_name(capsys):
    assert main(["invrt"]) == 2
    assert capsys.readouterr().err == (
        "jaxface: error: unknown verb 'invrt'; did you mean 'invert'?\n"
    )
    assert main(["xyz"]) == 2
    assert "expected one of" in capsys.readouterr().err


def test_compilation_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("JAXFACE_COMPILATION_CACHE", "off")
    use_compilation_cache()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    monkeypatch.setenv("JAXFACE_COMPILATION_CACHE", "on")
    use_compilation_cache()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "jaxface" / "xla")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    use_compilation_cache()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"
    monkeypatch.setenv("JAXFACE_COMPILATION_CACHE", "maybe")
    assert main(["invert", "x.png", "--out", "y"]) == 2


@pytest.mark.parametrize(("cores", "devices"), [(1, "1"), (2, "2"), (7, "4"), (96, "8")])
def test_each_core_is_a_device(monkeypatch, cores, devices):
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    share_cpu_cores()
    assert os.environ["JAX_NUM_CPU_DEVICES"] == devices
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "3")
    share_cpu_cores()
    assert os.environ["JAX_NUM_CPU_DEVICES"] == "3"


# Page faults of a thread that allocates, fills and frees 64 MB, the second time, in small pages.
FAULTS = """
import ctypes, resource, threading
import numpy as np
from jaxface.cli.environment import keep_freed_memory
PR_SET_THP_DISABLE = 41
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def call():
    np.empty(2**26, np.uint8).fill(1)
for _ in range(2):
    before = faults()
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_kept_where_the_cpu_computes():
    def faults(**settings: str) -> int:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC", "GLIBC"))}
        environment = {**kept, "JAX_PLATFORMS": "cpu", **settings}
        done = subprocess.run(
            [sys.executable, "-c", FAULTS],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return int(done.stdout)

    assert faults() < 1000
    assert faults(MALLOC_MMAP_THRESHOLD_="65536") > 10_000  # users' own settings stay


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("Invert", "did you mean 'invert'?"),
        ("edit x --out y --yaw far", "--yaw: expected a number, got 'far'"),
        ("edit x --out y --frames two", "--frames: expected a whole number, got 'two'"),
        ("edit x --out y --smiel 1", "did you mean '--smile'?"),
        (
            "evaluate Pie --out x",
            "'Pie', expected one of generator, pie, reenactment, transfer, latent_difference, pvp, "
            "precision; did you mean 'pie'?",
        ),
        ("benchmark synthesis --batch-size x", "expected a whole number from 1 on, got 'x'"),
        ("demo --suite Embeded", "embedded-3; did you mean 'embedded'?"),
        ("status x --quiet --verbose", "not allowed with"),
    ],
)
def test_mistakes_are_told_in_the_users_words(call, words, capsys):
    assert main(call.split()) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1


def test_help_of_a_verb_and_levels_of_telling(capsys, tmp_path):
    assert main(["help", "status"]) == 0
    assert "usage: jaxface status" in capsys.readouterr().out
    assert main(["status", str(tmp_path / "none"), "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "none"), "--quiet"]) == 2
    assert capsys.readouterr().err.startswith("jaxface: error: ")


def test_whoever_stops_reading_the_output_is_no_error():
    command = f"{sys.executable} -m jaxface help invert | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


def test_errors_are_of_one_line(capsys, tmp_path):
    assert main(["status", str(tmp_path / "a\nb\x1b[2J")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "\x1b" not in told


def test_a_table_has_a_line_for_each_row_whatever_its_names_hold():
    from jaxface.cli.invert import report

    row = {"id": "a\nb/g0.png  ok\t.png", "status": "corrupt", "reason": "x\r\ny", "psnr": None}
    assert len(report([row]).splitlines()) == 4


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (["invert", "a.png", "--out", ""], "--out: expected a folder's name"),
        (["invert", "a.png", "--out", "x", "--split", "test"], "no input is a data set"),
        (["edit", "a", "--out", "x", "--light", "left", "--strength", "2"], "--strength: expected"),
        (["train", "--config", "a.png", "--out", "x"], "cannot be run as a configuration"),
        (["train", "--config", "b.py", "--out", "x"], "NameError: name 'nothing'"),
    ],
)
def test_options_are_told_by_their_own_names(call, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "b.py").write_text("nothing")
    assert main(call) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("seed", ["-1", "4294967296", "99999999999999999999", "x"])
@pytest.mark.parametrize("verb", ["invert", "reenact", "data"])
def test_a_seed_that_keys_cannot_hold_is_refused(verb, seed, tmp_path, capsys):
    more = {"reenact": ["a.png", "--driving", "b.mp4"], "invert": ["a.png"]}.get(verb, [])
    assert main([verb, *more, "--out", str(tmp_path / "out"), f"--seed={seed}"]) == 2
    assert f"got '{seed}'" in capsys.readouterr().err
