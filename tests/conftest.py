"""What every test shares: eight virtual CPU devices, as a small TPU slice has, and a tiny suite."""

import gc
import os

import checked_signatures
import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache as cache

from jaxface.runtime.cpu_convolutions import use_eigen_convolutions

# Most of the time goes to compilation. LLVM's optimisation is left out, in the programs that tests
# start too, and so are the emitters that fuse loops by MLIR, which take as long again. XLA's own
# passes are not. From 0.11 on there are no other emitters, and XLA ends at a flag it does not know.
# The workers fill the cores, so a program's modules are not split to compile side by side.
_QUICK = {"--xla_backend_optimization_level": "0", "--xla_cpu_parallel_codegen_split_count": "1"}
if jax.__version_info__ < (0, 11):
    _QUICK["--xla_cpu_use_fusion_emitters"] = "false"
_GIVEN = os.environ.get("XLA_FLAGS", "")
_FLAGS = [f"{name}={value}" for name, value in _QUICK.items() if name not in _GIVEN]
os.environ["XLA_FLAGS"] = " ".join([_GIVEN, *_FLAGS]).strip()
use_eigen_convolutions()

checked_signatures.install()
jax.config.update("jax_num_cpu_devices", int(os.environ.get("JAX_NUM_CPU_DEVICES", "8")))

# Tracing makes many objects, few of them garbage: by default a seventh of the time goes to looking
# through them, and through the modules that stay.
gc.collect()
gc.freeze()
gc.set_threshold(100_000, 50, 100)


@pytest.fixture
def strict_dtypes():
    """No dtype is promoted without being asked for."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def strict_ranks():
    """No axis is added without being asked for; networks broadcast over channels, so not there."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache(tmp_path_factory, worker_id):
    """One folder for all workers, and the programs that tests start: many compile the same."""
    base = tmp_path_factory.getbasetemp()
    folder = str((base if worker_id == "master" else base.parent) / "compilation")
    options = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0.2,
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in options.items():
            jax.config.update(name, value)
            environment.setenv(name.upper(), str(value))
        cache.reset_cache()
        yield


@pytest.fixture(scope="session", autouse=True)
def _unsigned():
    """No Content Credentials but where a test asks for them: files are compared as bytes."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JAXFACE_C2PA", "off")
        yield


@pytest.fixture(scope="session")
def tiny_suite(tmp_path_factory):
    """The folder of a suite with random weights: a 16 px generator and narrow features."""
    from jaxface.nets import GeneratorConfig, VGGConfig
    from jaxface.weights import save_network

    folder = tmp_path_factory.mktemp("tiny_suite")
    generator = GeneratorConfig(
        resolution=16, z_dim=32, w_dim=32, mapping_layers=2, channel_base=128, channel_max=8
    )
    features = VGGConfig(channels=(4, 4, 4, 4, 4))
    for role, name, config in (
        ("generator", "Generator", generator),
        ("perceptual", "VGG16", features),
    ):
        save_network(folder / f"{role}.safetensors", random_network(name, config))
    return folder


def random_network(class_name: str, config):
    """A network of random weights, filled from NumPy: initialising one compiles for seconds."""
    from jaxface.weights import abstract_network, build_network, network_names

    rng = np.random.default_rng(0)
    arrays = {}
    for name, spec in network_names(abstract_network(class_name, config)).items():
        arrays[name] = rng.normal(size=spec.shape).astype(np.float32)
        if name.endswith("bias"):  # styles scale the input, so they are around one
            arrays[name] = np.full(spec.shape, float("affine" in name), np.float32)
    return build_network(class_name, config, arrays)


@pytest.fixture(scope="session", name="random_network")
def random_network_fixture():
    """The function above, for tests in subfolders."""
    return random_network
