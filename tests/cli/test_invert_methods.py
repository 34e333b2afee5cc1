"""`jaxface invert --preset` of every method: encoders, ReStyle, PTI; and edits of the results."""

import json
import shutil
from pathlib import Path

import irse_reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from jaxface.cli import main
from jaxface.errors import SuiteError
from jaxface.jobs.outputs.shard_formats import read_shard
from jaxface.jobs.outputs.tuned import tuned_generator
from jaxface.media.images import read_image
from jaxface.methods import encoder, inversion, pti, restyle
from jaxface.methods.presets import PRESETS
from jaxface.nets import EncoderConfig, LPIPSConfig
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.suite import load_suite
from jaxface.weights import save_network

NAMES = ("a.png", "b.png", "c.png")
CONFIG = EncoderConfig(
    channels=(2, 3, 4, 5), units=(1, 1, 2, 1), reduction=2, num_ws=6, w_dim=32, resolution=32
)
ENCODERS = {
    "psp": "PSPEncoder",
    "e4e": "E4EEncoder",
    "w_encoder": "WEncoder",
    "restyle": "RestyleE4EEncoder",
}


@pytest.fixture(scope="module")
def suites(tiny_suite, random_network, tmp_path_factory):
    """A suite with each encoder, by its preset, an LPIPS network and a direction."""
    folder = tmp_path_factory.mktemp("methods")
    lpips = random_network("LPIPS", LPIPSConfig("vgg", (4, 4, 4, 4, 4)))
    for head in lpips.heads:
        head[...] = jnp.abs(head[...])  # as the published ones
    rng = np.random.default_rng(0)
    direction = directions_of(("push",), rng.normal(size=(1, 32)).astype(np.float32))
    for preset, name in ENCODERS.items():
        shutil.copytree(tiny_suite, folder / preset)
        network = irse_reference.tame(random_network(name, CONFIG))
        for dense in [block.dense for block in network.styles] if name != "WEncoder" else []:
            dense.weight[...] = 1e-6 * dense.weight[...]  # codes of a size that a generator sees
        save_network(folder / preset / "encoder.safetensors", network)
        save_network(folder / preset / "lpips.safetensors", lpips)
        save_network(folder / preset / "direction_try.safetensors", direction)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch, suites, capsys):
    """`jaxface invert` of three images with one bad one beside them; its status and rows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for seed, name in enumerate(NAMES):
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(coarse).resize((16, 16), Image.Resampling.BICUBIC).save(f"in/{name}")
    (tmp_path / "in" / "bad.png").write_bytes(b"bad")

    def call(preset, *options, suite="e4e", out="out"):
        suite = str(suites / suite)
        options = ("--suite", suite, "--preset", preset, "--batch-size", "2", *options)
        status = main(["invert", "in", "--out", out, *options])
        path = tmp_path / out / "results.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return status, {row["id"]: row for row in map(json.loads, lines)}, capsys.readouterr()

    return call


def images():
    return np.stack([read_image(f"in/{name}").pixels for name in NAMES])


@pytest.mark.parametrize(
    "preset",
    [
        "w_encoder",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("e4e", "psp", "restyle")),
    ],
)
def test_an_encoder_inverts_a_collection(run, suites, preset):
    status, rows, _ = run(preset, suite=preset)
    assert status == 1
    assert rows["in/bad.png"]["status"] != "ok"
    suite = load_suite(suites / preset)
    if preset == "restyle":
        whole = jax.jit(restyle.invert)(suite.encoder, suite.generator, images()).w_plus
    else:
        whole = jax.jit(lambda network, x: network(x))(suite.encoder, images())
    for name, expected in zip(NAMES, whole, strict=True):
        row = rows[f"in/{name}"]
        assert (row["status"], row["steps"], row["loss"]) == ("ok", 0, None)
        assert row["psnr"] > 0
        stored = _w_plus(row["latents"])
        # Another batch is another program, whose sums round differently.
        np.testing.assert_allclose(stored, expected, atol=2e-5 * np.abs(expected).max())
    assert run(preset, suite=preset)[1] == rows  # what is done is done


def _w_plus(name, out="out"):
    return load_file(f"{out}/{name}")["w_plus"]


def test_another_encoder_is_refused(run):
    status, rows, printed = run("psp", suite="e4e")
    assert (status, rows) == (2, {})
    assert "expected a PSPEncoder as encoder, got a E4EEncoder" in printed.err


def test_an_optimisation_starts_from_the_code(run):
    _, codes, _ = run("e4e", out="codes")
    start = ["--set", "start=encoder", "--set", "w_steps=0", "--set", "w_plus_steps=1"]
    _, rows, _ = run("pie_embedded", *start, "--set", "w_plus_step_size=1e-6")
    for name in NAMES:
        code = _w_plus(codes[f"in/{name}"]["latents"], "codes")
        first = _w_plus(rows[f"in/{name}"]["latents"])
        assert 0 < np.abs(first - code).max() < 1e-4
    status, _, printed = run("pie_embedded", "--set", "start=encoder", out="other")
    assert status == 2
    assert "needs w_steps=0" in printed.err


TUNING = ["--set", "tuning.steps=3", "--set", "tuning.learning_rate=0.01"]
TUNING += ["--set", "tuning.stop_below=None"]


@pytest.mark.slow
def test_pivotal_tuning_of_a_collection(run, suites, tmp_path):
    status, rows, _ = run("pti_e4e", *TUNING)
    assert status == 1
    suite = load_suite(suites / "e4e")
    codes = jax.jit(lambda network, x: network(x))(suite.encoder, images())
    settings = pti.Settings(steps=3, learning_rate=0.01, stop_below=None)
    keys = jax.random.split(jax.random.key(0), 3)
    tuned = pti.tune(suite, images(), codes, keys=keys, settings=settings)
    draw = jax.jit(lambda generator, w: generator.synthesis(w))
    for index, name in enumerate(NAMES):
        row = rows[f"in/{name}"]
        assert row["steps"] == 3
        assert row["weights"] == f"generators/in/{name}.safetensors"
        generator = tuned_generator(tmp_path / "out" / row["weights"], suite)
        made = draw(generator, _w_plus(row["latents"])[None])[0]
        # The stored difference and other batches round differently.
        np.testing.assert_allclose(made, tuned.images[index], atol=2e-3)
        assert np.abs(made - draw(suite.generator, codes[index : index + 1])[0]).max() > 0.01
        np.testing.assert_allclose(row["lpips"], tuned.losses["lpips"][index], rtol=0.02)


@pytest.mark.slow
def test_edits_draw_with_the_tuned_generator(run, suites, tmp_path, capsys):
    run("pti_e4e", *TUNING)
    call = ["edit", "out", "--direction", "try.push=0.5", "--frames", "2"]
    assert main([*call, "--out", "edited"]) == 0
    rows = [json.loads(line) for line in Path("edited/results.jsonl").read_text().splitlines()]
    suite = load_suite(suites / "e4e")
    draw = jax.jit(lambda generator, w: generator.synthesis(w))
    for row in rows:
        assert row["weights"].endswith(f"generators/{row['id']}.safetensors")
        generator = tuned_generator(row["weights"], suite)
        made = np.asarray(draw(generator, _w_plus(row["latents"], "edited")[None])[0])
        np.testing.assert_allclose(
            np.clip(made, -1, 1), read_image(f"edited/{row['edited']}").pixels, atol=0.01
        )
    # What was edited can be edited again, by the weights that its file names.
    assert main(["edit", f"edited/{rows[0]['latents']}", *call[2:4], "--out", "again"]) == 0
    again = json.loads(Path("again/results.jsonl").read_text())
    assert again["weights"] == rows[0]["weights"]


@pytest.mark.slow
def test_tuned_weights_in_shards(run, tmp_path):
    assert run("pti_e4e", *TUNING, "--shard-size", "2", out="shards")[0] == 1
    assert main(["merge", "shards"]) == 1
    _, rows, _ = run("pti_e4e", *TUNING)
    stored = {}
    for path in (tmp_path / "shards" / "shards").glob("*.parquet"):
        stored |= {result.row["id"]: result for result in read_shard(str(path))}
    for name, row in rows.items():
        result = stored[name]
        assert result.row["status"] == row["status"]
        if row["status"] == "ok":
            assert result.row["lpips"] == pytest.approx(row["lpips"], rel=1e-3)
            assert set(result.files) == {"weights"}
    call = ["edit", "shards", "--direction", "try.push=0.5", "--out", "edited"]
    assert main(call) == 0
    rows = [json.loads(line) for line in Path("edited/results.jsonl").read_text().splitlines()]
    assert sorted(row["id"] for row in rows) == [f"in/{name}" for name in NAMES]


@pytest.mark.slow
def test_other_weights_are_refused(run, suites):
    _, rows, _ = run("pti_e4e", *TUNING)
    with pytest.raises(SuiteError, match="was tuned from another generator"):
        tuned_generator(f"out/{rows['in/a.png']['weights']}", load_suite("embedded"))


def test_every_preset_is_an_inverter():
    config = load_suite("embedded").generator.config
    for name, inverter in PRESETS.items():
        assert hash(inverter) == hash(inverter.computing_in(inverter.dtype))
        assert inverter.computing_in("bfloat16").dtype == "bfloat16"
        assert all(
            reason.endswith("needs it") or "needs it;" in reason
            for reason in inverter.roles().values()
        ), name
        assert inverter.procedure(config).stages or isinstance(inverter, encoder.Settings)


def test_any_method_inverts_a_batch_from_python(run, suites):
    suite = load_suite(suites / "restyle")
    keys = jax.random.split(jax.random.key(0), 3)
    result = inversion.invert(
        encoder.RESTYLE, suite, images(), keys=keys, networks_key=jax.random.key(1)
    )
    assert result.w_plus.shape == (3, 6, 32)
    assert result.images.shape == (3, 16, 16, 3)
    again = inversion.invert(
        encoder.RESTYLE, suite, images(), keys=keys, networks_key=jax.random.key(1)
    )
    assert again.compile_seconds == 0
