"""Every verb explains itself without importing JAX, or anything else that is slow."""

import subprocess
import sys

from jaxface.cli import VERBS

CODE = """
import sys
from jaxface.cli import main
heavy = {"jax", "flax", "numpy", "jaxtyping", "tensorflow_datasets", "grain"}
for verb in sys.argv[1:]:
    assert main([verb, "--help"]) == 0
    assert not heavy & {*sys.modules}, (verb, heavy & {*sys.modules})
"""


def test_help_of_every_verb_imports_nothing_heavy():
    command = [sys.executable, "-c", CODE, *VERBS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
