"""`jaxface evaluate generator` on a tiny suite."""

import json

import jax
import numpy as np
import pytest
from flax import nnx

from jaxface.cli import main
from jaxface.evaluation import sheets
from jaxface.evaluation.generator import linear_r2
from jaxface.latents import num_ws
from jaxface.methods.attribute_regression import AttributeSettings, initial_state
from jaxface.metrics import perceptual_path_length
from jaxface.morphable.worlds import world
from jaxface.nets import VGG16, Generator, GeneratorConfig, ReconstructionConfig, VGGConfig
from jaxface.weights import save_network


@pytest.fixture(scope="module")
def generator():
    config = GeneratorConfig(
        16, z_dim=300, w_dim=32, channel_base=128, channel_max=8, mapping_layers=1
    )
    return Generator(config, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def network():
    return VGG16(VGGConfig(channels=(4, 4, 4, 4, 4)), rngs=nnx.Rngs(1))


@pytest.fixture(scope="module")
def suite_folder(generator, network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    save_network(folder / "generator.safetensors", generator)
    save_network(folder / "perceptual.safetensors", network)
    return folder


@pytest.mark.slow
def test_the_command_writes_scores_and_sheets(suite_folder, tmp_path, capsys):
    out = tmp_path / "report"
    call = ["evaluate", "generator", "--suite", str(suite_folder), "--out", str(out)]
    assert main([*call, "--world", "2.0.0", "--samples", "40", "--portraits", "0"]) == 0
    scores = json.loads((out / "generator.json").read_text())
    # Random weights draw noise: far from renders, and outside of their manifold.
    assert scores["frechet"] > 3 * scores["frechet_floor"] > 0
    assert scores["precision"] < 0.2 < scores["precision_floor"]
    assert scores["path_length"] > 0
    assert scores["w_plus_psnr"] is None
    assert set(scores["linear_r2"]) >= {"rotation", "identity", "illumination", "glasses"}
    report = (out / "generator.md").read_text()
    assert report in capsys.readouterr().out
    assert f"{scores['precision']:.3f}" in report
    assert scores["judge"] is None
    for name in ("samples", "factors", "truncation", "interpolation", "mixing"):
        assert (out / f"{name}.png").stat().st_size > 0


@pytest.mark.slow
def test_a_network_that_no_training_reads_judges_too(network, tmp_path):
    size, suite = world("3.0.0").num_factors, tmp_path / "suite"
    suite.mkdir()
    config = GeneratorConfig(16, z_dim=size, w_dim=32, channel_base=128, channel_max=8)
    save_network(suite / "generator.safetensors", Generator(config, rngs=nnx.Rngs(0)))
    save_network(suite / "perceptual.safetensors", network)
    sizes = ReconstructionConfig(resolution=16, channels=(4, 8), hidden=8, outputs=4)
    state = initial_state(AttributeSettings(sizes, steps=1), jax.random.key(0))
    save_network(suite / "attributes.safetensors", state.network)
    call = ["evaluate", "generator", "--suite", str(suite), "--out", str(tmp_path / "report")]
    assert main([*call, "--samples", "40", "--portraits", "0"]) == 0  # the judge tells the world
    scores = json.loads((tmp_path / "report/generator.json").read_text())
    judge = scores["judge"]
    assert scores["world"] == "3.0.0"
    assert (tmp_path / "report/gaze.png").stat().st_size > 0
    assert judge["frechet"] > 3 * judge["frechet_floor"] > 0
    # It answers with the world's mean, so it tells nobody's glasses.
    assert judge["samples"]["glasses_accuracy"] == 0.5
    assert 5 < judge["samples"]["gaze_degrees"] < 15
    report = (tmp_path / "report/generator.md").read_text()
    assert f"{judge['samples']['gaze_degrees']:.1f} degrees off" in report


def test_plain_noise_is_not_taken_for_factors(network, tmp_path, capsys):
    config = GeneratorConfig(16, z_dim=8, w_dim=8, channel_base=128, channel_max=8)
    save_network(tmp_path / "generator.safetensors", Generator(config, rngs=nnx.Rngs(0)))
    save_network(tmp_path / "perceptual.safetensors", network)
    call = ["evaluate", "generator", "--suite", str(tmp_path), "--out", str(tmp_path / "no")]
    assert main([*call, "--world", "3.0.0"]) == 2
    assert "use --plain" in capsys.readouterr().err


def test_the_command_refuses_nonsense(suite_folder, tmp_path, capsys):
    call = ["evaluate", "generator", "--suite", str(suite_folder), "--out", str(tmp_path / "no")]
    for world_given in (["--world", "9"], []):  # nothing in the suite tells its world
        assert main([*call, *world_given]) == 2
        assert "--world" in capsys.readouterr().err
    assert main([*call, "--samples", "1"]) == 2
    assert "--samples" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_path_length_grows_with_the_squared_contrast(generator, network):
    """Twice the change along a path counts four times, in a network without biases."""
    weights, key = {"conv1_1": 1.0}, jax.random.key(2)
    length = perceptual_path_length(generator, network, weights, key=key, count=6)
    batched = perceptual_path_length(generator, network, weights, key=key, count=6, batch_size=4)
    # 1%: steps of 1e-4 in float32 images.
    assert batched == pytest.approx(length, rel=0.01)
    # A single path is not cut off.
    assert np.isfinite(perceptual_path_length(generator, network, weights, key=key, count=1))
    doubled = jax.tree.map(lambda leaf: leaf, generator)
    for block in doubled.synthesis.blocks:
        block.to_rgb.weight[...] = 2 * block.to_rgb.weight[...]
    louder = perceptual_path_length(doubled, network, weights, key=key, count=6)
    assert louder == pytest.approx(4 * length, rel=0.02)


@pytest.mark.slow
def test_a_linear_mapping_is_found_linear(generator):
    """One layer of leaky ReLU of the factors: what w holds of them reads back almost linearly."""
    wide = Generator(
        GeneratorConfig(8, z_dim=300, w_dim=600, channel_base=64, channel_max=8, mapping_layers=1),
        rngs=nnx.Rngs(0),
    )
    # Twice as many coordinates of w as factors, so the kinks nearly cancel; an eighth as many lose
    # most of them.
    assert linear_r2(wide, jax.random.key(0), 8000)["rotation"] > 0.8
    assert linear_r2(generator, jax.random.key(0), 8000)["rotation"] < 0.5


def test_sheets_show_what_they_say(generator):
    pictures, columns = sheets.truncation_sheet(generator, jax.random.key(0), rows=2)
    cells = np.asarray(pictures).reshape(2, columns, 16, 16, 3)
    # No truncation left: both rows begin with the mean of W.
    np.testing.assert_allclose(cells[0, 0], cells[1, 0], atol=1e-5)
    assert np.abs(cells[0, -1] - cells[1, -1]).mean() > 1e-3

    pictures, columns = sheets.interpolation_sheet(generator, jax.random.key(1), rows=2, columns=3)
    assert pictures.shape == (6, 16, 16, 3)
    assert columns == 3

    with pytest.raises(ValueError, match="1 to 5"):
        sheets.mixing_sheet(generator, jax.random.key(2), coarse=num_ws(16))
    pictures, columns = sheets.mixing_sheet(generator, jax.random.key(2), coarse=2, rows=2)
    assert columns == 7
    assert len(pictures) == 3 * 7
