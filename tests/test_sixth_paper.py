"""What a new method costs: modules of its own and `DIFF`, applied here to a copy of the package."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
OWN = {"method.py": "methods/sixth.py", "yaw_net.py": "nets/yaw_net.py"}

# File of the package, a line of it, and the line that is added after that one.
DIFF = [
    ("methods/presets.py", "from jaxface.errors import", "from jaxface.methods import sixth"),
    ("methods/presets.py", "PRESETS:", '    "pixels": sixth.Pixels(),'),
    ("nets/__init__.py", '"""Flax', "from jaxface.nets.yaw_net import YawNet, YawNetConfig"),
    ("nets/__init__.py", "__all__ = [", '    "YawNet", "YawNetConfig",'),
    ("suite.py", "from jaxface.errors import", "from jaxface.nets import YawNet"),
    ("suite.py", "    flame = Role(FLAME)", "    yaw_net = Role(YawNet)"),
]

CONFIG = """
import dataclasses

import numpy as np

from jaxface.data.pipelines import ArraySource, batches
from jaxface.methods.sixth import YawSettings
from jaxface.training.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Vectors:
    classes = {}

    def batches(self, size, fields, *, seed):
        return batches(ArraySource(self.held_out()), batch_size=size, seed=seed, fields=fields)

    def held_out(self):
        return {"w": np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)}


def get_config():
    return Experiment(method=YawSettings(), data=Vectors(), log_every=1, eval_every=1)
"""

USE = """
import sys

import jax
import numpy as np

from jaxface.cli import main
from jaxface.keys import item_keys
from jaxface.methods.reenactment import Driving, reenact
from jaxface.methods.sixth import Turn
from jaxface.morphable.motion import motion_of_pie
from jaxface.morphable.parameters import FaceParameters
from jaxface.suite import load_suite

suite = sys.argv[1]
call = ["--suite", suite, "--preset", "pixels", "--batch-size", "2"]
assert main(["compile", *call, "--inputs", "3"]) == 0
assert main(["invert", "in", *call, "--out", "whole"]) == 0
assert main(["invert", "in", *call, "--out", "shards", "--shard-size", "2"]) == 0
assert main(["merge", "shards"]) == 0
assert main(["train", "yaw_net", "--config", "yaw.py", "--out", "run"]) == 0

faces = np.zeros((3, 257), np.float32)
faces[:, 1] = -0.3, 0.0, 0.3
driving = Driving(motion=motion_of_pie(FaceParameters.from_flat(faces)))
keys = item_keys(jax.random.key(0), ["subject"])
networks = load_suite(suite)
frames = reenact(networks, Turn(), np.zeros((1, 16, 16, 3)), driving, keys=keys, chunk=2)
np.save("frames.npy", frames)
"""


def changed_package(folder):
    """A copy of the package with the sixth paper in it."""
    package = folder / "jaxface"
    ignored = shutil.ignore_patterns("assets", "__pycache__")
    shutil.copytree(ROOT / "jaxface", package, ignore=ignored)
    (package / "assets").symlink_to(ROOT / "jaxface" / "assets")
    for source, target in OWN.items():
        shutil.copy(ROOT / "tests" / "sixth_paper" / source, package / target)
    for name, after, added in DIFF:
        lines = (package / name).read_text().splitlines()
        (place,) = [i for i, line in enumerate(lines) if line.startswith(after)]
        lines.insert(place + 1, added)
        (package / name).write_text("\n".join(lines) + "\n")


def test_a_sixth_paper_is_its_module_and_six_lines(tiny_suite, tmp_path):
    changed_package(tmp_path)
    (tmp_path / "in").mkdir()
    for index in range(3):
        coarse = np.random.default_rng(index).integers(0, 256, (4, 4, 3), np.uint8)
        image = Image.fromarray(coarse).resize((16, 16), Image.Resampling.BICUBIC)
        image.save(tmp_path / "in" / f"{index}.png")
    (tmp_path / "yaw.py").write_text(CONFIG)
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
    }
    call = [sys.executable, "-c", USE, str(tiny_suite)]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, shards = (
        {row["id"]: row for row in map(json.loads, (tmp_path / out).read_text().splitlines())}
        for out in ("whole/results.jsonl", "shards/results.jsonl")
    )
    assert len(whole) == 3
    for name, row in whole.items():
        assert row["status"] == shards[name]["status"] == "ok"
        assert row["l2"] == row["loss"] > 0
        images = [
            tmp_path / "in" / pathlib.Path(name).name,
            tmp_path / "whole" / row["reconstruction"],
        ]
        wanted, made = (np.asarray(Image.open(path), np.float64) for path in images)
        ratio = 10 * np.log10(255**2 / np.mean(np.square(made - wanted)))
        np.testing.assert_allclose(row["psnr"], ratio, atol=0.05)  # of 8 bits here
        np.testing.assert_allclose(row["psnr"], shards[name]["psnr"], atol=0.1)
    scores = [json.loads(row) for row in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    scores = [row["held_out/loss"] for row in scores if "held_out/loss" in row]
    assert scores[-1] < scores[0]
    frames = np.load(tmp_path / "frames.npy")
    assert frames.shape == (3, 16, 16, 3)
    assert np.abs(frames[0] - frames[2]).max() > 1e-3
