"""Who may import whom: networks know no methods, methods no files, commands no gradients."""

import pytest
from source import attributes, imported, modules, within

USERS = ("cli", "jobs", "media", "methods", "training")
FILES = ("jaxface.runtime.files", "jaxface.media.video", "jaxface.data.pipelines", "fsspec", "io")
FILES += ("pathlib", "PIL", "pyarrow", "safetensors", "shutil", "tempfile", "tensorflow_datasets")

# Room to what it does not import. Data, evaluation, benchmark and convert may use all of these.
FORBIDDEN = {
    "nets": [f"jaxface.{room}" for room in (*USERS, "morphable", "losses", "solving")],
    "losses": [f"jaxface.{room}" for room in (*USERS, "morphable", "solving")],
    "metrics": [f"jaxface.{room}" for room in (*USERS, "morphable", "solving")],
    "methods": ["jaxface.cli", "jaxface.jobs", *FILES],
    "solving": ["jaxface.methods", "jaxface.cli", "jaxface.jobs"],
    "training": ["jaxface.methods", "jaxface.cli", "jaxface.jobs"],
    "runtime": ["jaxface.methods", "jaxface.cli", "jaxface.jobs", "jaxface.nets"],
}
# Module and what it imports all the same, each with its reason.
EXCEPTIONS: set[tuple[str, str]] = set()


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_do_not_reach_up(room):
    wrong = {
        (module, name)
        for module, tree in modules(room).items()
        for name in imported(tree)
        if within(name, *FORBIDDEN[room])
    }
    assert wrong - EXCEPTIONS == set()


@pytest.mark.parametrize("room", ["jobs", "cli"])
def test_jobs_and_commands_compute_no_gradients(room):
    gradients = {"jax.grad", "jax.value_and_grad", "jax.vjp", "nnx.grad", "nnx.value_and_grad"}
    for module, tree in modules(room).items():
        assert not gradients & {*imported(tree), *attributes(tree)}, module


def test_every_exception_is_still_needed():
    trees = modules()
    assert all(name in imported(trees[module]) for module, name in EXCEPTIONS)
