"""Tiny checkpoints of each source format give the outputs that they gave when checked.

``tests/golden/convert_*.npz`` hold what the converted networks of ``tiny_checkpoints.py`` gave when
written; they were then compared once with the sources' own code on the same weights (largest
relative difference 1e-6). To write them anew, after a deliberate change: ``python
tests/convert/test_golden.py`` from the repository's root, which needs it on ``PYTHONPATH``.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny_checkpoints
from pickle_writer import dumps, torch_legacy, torch_zip

from jaxface.convert import convert
from jaxface.weights import load_network

GOLDEN = Path(__file__).parents[1] / "golden"
SOURCES = {
    "nvidia_pytorch": lambda: dumps(tiny_checkpoints.nvidia_checkpoint()),
    "nvidia_tensorflow": lambda: dumps(tiny_checkpoints.tensorflow_checkpoint()),
    "rosinality": lambda: torch_zip(tiny_checkpoints.rosinality_checkpoint()),
}

# Unoptimised code compiles in half the time, and these networks run in no time at all.


def _loss(generator: Any, w_plus: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    images = generator.synthesis(w_plus, "const")
    return (images * cotangent).sum(), images


outputs_and_gradient = jax.jit(jax.value_and_grad(_loss, argnums=1, has_aux=True))
synthesise_without_noise = jax.jit(lambda generator, w_plus: generator.synthesis(w_plus, "none"))
discriminate = jax.jit(lambda network, images: network(images))


def outputs(family: str, folder: Path) -> dict[str, np.ndarray]:
    """Convert the family's tiny checkpoint and run both networks."""
    source = folder / "source"
    source.write_bytes(SOURCES[family]())
    convert("auto", source, folder / "generator")
    convert(family, source, folder / "discriminator", network="D")
    generator = load_network(folder / "generator")
    discriminator = load_network(folder / "discriminator")
    random = np.random.RandomState(7)
    z = random.standard_normal((2, tiny_checkpoints.LATENT)).astype(np.float32)
    w_plus = generator.mapping(z, truncation=0.7, truncation_cutoff=4)
    w_plus += 0.3 * random.standard_normal(w_plus.shape)
    cotangent = random.standard_normal((2, 16, 16, 3)).astype(np.float32)
    (_, images), gradient = outputs_and_gradient(generator, w_plus, cotangent)
    return {
        "w_plus": np.asarray(w_plus),
        "images": np.asarray(images),
        "images_without_noise": np.asarray(synthesise_without_noise(generator, w_plus)),
        "gradient": np.asarray(gradient),
        "logits": np.asarray(discriminate(discriminator, cotangent)),
    }


@pytest.mark.parametrize("family", SOURCES)
def test_converted_networks_give_the_golden_outputs(family, tmp_path):
    found = outputs(family, tmp_path)
    with np.load(GOLDEN / f"convert_{family}.npz") as golden:
        assert set(golden) == set(found)
        for name, expected in golden.items():
            scale = np.abs(expected).max()
            assert scale > 0.1, name
            # Other versions of XLA sum in another order: some 1e-6 of the scale, ten times that
            # for the gradient; a wrong weight changes it by more than a hundredth.
            assert np.abs(found[name] - expected).max() < 2e-5 * scale, name


def test_both_torch_formats_give_the_same_network(tmp_path):
    checkpoint = tiny_checkpoints.rosinality_checkpoint()
    arrays = []
    for name, write in (("zip", torch_zip), ("legacy", torch_legacy)):
        (tmp_path / name).write_bytes(write(checkpoint))
        arrays.append(convert("auto", tmp_path / name, tmp_path / f"{name}.out").arrays)
    assert arrays[0].keys() == arrays[1].keys()
    for name in arrays[0]:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])


def main() -> None:
    """Write the golden files."""
    import tempfile

    for family in SOURCES:
        with tempfile.TemporaryDirectory() as folder:
            np.savez_compressed(GOLDEN / f"convert_{family}.npz", **outputs(family, Path(folder)))


if __name__ == "__main__":
    main()
