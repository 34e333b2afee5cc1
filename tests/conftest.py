"""What every test shares: eight virtual CPU devices, as a small TPU slice has, and a tiny suite."""

import jax
import pytest
from flax import nnx

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(scope="session")
def tiny_suite(tmp_path_factory):
    """The folder of a suite with random weights: a 16 px generator and narrow features."""
    from jaxface.nets import VGG16, Generator, GeneratorConfig, VGGConfig
    from jaxface.weights import save_network

    folder = tmp_path_factory.mktemp("tiny_suite")
    config = GeneratorConfig(
        resolution=16, z_dim=32, w_dim=32, mapping_layers=2, channel_base=128, channel_max=8
    )
    save_network(folder / "generator.safetensors", Generator(config, rngs=nnx.Rngs(0)))
    features = VGG16(VGGConfig(channels=(4, 4, 4, 4, 4)), rngs=nnx.Rngs(1))
    save_network(folder / "perceptual.safetensors", features)
    return folder
