"""What is made of results: the page, the plot, the comparison, the device's peak. No compiling."""

import copy
import io
import json

import numpy as np
import pytest
from PIL import Image

from jaxface.benchmark import WORKLOADS, hardware, pie, read_report, write_report
from jaxface.benchmark.published import PUBLISHED
from jaxface.benchmark.regression import compare_reports
from jaxface.benchmark.roofline import draw_roofline
from jaxface.benchmark.summary import markdown
from jaxface.cli import benchmark as verb
from jaxface.cli import main
from jaxface.errors import UsageError

PEAK = {"flop_per_second": {"float32": 4e14, "bfloat16": 8e14}, "bytes_per_second": 3e12,
        "source": "a datasheet"}  # fmt: skip


def row(method, batch, seconds, contender="jaxface", flop=1e11, traffic=1e9):
    ours = contender == "jaxface"
    return {
        "method": method, "batch": batch, "contender": contender,
        "compile_seconds": 2.0 if ours else None, "first_call_seconds": 1.0,
        "seconds": {"median": seconds, "min": seconds, "all": [seconds]},
        "images_per_second": batch / seconds, "images_per_hour": 3600 * batch / seconds,
        "flop": flop if ours else None, "flop_per_second": flop / seconds if ours else None,
        "share_of_peak_flop": flop / seconds / 4e14 if ours else None,
        "bytes": traffic if ours else None,
        "bytes_per_second": traffic / seconds if ours and traffic else None,
        "share_of_peak_bandwidth": None, "memory_bytes": 2**30 if ours else None,
        "speedup_of_jaxface": None if ours else 2.0, "differences": [],
    }  # fmt: skip


def report():
    """A synthesis at 1024 px beside a peer, and a network with a loop, on a GPU."""
    sizes = {"resolution": 1024, "channel_base": 32768, "channel_max": 512, "dtype": "float32"}
    synthesis = sizes | {"perceptual": False, "lpips": None, "repeats": 5, "seed": 0}
    network = {"network": "restyle-e4e", "resolution": 256, "tiny": False, "dtype": "bfloat16"}
    rows = [row("forward", 1, 0.004), row("forward", 1, 0.008, "their:Generator"),
            row("forward", 8, 0.016, flop=8e11, traffic=8e9)]  # fmt: skip
    device = {"platform": "gpu", "kind": "A GPU", "count": 1, "load_average": 0.5, "peak": PEAK}
    return {
        "format": "jaxface-benchmark/2", "date": "2026-01-01T00:00:00+00:00", "device": device,
        "versions": {"jax": "0.10.2"}, "contenders": {"jaxface": {}, "their:Generator": {}},
        "runs": [
            {"benchmark": "synthesis", "settings": synthesis, "iterations_per_image": 1,
             "measurements": rows},
            {"benchmark": "networks", "settings": network | {"repeats": 5, "seed": 0},
             "iterations_per_image": 1, "measurements": [row("forward", 1, 0.02, traffic=None)]},
        ],
    }  # fmt: skip


def test_page_has_every_row_and_the_published_times():
    page = markdown(report()).splitlines()
    tables = [line for line in page if line.startswith("|")]
    measured = [line.split(" | ") for line in tables if line.startswith(("| synth", "| restyle"))]
    assert len(measured) == 4
    assert {len(cells) for cells in measured} == {14}
    assert measured[0][5:9] == ["4", "900000", "25", "6.25%"]
    assert measured[1][-1] == "2.00x faster |"
    assert measured[3][9:12] == ["-", "-", "1024"]
    (frames,) = (line for line in tables if "54 frames/s" in line)
    # The fastest comparable row: 2 ms an image at batch 8.
    assert "| RTX 3080 | 0.0185 | 0.002 | synthesis alone" in frames
    (pie,) = (line for line in tables if "3000 iterations" in line)
    assert "| V100 | 0.2 | - | nothing comparable in this run |" in pie
    assert (
        "Shares are of 400 TFLOP/s in float32, 800 TFLOP/s in bfloat16 and 3000 GB/s: a"
        in "".join(page)
    )


def compiled_report():
    """The same, with a row that was compiled for a v5e."""
    document = report()
    estimate = {
        "kind": "compiled, not measured", "topology": "v5e", "device": "TPU v5 lite",
        "compiler": {"libtpu": "0.0.42.1"}, "method": "forward", "batch": 8, "fits": True,
        "flop": 8e11, "bytes": 1.6e10, "memory_bytes": 2e9, "roofline_seconds": 0.02,
        "estimated_seconds": 0.04, "estimated_images_per_hour": 720000.0,
    }  # fmt: skip
    synthesis = document["runs"][0]
    document["runs"].append(synthesis | {"measurements": [], "compiled": [estimate]})
    return document


def test_estimates_have_a_table_and_roofs_of_their_own():
    document = compiled_report()
    page = markdown(document)
    before, _, after = page.partition("## Compiled for devices that are described: XLA's estimates")
    assert "v5e" not in before
    (row,) = (line for line in after.splitlines() if "| v5e |" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[4:] == ["v5e", "5", "2.5", "720000", "100", "2", "2"]
    assert "libtpu 0.0.42.1; 2026-01-01" in after
    assert compare_reports(document, document, 1.1).regressions == []
    plain, both = (
        np.asarray(Image.open(io.BytesIO(draw_roofline(each))).convert("RGB"), int)
        for each in (report(), document)
    )
    assert np.abs(plain - both).max() > 100


def test_published_times_are_those_of_their_figures():
    seconds = {time.figure: time.seconds for time in PUBLISHED}
    assert seconds["about 10 min for 3000 iterations"] == pytest.approx(0.2)
    assert seconds["about 3 h for 200 pivots of 350 steps"] == pytest.approx(0.154, abs=5e-4)


@pytest.mark.parametrize("known", [True, False])
def test_plot_shows_each_program_with_a_count_of_bytes(known):
    document = report()
    if not known:
        document["device"]["peak"] = None
    image = np.asarray(Image.open(io.BytesIO(draw_roofline(document))))
    assert image.shape == (720, 1200, 3)
    drawn = {tuple(colour) for colour in image.reshape(-1, 3)}
    assert {(31, 119, 180), (214, 39, 40)} <= drawn  # two programs, jaxface's
    assert (44, 160, 44) not in drawn  # a peer and a loop are left out
    roofs = (image == (110, 110, 110)).all(-1).sum()  # letters' edges have a few such pixels
    assert (roofs > 500) == known


def test_plot_places_points_by_their_decades():
    """100 FLOP a byte and 25 TFLOP/s under a peak of 1000: decades 2..3 and 13..15."""
    document = report()
    document["runs"] = document["runs"][:1]
    del document["runs"][0]["measurements"][1:]
    flat = {"flop_per_second": {"float32": 1e15}, "bytes_per_second": 1e12, "source": "one"}
    document["device"]["peak"] = flat
    image = np.asarray(Image.open(io.BytesIO(draw_roofline(document))))
    rows, columns = np.nonzero((image == (31, 119, 180)).all(-1))
    inside = columns < 730  # not the legend
    # Across from 100 to 1000, so at the left edge; up 1.4 of two decades.
    up = 660 - (np.log10(2.5e13) - 13) / 2 * 610
    assert columns[inside].min() + 4 == pytest.approx(90, abs=2)
    assert rows[inside].max() == pytest.approx(up + 4, abs=2)


def slower(document, factor, *, where=lambda row: True):
    changed = copy.deepcopy(document)
    for run in changed["runs"]:
        for entry in run["measurements"]:
            if where(entry):
                entry["seconds"]["median"] *= factor
    return changed


def test_comparison_finds_what_became_slower(tmp_path, capsys):
    old = report()
    paths = [tmp_path / name for name in ("old.json", "new.json")]
    write_report(paths[0], old)
    assert read_report(paths[0]) == old

    def status(new, *options):
        write_report(paths[1], new)
        return main(["benchmark", "compare", *map(str, paths), *options])

    assert status(slower(old, 1.09)) == 0
    assert "0 of 3 slower by more than 1.1x; the slowest is 1.09x" in capsys.readouterr().out
    changed = slower(old, 1.5, where=lambda row: row["batch"] == 8)
    assert status(changed) == 1
    marked = [line for line in capsys.readouterr().out.splitlines() if line.endswith("slower")]
    assert [line.split("  ")[0] for line in marked] == ["synthesis 1024 px float32 forward batch 8"]
    assert status(changed, "--tolerance", "1.6") == 0
    # A peer's time is not jaxface's; another number of rounds measures the same.
    other = slower(old, 9, where=lambda row: row["contender"] != "jaxface")
    other["runs"][0]["settings"]["repeats"] = 50
    assert status(other) == 0


def test_what_is_only_in_the_later_result_is_listed():
    old, new = report(), report()
    del old["runs"][1]
    found = compare_reports(old, new, 1.1)
    assert found.added == ["restyle-e4e 256 px bfloat16 forward batch 1"]
    assert "not in the earlier result" in found.table()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["device"].update(kind="B"), "different devices: kind was 'A GPU' and is 'B'"),
        (
            lambda r: r["runs"][0]["settings"].update(channel_base=9),
            "different settings: the later",
        ),
        (lambda r: r["runs"].pop(), "has no restyle-e4e 256 px bfloat16 forward batch 1"),
        (lambda r: r.update(format="jaxface-benchmark/1"), "of format 'jaxface-benchmark/2', got"),
    ],
)
def test_results_that_cannot_be_compared_are_refused(change, message, tmp_path, capsys):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write_report(old, report())
    changed = report()
    change(changed)
    new.write_text(json.dumps(changed))
    assert main(["benchmark", "compare", str(old), str(new)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_files_that_are_no_results_are_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_report(tmp_path / "missing.json")
    (tmp_path / "text.json").write_text("seconds")
    with pytest.raises(UsageError, match="not JSON"):
        read_report(tmp_path / "text.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UsageError, match="got None"):
        read_report(tmp_path / "list.json")


def test_peaks_of_accelerators_are_looked_up_and_a_cpus_measured(monkeypatch):
    class Device:
        platform, device_kind = "gpu", "NVIDIA H100 80GB HBM3"

    measured = hardware.peak(["float32", "float32"])
    assert list(measured.flop_per_second) == ["float32"]
    assert min(measured.flop_per_second["float32"], measured.bytes_per_second) > 0
    monkeypatch.setattr(hardware.jax, "devices", lambda: [Device])
    known = hardware.peak(["bfloat16"])
    assert (known.flop_per_second["bfloat16"], known.bytes_per_second) == (989.4e12, 3350e9)
    Device.device_kind = "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    assert hardware.peak(["float32"]) is None
    assert hardware.description(None)["peak"] is None
    # Half of the datasheet's TF32, and no bfloat16 where there is no unit for it.
    assert hardware.DEVICES["NVIDIA A100-SXM4-80GB"].flop_per_second["float32"] == 156e12
    assert "bfloat16" not in hardware.DEVICES["Tesla V100-SXM2-16GB"].flop_per_second


def test_the_verb_knows_every_workload():
    assert list(WORKLOADS) == list(verb.WORKLOADS)
    options = WORKLOADS["pie"].options
    assert options["recognition"]["choices"] == tuple(pie.RECOGNITION)
    assert options["reconstruction"]["choices"] == tuple(pie.RECONSTRUCTION)


def test_all_measures_sizes_and_dtypes_and_writes_three_files(tmp_path, capsys):
    sizes = ["--resolution", "4", "8", "--channel-base", "32", "--channel-max", "4"]
    options = ["--only", "synthesis", "--dtype", "float32", "--batch", "1", "--repeats", "2"]
    assert main(["benchmark", "all", *sizes, *options, "--out", str(tmp_path)]) == 0
    names = ["benchmark.json", "benchmark.md", "roofline.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    document = read_report(tmp_path / "benchmark.json")
    assert [run["settings"]["resolution"] for run in document["runs"]] == [4, 8]
    assert all(run["settings"]["lpips"] is None for run in document["runs"])  # not synthesis's
    page = (tmp_path / "benchmark.md").read_text()
    assert page == markdown(document)
    assert "measured by this run" in page
    assert "synthesis 8 px" in capsys.readouterr().out
    assert main(["benchmark", "all", *sizes, *options]) == 2
    assert "--out" in capsys.readouterr().err
