"""PVP's evaluation: its clips, its report, and the whole of it at a tiny size."""

import json

import numpy as np
import pytest

from jaxface.cli import main
from jaxface.evaluation import pvp_avatars, pvp_report
from jaxface.evaluation.pvp_protocol import (
    EVERY,
    YAWS,
    Protocol,
    turned_scenes,
    world_scenes,
    write_clip,
)
from jaxface.media.video.reading import open_clip
from jaxface.morphable.worlds import world
from jaxface.suite import load_suite


@pytest.mark.parametrize("version", ["2.0.0", "3.0.0"])
def test_a_longer_clip_begins_as_a_shorter_one_and_persons_differ(version):
    of = world(version)
    short, long, other = (world_scenes(*which, of) for which in ((0, 20), (0, 40), (1, 20)))
    for name in ("rotation", "expression", "identity"):
        ours = np.asarray(getattr(long.face, name))[:20]
        np.testing.assert_allclose(getattr(short.face, name), ours, atol=1e-5)
    assert np.ptp(np.asarray(short.face.identity), axis=0).max() == 0
    assert not np.allclose(short.face.identity, other.face.identity)


def test_turned_heads_look_as_they_are_told():
    scenes = turned_scenes(world_scenes(0, 4, world("2.0.0")), np.zeros(64, np.float32))
    found = np.rad2deg(np.asarray(scenes.face.rotation))
    np.testing.assert_allclose(found[:, 1], YAWS, atol=1e-4)
    np.testing.assert_allclose(found[:, [0, 2]], 0)


def test_frames_are_written_without_loss(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    folder = write_clip(tmp_path / "clip", images)
    with open_clip(folder) as clip:
        frames = list(clip)
    np.testing.assert_array_equal(np.stack([frame.pixels for frame in frames]), images)
    assert [frame.time * 25 for frame in frames] == [0, 1, 2, 3, 4]


def test_the_last_frames_judge():
    rows = pvp_avatars.held_out_rows(500)
    assert rows[0] == 350
    assert rows[-1] >= 500 - EVERY
    settings = pvp_avatars.settings_of("embedded", iterations=0.5)
    assert (settings.held_out, settings.selection) == (0.3, 0.05)
    assert (settings.tuning.steps, settings.mappers.steps) == (20, 750)


def document(**changes):
    scores = {"psnr": 26.0, "ssim": 0.8, "lpips": 0.2}
    scores |= {f"masked_{name}": value for name, value in scores.items()}
    other = scores | {"psnr": 22.0, "lpips": 0.5}
    true = {"rotation": 0.04, "turn": 0.05, "landmarks": 0.018, "landmarks_floor": 0.012}
    return {
        "table2": {"avatar": scores, "frame_by_frame": other, "transfer": other},
        "table2_true": {"avatar": true, "frame_by_frame": true, "transfer": true},
        "poses": {
            "yaws": list(YAWS),
            "rotation": [0.03] * len(YAWS),
            "psnr": [25.0] * len(YAWS),
            "rotation_inside": 0.03,
            "rotation_outside": None,
            "psnr_inside": 25.0,
        },
        "reenactment": {
            "cosine": 0.9,
            "same_person": 0.92,
            "chance": 0.2,
            "kept": 0.97,
            "by_itself": 1e-7,
        },
        "seconds": [{"tuning the generator": 100.0}, {"tuning the generator": 130.0}],
        "frames_per_second": {"batch_1": 190.0, "batch_16": 560.0},
        **changes,
    }


def test_the_report_tells_what_is_reached_and_what_is_not():
    suite = load_suite("embedded")
    text = pvp_report.pvp_report(suite, Protocol(), document())
    assert "| PSNR above frame by frame, dB | at least 3 | 4 | yes |" in text
    assert "| frames a second, one by one | at least 54 | 190 | yes |" in text
    assert "| no |" not in text
    worse = document()
    worse["table2"]["avatar"] = worse["table2"]["avatar"] | {"psnr": 24.0}
    text = pvp_report.pvp_report(suite, Protocol(), worse)
    assert "| PSNR above frame by frame, dB | at least 3 | 2 | no |" in text
    assert "one shot: Transfer" in text
    row = document()["table2"]["avatar"]
    true = {f"true_{k}": v for k, v in document()["table2_true"]["avatar"].items()}
    found = {"whole": row | true | {"identity": 0.9, "response": 1.0}}
    assert "## Ablations" in pvp_report.pvp_report(suite, Protocol(), document(ablations=found))


@pytest.mark.slow
def test_the_whole_evaluation(tmp_path):
    words = ["--frames", "100", "--iterations", "0.02", "--out", str(tmp_path / "out")]
    assert main(["evaluate", "pvp", *words]) == 0
    found = json.loads((tmp_path / "out/pvp.json").read_text())
    assert set(found) >= {"table2", "table2_true", "poses", "reenactment", "seconds"}
    assert found["table2"]["avatar"]["psnr"] > 15
    assert found["reenactment"]["by_itself"] < 1e-4
    for name in ("pvp.md", "pvp.png", "pvp_poses.png", "pvp_driven.png"):
        assert (tmp_path / "out" / name).is_file()
