"""PIE's evaluation: its protocol, its tables on known arrays, and the whole on a tiny suite."""

import importlib
import inspect
import json
import shutil
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.evaluation import EVALUATIONS, held_out
from jaxface.evaluation import ground_truth as truth
from jaxface.evaluation import pie as evaluation
from jaxface.evaluation.figures import COLOURS, write_scatter
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.pie_report import pie_report, scatter_data, write_figures
from jaxface.evaluation.pie_transfer import table3
from jaxface.methods import pie
from jaxface.morphable.worlds import world
from jaxface.nets import ReconstructionConfig, RigNetConfig
from jaxface.suite import load_suite
from jaxface.weights import save_network


def test_columns_are_those_of_the_paper():
    columns = evaluation.columns(iterations=0.5)
    assert list(columns) == [
        "synthesis",
        "synthesis_recognition",
        "synthesis_modification",
        "all",
        "all_direct",
        "image2stylegan",
    ]
    assert columns["synthesis"].terms == columns["image2stylegan"].terms == ("synthesis",)
    assert set(columns["all"].terms) == set(pie.TERMS)
    both = {*columns["synthesis_recognition"].terms, *columns["synthesis_modification"].terms}
    assert both == set(pie.TERMS)
    assert columns["all_direct"].w_steps == columns["image2stylegan"].w_steps == 0
    whole = pie.EMBEDDED_ALL
    assert columns["all"].w_steps == whole.w_steps // 2
    assert columns["all_direct"].w_plus_steps == (whole.w_steps + whole.w_plus_steps) // 2
    assert columns["all"].decay_steps == whole.decay_steps // 2


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.0.0", "3.0.0"])
def test_more_portraits_and_edits_leave_the_first_alone(version):
    few = held_out.Protocol(portraits=3, edits=2)
    many = held_out.Protocol(portraits=40, edits=5)
    (scenes, wanted), (others, more) = (
        held_out.held_out(each, world(version)) for each in (few, many)
    )
    np.testing.assert_allclose(others.face.flat[:3], scenes.face.flat, atol=1e-6)
    np.testing.assert_allclose(more[:3, :2], wanted, atol=1e-6)
    own = jnp.repeat(others.face.rotation, 5, axis=0)
    size = np.asarray(truth.rotation_angle(more.reshape(-1, 3), own))
    # Euler angles of one length turn by nearly that angle.
    assert size.max() < 1.05 * held_out.LARGEST_EDIT
    assert 0.15 < size.mean() < 0.25
    assert np.abs(more[..., 1]).max() < 1.1
    assert np.abs(more[..., 0]).max() < 0.6


def test_a_part_is_made_once(tmp_path):
    parts, made = Parts(tmp_path), []

    def make():
        made.append(1)
        return {"a": np.arange(3)}

    names = ("x-00000", "x-00001")
    assert parts.missing(names) == 2
    for _ in range(2):
        np.testing.assert_array_equal(parts.get("x-00000", make)["a"], [0, 1, 2])
    assert len(made) == 1
    assert parts.missing(names) == 1
    (tmp_path / "x-00000.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(
        UsageError, match=r"x-00000.npz: damaged .*; remove it, and it is made anew"
    ):
        parts.get("x-00000", make)


@pytest.fixture(scope="module")
def measured():
    """What an evaluation collects, for three portraits and two edits, in round numbers."""
    rng = np.random.default_rng(0)

    def pictures(*lead):
        return rng.integers(0, 256, (*lead, 16, 16, 3), np.uint8)

    def column(error, recognition):
        edits = {
            "size": np.array([[0.1, 0.2], [0.3, 0.4], [0.2, 0.3]]),
            "network_error": np.full((3, 2), error / 2),
            "true_error": np.array([[error, error], [error, error], [9.0, 9.0]]),
            "true_residual": np.full((3, 2), 0.2),
            "edited_psnr": np.full((3, 2), 20.0),
            "edited_ssim": np.full((3, 2), 0.8),
            "network_recognition": np.full((3, 2), recognition),
            "true_recognition": np.full((3, 2), 2 * recognition),
        }
        return edits | {
            "psnr": np.array([30.0, 32.0, 0.0]),
            "ssim": np.array([0.9, 0.9, 0.0]),
            "finite": np.array([True, True, False]),
            "seconds": np.full(3, 1.5),
            "edited": pictures(3, 1),
        }

    every = column(0.04, 0.1)
    every |= {
        f"{name}_error_without_feedback": np.full((3, 2), 0.08) for name in ("network", "true")
    }
    portraits = {
        "images": pictures(3),
        "targets": pictures(3, 2),
        "judge_network": np.full((3, 2), 0.02),
        "judge_truth": np.full((3, 2), 0.01),
    }
    transfers = {
        f"{kind}_{name}": np.full(3, value)
        for kind, value in (("self", 0.02), ("cross", 0.05))
        for name in ("landmarks", "true_landmarks", "unedited", "recognition", "true_recognition")
    }
    transfers |= {"cross_floor": np.full(3, 0.03)}
    transfers |= {name: pictures(3) for name in ("driver", "self_driver", "cross_image")}
    transfers |= {name: pictures(3) for name in ("light_image", "light_perfect")}
    lights = (("light", 0.2), ("light_true", 0.3), ("light_floor", 0.1), ("light_unedited", 0.5))
    transfers |= {name: np.full(3, value) for name, value in lights}
    found = {"portraits": portraits, "all": every, "image2stylegan": column(0.2, 0.4)}
    return found, transfers


def test_tables_are_means_without_what_diverged(measured):
    found, transfers = measured
    scores = evaluation.table2(found)
    assert list(scores["table2"]) == ["all", "image2stylegan"]
    network, true = scores["table2"]["all"], scores["table2_true"]["all"]
    assert network["psnr"] == true["psnr"] == 31.0
    assert network["editing_error_rad"] == pytest.approx(0.02)
    assert true["editing_error_rad"] == pytest.approx(0.04)
    assert true["recognition_error"] == pytest.approx(0.2)
    assert network["diverged"] == 1
    assert scores["feedback"]["true"] == pytest.approx({"without": 0.08, "with": 0.04})
    assert scores["judges"] == pytest.approx({"network": 0.02, "truth": 0.01})
    scores = table3(transfers)
    assert scores["table3_true"]["cross"]["floor"] == pytest.approx(0.03)
    assert scores["table3"]["self"]["landmarks"] == pytest.approx(0.02)
    assert scores["illumination"]["true"] == pytest.approx(0.3)
    without = {name: value for name, value in transfers.items() if not name.startswith("light")}
    assert table3(without)["illumination"] is None


def test_report_and_figures_show_them(measured, tiny_suite, tmp_path):
    found, transfers = measured
    scores = evaluation.table2(found) | table3(transfers) | {"transferred": "all"}
    chosen = {name: evaluation.columns()[name] for name in ("all", "image2stylegan")}
    report = pie_report(load_suite(tiny_suite), held_out.Protocol(3, 2), chosen, scores)
    for text in (
        "| | all terms | Image2StyleGAN |",
        "| PSNR, dB | 31.00 | 31.00 |",
        "| editing error, rad | 0.0400 | 0.2000 |",
        "| true | 0.0800 | 0.0400 | -50% |",
        "| cross | truth | 5.00 | 5.00 | 3.00 | 0.0500 |",
        "0.300; without an edit 0.500",
        "all terms 1, Image2StyleGAN 1",
        "wanted, 0.0100 rad",
        "its file does not say",
    ):
        assert text in report
    written = write_figures(tmp_path, found, transfers)
    assert sorted(written) == ["edits.png", "light.png", "pose.png", "scatter.png"]
    assert all(f"]({name})" in report for name in written)
    with Image.open(tmp_path / "edits.png") as picture:
        assert picture.width > 4 * 128
    points = scatter_data(found)
    assert points["all"]["size"] == [0.1, 0.2, 0.3, 0.4, 0.2, 0.3]


def test_scatter_draws_points_where_they_are(tmp_path):
    x, y = np.array([0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.5])
    write_scatter(tmp_path / "a.png", {"up": {"series": (x, y)}}, across="along")
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    pale = [(each + 2 * 255) // 3 for each in COLOURS[0]]
    rows, columns = np.nonzero((pixels == pale).all(axis=-1))
    # The panel's frame: 70 to 440 across, 324 to 44 upwards; both axes end at 1.
    for centre in ((440, 44), (440, 184)):
        near = np.abs(columns - centre[0]) + np.abs(rows - centre[1])
        assert near.min() <= 3
    assert np.abs(columns - 255).min() > 100


def test_without_matplotlib_a_plot_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"plots need matplotlib.*'jaxface\[plots\]'"):
        write_scatter(tmp_path / "a.png", {"up": {}}, across="along")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EVALUATIONS)
def test_the_options_of_a_row_are_those_of_its_module(name):
    run = importlib.import_module(EVALUATIONS[name].module).run
    keywords = [
        parameter.name
        for parameter in inspect.signature(run).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    assert sorted(keywords) == sorted(option.name for option in EVALUATIONS[name].options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "40"], "only with generator"),
        (["--portraits", "1"], "--portraits"),
        (["--edits", "0"], "--edits"),
        (["--iterations", "0"], "--iterations"),
        (["--full", "--edits", "3"], "both say"),
        (["--columns", "everything"], "known: synthesis, "),
        ([], "has no"),  # the tiny suite cannot edit
    ],
)
def test_wrong_calls_are_told(tiny_suite, tmp_path, capsys, arguments, message):
    call = ["evaluate", "pie", "--suite", tiny_suite, "--out", tmp_path / "no", *arguments]
    assert main([str(each) for each in call]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_the_command_measures_and_goes_on(
    tiny_suite, random_network, tmp_path, capsys, monkeypatch
):
    suite = tmp_path / "suite"
    shutil.copytree(tiny_suite, suite)
    config = ReconstructionConfig(resolution=16, channels=(4, 4), hidden=8)
    reconstruction = random_network("FaceReconstruction", config)
    reconstruction.out.weight[...] = 1e-4 * reconstruction.out.weight[...]
    reconstruction.scale[...] = jnp.full(257, 0.1)
    reconstruction.mean[...] = jnp.zeros(257)
    save_network(suite / "reconstruction.safetensors", reconstruction)
    for group in ("pose", "expression", "illumination"):
        rignet = random_network("RigNet", RigNetConfig(group, num_ws=6, w_dim=32, hidden=2))
        rignet.decoder[...] = 1e-3 * rignet.decoder[...]
        save_network(suite / f"rignet_{group}.safetensors", rignet)
    out = tmp_path / "report"
    call = ["evaluate", "pie", "--suite", suite, "--out", out, "--columns", "synthesis"]
    call += ["--portraits", 3, "--edits", 2, "--batch-size", 2, "--iterations", 0.005]
    call = [str(each) for each in call]
    assert main(call) == 0
    document = json.loads((out / "pie.json").read_text())
    scores = document["table2_true"]["synthesis"]
    # The tiny generator draws noise: wanted poses of up to half a radian are missed, by less than a
    # turn, and a fit has something left.
    assert 0 < scores["editing_error_rad"] < np.pi
    assert 0 < scores["residual"] < 2
    assert scores["portraits"] == 3
    assert scores["recognition_error"] is None
    assert document["table2"]["synthesis"]["psnr"] == scores["psnr"]
    # Renders of 16 px still tell something of the pose.
    assert document["judges"]["truth"] < 0.15
    assert document["illumination"]["true"] > 0
    assert len(document["figure13"]["synthesis"]["true_error"]) == 6
    ways = document["together"]
    assert set(ways) == {"sequential", "together"}
    for found in ways.values():
        assert "recognition" not in found
        assert all(value > 0 for name, value in found.items() if name != "ssim")
    # Both go towards the same three targets, from the same latents.
    assert ways["together"]["pose"] == pytest.approx(ways["sequential"]["pose"], rel=0.2)
    assert ways["together"]["pose"] != ways["sequential"]["pose"]
    printed = capsys.readouterr()
    assert (out / "pie.md").read_text().rstrip() in printed.out
    assert "synthesis: portraits 0 to 1 of 3, left ?" in printed.err
    assert "synthesis: portraits 2 to 2 of 3, left 0:" in printed.err
    for name in ("edits", "scatter", "pose", "light"):
        assert (out / f"{name}.png").stat().st_size > 0

    def forbidden(*_, **__):
        raise AssertionError("a part was made again")

    monkeypatch.setattr(pie, "invert", forbidden)
    monkeypatch.setattr(pie, "edit", forbidden)
    assert main(call) == 0
    assert json.loads((out / "pie.json").read_text()) == document
    assert main([*call, "--edits", "1"]) == 2
    assert "protocol.edits was 2 and is now 1" in capsys.readouterr().err
