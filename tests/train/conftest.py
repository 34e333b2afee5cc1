"""The tests here run the same two programs again and again: they are compiled once a session."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope="session", autouse=True)
def compilation_cache_folder(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("compilation"))
    options = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0.2,
    }
    before = {name: getattr(jax.config, name) for name in options}
    environment = pytest.MonkeyPatch()
    for name, value in options.items():
        jax.config.update(name, value)
        environment.setenv(name.upper(), str(value))  # for the programs that tests start
    compilation_cache.reset_cache()
    yield
    environment.undo()
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
