"""The reenactment's evaluation: its protocol, its means on known arrays, the whole on tiny nets."""

import dataclasses
import json
import shutil

import irse_reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.evaluation import reenactment as evaluation
from jaxface.evaluation import reenactment_beside as beside
from jaxface.evaluation import reenactment_protocol as protocols
from jaxface.evaluation import reenactment_tables as tables
from jaxface.evaluation import reenactment_tables_report as tables_report
from jaxface.evaluation import reenactment_training as training
from jaxface.evaluation.reenactment_floor import FLOORS, PERFECT
from jaxface.evaluation.reenactment_judges import boxes_psnr
from jaxface.evaluation.reenactment_report import reenactment_report
from jaxface.evaluation.reenactment_scores import near_means
from jaxface.media.images import to_uint8
from jaxface.methods import pie
from jaxface.methods.pie.reenactment import RigNetReenactment
from jaxface.morphable import render
from jaxface.morphable.worlds import world
from jaxface.nets import IRSEConfig, LandmarkConfig, ReconstructionConfig, RigNetConfig
from jaxface.suite import load_suite
from jaxface.weights import save_network


def test_the_protocol_is_frozen():
    """Its digest changes with everything in it, and with nothing else."""
    whole = protocols.Protocol()
    assert whole.digest == protocols.Protocol().digest
    for field in dataclasses.fields(protocols.Protocol):
        other = dataclasses.replace(whole, **{field.name: getattr(whole, field.name) + 1})
        assert other.digest != whole.digest
    assert json.loads(json.dumps(whole.to_json()))["measures"]["network"]["csim"]["title"] == "CSIM"
    for name in protocols.CORRELATED:
        assert name in protocols.NETWORK_MEASURES
        assert protocols.CORRELATED_WITH.get(name, name) in protocols.TRUE_MEASURES


@pytest.mark.parametrize("version", ["2.0.0", "3.0.0"])
def test_clips_move_the_face_and_nothing_else(version):
    of = world(version)
    few, many = protocols.Protocol(persons=2, frames=9), protocols.Protocol(persons=9, frames=9)
    clip = protocols.person_clip(few, 1, of)
    jax.tree.map(np.testing.assert_array_equal, clip, protocols.person_clip(many, 1, of))
    other = protocols.person_clip(few, 0, of)
    perfect = protocols.perfect_scenes(clip, other)
    for name in ("rotation", "expression"):
        assert np.abs(np.diff(np.asarray(getattr(clip.face, name)), axis=0)).max() > 0
        np.testing.assert_array_equal(getattr(perfect.face, name), getattr(other.face, name))
    for name in ("identity", "reflectance", "illumination", "translation"):
        value = np.asarray(getattr(clip.face, name))
        np.testing.assert_array_equal(value, np.broadcast_to(value[:1], value.shape))
        np.testing.assert_array_equal(getattr(perfect.face, name), value)
    own = protocols.perfect_scenes(clip, clip)
    jax.tree.map(np.testing.assert_array_equal, own, clip.scenes)


@pytest.mark.parametrize("version", ["2.0.0", "3.0.0"])
def test_ranges_hold_the_worlds_expressions(version):
    ranges = protocols.expression_ranges(world(version))
    assert ranges.shape == (64, 2)
    assert (ranges[:, 0] < ranges[:, 1]).all()


def test_steps_are_scaled_wherever_they_are():
    settings = evaluation.scaled_steps(pie.EMBEDDED_ALL, 0.1)
    assert settings.w_steps == round(0.1 * pie.EMBEDDED_ALL.w_steps)
    assert settings.bank == pie.EMBEDDED_ALL.bank
    method = evaluation.scaled_steps(RigNetReenactment(), 0.5)
    assert method.inversion.w_plus_steps == round(0.5 * pie.EMBEDDED_ALL.w_plus_steps)


def test_methods_go_by_their_names():
    assert evaluation.chosen_methods("pie") == {"pie": RigNetReenactment()}
    with pytest.raises(UsageError, match="unknown 'pei'; did you mean 'pie'"):
        evaluation.chosen_methods("pei")
    with pytest.raises(UsageError, match="twice"):
        evaluation.chosen_methods("pie,pie_rignet")


def clip(seed: int, *, turns, cross: bool) -> dict[str, np.ndarray]:
    """What is measured of a clip of four frames, in random numbers."""
    rng = np.random.default_rng(seed)
    count, found = len(turns), {"turns": np.array(turns, float)}
    for name in protocols.NETWORK_MEASURES:
        if name != "fid" and not (cross and name in ("perceptual", "warping_error")):
            found[f"network_{name}"] = rng.uniform(size=count - (name == "warping_error"))
    for name in protocols.TRUE_MEASURES:
        if name != "fid":
            found[f"truth_{name}"] = rng.uniform(size=count - (name == "warping_error"))
    found["truth_psnr"][0] = np.nan
    for name in ("features", "driving_features", "perfect_features"):
        found[name] = rng.normal(size=(count, 2))
    found["source_features"] = rng.normal(size=(1, 2))
    images = rng.integers(0, 255, (count, 8, 8, 3), np.uint8)
    return found | {"result": images, "driving": images, "perfect": images, "source": images[0]}


@pytest.fixture(scope="module")
def measured():
    turns = ([0, 10, 20, 30], [0, 5, 10, 16])
    return {
        case: [clip(seed, turns=each, cross=case == "cross") for seed, each in enumerate(turns)]
        for case in evaluation.CASES
    }


def test_means_are_of_clips_and_the_extreme_ones_of_far_turns(measured):
    scores = evaluation.scores(measured)
    first, second = measured["self"]
    pose = [each["network_pose"] for each in (first, second)]
    assert scores["self"]["pose"] == pytest.approx(np.mean([np.mean(p) for p in pose]))
    extreme = scores["self"]["extreme"]
    assert extreme["pose"] == pytest.approx(np.mean([pose[0][2:].mean(), pose[1][3]]))
    assert (scores["self"]["frames"], extreme["frames"]) == (8, 3)
    ratios = [first["truth_psnr"][1:].mean(), second["truth_psnr"][1:].mean()]
    assert scores["self_true"]["psnr"] == pytest.approx(np.mean(ratios))
    assert "perceptual" not in scores["cross"]
    assert scores["cross_true"]["fid"] > 0
    assert scores["cross"]["fid"] > 0  # against the two sources


def test_judges_are_ranked_against_the_truth(measured):
    turned = {
        case: [dict(each) | {"truth_nme": each["network_nme"] ** 3} for each in clips]
        for case, clips in measured.items()
    }
    for clips in turned.values():
        for each in clips:
            each["truth_mouth_psnr"] = -each["network_expression"]
            each["truth_rotation"] = -each["network_pose"]
    found = evaluation.scores(turned)["judge_correlation"]["self"]
    assert found["nme"] == pytest.approx(1.0)
    assert found["expression"] == pytest.approx(1.0)  # an error against a quality
    assert found["pose"] == pytest.approx(-1.0)
    assert "perceptual" not in evaluation.scores(turned)["judge_correlation"]["cross"]


def test_the_report_tells_what_was_measured(measured, tmp_path):
    found = {key: {"pie": value} for key, value in evaluation.scores(measured).items()}
    suite = load_suite("embedded")
    found["judge_floor"] = {
        PERFECT: {"turn": 0.0123, "rotation": 0.0, "landmarks": 1.5},
        "pie": {"turn": 0.0321, "rotation": 0.1, "landmarks": 2.5},
    }
    judges = {"landmarks": "landmarks"}
    report = reenactment_report(suite, protocols.Protocol(), found, judges)
    assert "| | perfect results | reconstructions, pie |" in report
    assert "| rotation that is read, rad | 0.012 | 0.032 |" in report
    assert f"| CSIM | higher | source | {found['cross']['pie']['csim']:.3f}" in report
    assert "| frames | | | 8 | 3 |" in report
    assert protocols.Protocol().digest[:16] in report
    evaluation.write_sheet(tmp_path / "sheet.png", measured["self"])
    assert (tmp_path / "sheet.png").stat().st_size > 100


def test_what_is_to_be_reached_is_of_near_turns(measured):
    """Frames of 0, 10, 20, 30 and of 0, 5, 10, 16 degrees are all within 0.6 rad; 40 is not."""
    first, second = measured["cross"]
    found = near_means([first, second])
    both = np.concatenate([first["truth_turn"], second["truth_turn"]])
    assert found["frames"] == 8
    assert found["turn"] == pytest.approx(both.mean())
    far = first | {"turns": np.array([0.0, 10.0, 20.0, 40.0])}
    found = near_means([far])
    assert found["frames"] == 3
    assert found["identity_kept"] == pytest.approx(first["network_identity_kept"][:3].mean())
    assert evaluation.scores(measured)["reached"] == near_means([first, second])


def test_every_row_of_the_tables_is_trained():
    wanted = {row for rows in tables.PAIR_TABLES.values() for row in rows}
    wanted |= {row for rows in tables.CLIP_TABLES.values() for row, _ in rows}
    assert wanted == {*training.ROWS, tables.SHIPPED}


@pytest.mark.parametrize("steps", [2, 5, 100])
def test_rows_differ_in_what_they_show_alone(steps):
    """Equal steps, items and settings; other losses or other stages."""
    budget = training.Budget(steps)
    whole = training.ROWS["synthetic"].settings(budget, None)
    for row in training.ROWS.values():
        settings = row.settings(budget, None)
        assert settings.steps == steps
        same = dataclasses.replace(settings, losses=whole.losses, stages=whole.stages)
        assert dataclasses.replace(same, portraits=None) == dataclasses.replace(
            whole, portraits=None
        )
        off = {f"{name}_weight": 0.0 for name in row.off}
        assert settings.losses == dataclasses.replace(whole.losses, **off)
        assert tuple(stage.kind for stage in settings.stages) == row.kinds


@pytest.mark.slow
def test_pairs_are_two_frames_of_a_person():
    suite = load_suite("embedded")
    pairs = training.ClipPairs(suite, 3)
    assert pairs.images.shape == (3, 2, 64, 64, 3)
    key = jax.random.split(jax.random.key(training.SEED), 3)[1]
    clip = protocols.random_clip(key, 2, world("2.0.0"))
    for name in ("identity", "reflectance", "illumination"):
        value = np.asarray(getattr(clip.face, name))
        np.testing.assert_array_equal(value[0], value[1])
    expected = to_uint8(render(clip.scenes, 64))
    assert np.abs(pairs.images[1].astype(int) - np.asarray(expected, int)).max() <= 1
    batches = pairs.batches(2, ("image",), seed=0)
    shown = [next(batches)["image"] for _ in range(3)]
    np.testing.assert_array_equal(np.concatenate(shown), pairs.images[[0, 1, 2, 0, 1, 2]])
    alone = next(training.Portraits(pairs).batches(3, ("image",), seed=0))["image"]
    np.testing.assert_array_equal(alone, pairs.images[:, 0])


@pytest.mark.slow
def test_a_matrix_is_trained_stored_and_judged():
    """Two large steps of a few items change the matrix, and leave its ranges; pairs are judged."""
    suite, told = load_suite("embedded"), []
    budget = training.Budget(steps=2, batch_size=2, clips=2, learning_rate=0.1)
    pairs, row = training.ClipPairs(suite, 2), training.ROWS["paired"]
    arrays = training.trained_matrix(suite, row, budget, pairs, say=told.append)
    assert len(arrays["loss"]) == 2
    assert np.isfinite(arrays["loss"]).all()
    assert "step 1 of 2" in told[0]
    matrix = training.matrix_of(suite, arrays)
    np.testing.assert_array_equal(matrix.slope[...], suite.direction_matrix.slope[...])
    scores = tables.pair_scores(tables.moved_by(suite, matrix), 4)
    shipped = tables.pair_scores(suite, 4)
    assert scores.keys() == shipped.keys()
    assert all(np.isfinite(value) for value in scores.values())
    assert shipped["pose_true"] < scores["pose_true"]  # steps of 0.1 are far too large


def test_the_report_of_the_tables():
    rng = np.random.default_rng(0)
    found = {
        table: {
            row: dict.fromkeys(tables_report._PAIR_COLUMNS, float(rng.uniform()))
            for row in (*rows, tables.SHIPPED)
        }
        for table, rows in tables.PAIR_TABLES.items()
    }
    for table, rows in tables.CLIP_TABLES.items():
        names = [f"{row}-{'tuned' if tuned else 'untuned'}" for row, tuned in rows]
        found[table] = {name: {"self": {}, "self_true": {}} for name in names}
        for values in found[table].values():
            for case, measure in tables_report._CLIP_COLUMNS:
                values[case][measure] = float(rng.uniform())
    wanted = tables.Tables(training.Budget(50))
    report = tables_report.tables_report(found, wanted, protocols.Protocol())
    value = found["table2"]["no_identity"]["csim"]
    assert f"| synthetic, w/o L_id + L_per | {value:.3f} (0.42) |" in report
    value = found["table5"]["paired-untuned"]["self"]["csim"]
    assert f"paired, generator untuned | {value:.3f} (0.45) |" in report
    assert "for 50 steps of 12 sources" in report
    assert report.count("### Table") == 4


@pytest.fixture
def described():
    """What decides a run of one method, and the document of a run of another."""
    decided = {
        "digest": protocols.Protocol().digest,
        "judges": {"landmarks": "landmarks"},
        "suite": {"name": "a", "generator": "0", "encoder": "1"},
        "methods": {"new": {}},
        "tables": None,
    }
    tables = dataclasses.asdict(evaluation.Tables(training.Budget(50)))
    suite = {"name": "a", "generator": "0", "rignet_pose": "2"}
    before = {**decided, "suite": suite, "methods": {"old": {}}, "tables": tables}
    found = {key: {"old": key} for key in (*beside.BY_METHOD, "judge_floor")}
    return decided, {**found, "table2": "t", "description": before}


def test_methods_of_an_earlier_run_stand_beside_others(described, tmp_path):
    decided, document = described
    path = tmp_path / "before" / "reenactment.json"
    path.parent.mkdir()
    path.write_text(json.dumps(document))
    earlier = beside.earlier_document(str(path), decided)
    own = {key: {"new": 1} for key in (*beside.BY_METHOD, "judge_floor")}
    found = beside.joined(own, earlier)
    assert found["cross"] == {"old": "cross", "new": 1}
    assert list(found["judge_floor"]) == ["old", "new"]
    assert found["table2"] == "t"
    assert beside.joined({**own, "table2": "own"}, earlier)["table2"] == "own"
    whole = beside.joined_description(decided, earlier)
    assert list(whole["methods"]) == ["old", "new"]
    assert beside.tables_of(whole) == evaluation.Tables(training.Budget(50))
    assert beside.tables_of(decided) is None
    (path.parent / "old_self.png").write_bytes(b"sheet")
    beside.copy_sheets(str(path), earlier, tmp_path)
    assert (tmp_path / "old_self.png").read_bytes() == b"sheet"
    assert not (tmp_path / "old_cross.png").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digest": "0"}, "another protocol"),
        ({"judges": {}}, "another judges"),
        ({"suite": {"generator": "9"}}, "another generator"),
    ],
)
def test_runs_that_do_not_compare_are_refused(described, tmp_path, changes, message):
    decided, document = described
    path = tmp_path / "reenactment.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match=message):
        beside.earlier_document(str(path), decided | changes)


def test_what_is_no_earlier_run_is_refused(described, tmp_path):
    decided, document = described
    path = tmp_path / "reenactment.json"
    with pytest.raises(UsageError, match="No such file"):
        beside.earlier_document(str(path), decided)
    for text in ("{", "[]", "{}", '{"description": {}}'):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"is no reenactment\.json"):
            beside.earlier_document(str(path), decided)
    del document["reached"]
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="lacks reached"):
        beside.earlier_document(str(path), decided)


def test_psnr_of_boxes_looks_into_them_alone():
    images = jnp.zeros((1, 8, 8, 3))
    others = images.at[:, :4].set(0.2)
    boxes = jnp.array([[[0.0, 0.0, 8.0, 4.0]]])
    np.testing.assert_allclose(
        boxes_psnr(images, others, boxes), 10 * np.log10(4 / 0.04), rtol=1e-5
    )
    two = jnp.array([[[0.0, 0.0, 8.0, 4.0], [0.0, 4.0, 8.0, 8.0]]])
    np.testing.assert_allclose(boxes_psnr(images, others, two), 10 * np.log10(8 / 0.04), rtol=1e-5)
    below = jnp.array([[[0.0, 4.0, 8.0, 8.0]]])
    np.testing.assert_allclose(boxes_psnr(images, others, below), 10 * np.log10(4e6), rtol=1e-5)


@pytest.mark.slow
def test_the_command_measures_and_goes_on(tiny_suite, random_network, tmp_path, capsys):
    suite = tmp_path / "suite"
    shutil.copytree(tiny_suite, suite)
    reconstruction = random_network(
        "FaceReconstruction", ReconstructionConfig(resolution=16, channels=(4, 4), hidden=8)
    )
    reconstruction.out.weight[...] = 1e-4 * reconstruction.out.weight[...]
    reconstruction.scale[...] = jnp.full(257, 0.1)
    reconstruction.mean[...] = jnp.zeros(257)
    recognition = IRSEConfig(
        channels=(2, 3, 3, 4),
        units=(1, 1, 1, 1),
        reduction=2,
        embedding_dim=5,
        resolution=16,
        portrait_size=16,
        crop=(0, 16, 0, 16),
    )
    networks = {
        "reconstruction": reconstruction,
        "landmarks": random_network("LandmarkNet", LandmarkConfig(16, (2, 3))),
        "recognition": irse_reference.tame(random_network("IRSE", recognition)),
    }
    for group in ("pose", "expression"):
        rignet = random_network("RigNet", RigNetConfig(group, num_ws=6, w_dim=32, hidden=2))
        rignet.decoder[...] = 1e-3 * rignet.decoder[...]
        networks[f"rignet_{group}"] = rignet
    for role, network in networks.items():
        save_network(suite / f"{role}.safetensors", network)
    out = tmp_path / "report"
    call = ["evaluate", "reenactment", "--suite", suite, "--out", out, "--persons", 2]
    call = [str(each) for each in [*call, "--frames", 4, "--iterations", 0.005]]
    short = RigNetReenactment(inversion=pie.EMBEDDED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(evaluation.REENACTMENT_PRESETS, "pie_rignet", short)
        assert main(call) == 0
        document = json.loads((out / "reenactment.json").read_text())
        assert len(list((out / "parts").glob("*.npz"))) == 7
        stamps = {path: path.stat().st_mtime_ns for path in (out / "parts").glob("*.npz")}
        assert main(call) == 0  # nothing is done again
        assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
        assert json.loads((out / "reenactment.json").read_text()) == document
        assert main([*call[:-1], "0.01"]) == 2
    assert {"self", "cross", "self_true", "cross_true", "judge_correlation"} < document.keys()
    for key, measures in (
        ("self", protocols.NETWORK_MEASURES),
        ("self_true", protocols.TRUE_MEASURES),
        ("cross_true", protocols.TRUE_MEASURES),
    ):
        found = document[key]["pie"]
        assert set(measures) <= found.keys()
        assert all(found[name] is not None for name in measures)
    assert document["judge_floor"].keys() == {PERFECT, "pie"}
    assert document["judge_floor"]["pie"].keys() == FLOORS.keys()
    assert document["judge_floor"][PERFECT]["rotation"] < 1e-4  # renders have their own colours
    assert document["self"]["pie"]["frames"] == 8
    assert 0 < document["cross_true"]["pie"]["rotation"] < np.pi
    assert document["description"]["digest"] in {
        protocols.Protocol(2, 4, 0.005).digest,
    }
    assert (out / "pie_cross.png").exists()
    assert "truth as judge" in (out / "reenactment.md").read_text()
    capsys.readouterr()
