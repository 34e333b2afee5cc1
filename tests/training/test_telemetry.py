import io
import math
import re
import sys
import threading
import time
import types

import pytest

from jaxface.errors import UsageError
from jaxface.runtime import progress as telling
from jaxface.runtime.progress import (
    JobProgress,
    Progress,
    format_seconds,
    one_by_one,
    set_verbosity,
)
from jaxface.training.reporting import MetricLog, MetricWindow, NonFiniteMetricError, read_metrics


def test_a_window_gives_means_and_survives_a_checkpoint():
    window = MetricWindow()
    window.add("loss", 0, 1.0)
    again = MetricWindow(window.state())
    again.add("loss", 1, 2.0)
    again.add("lazy", 1, 5.0)
    assert again.pop() == {"loss": 1.5, "lazy": 5.0}
    assert again.pop() == {}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_window_refuses_what_is_not_finite(value):
    with pytest.raises(NonFiniteMetricError, match="Step 7: metric 'g/loss'"):
        MetricWindow().add("g/loss", 7, value)


@pytest.mark.parametrize(
    ("writer", "reason"),
    [
        (None, "ModuleNotFoundError"),
        (types.SimpleNamespace(), "ImportError"),
        ("folder", "NotADirectoryError"),
    ],
)
def test_where_tensorboardx_cannot_write_there_is_a_note_and_a_file(
    writer, reason, tmp_path, monkeypatch, capsys
):
    board = tmp_path / "tensorboard"
    if writer == "folder":
        board.touch()  # which is in the way
    else:
        monkeypatch.setitem(sys.modules, "tensorboardX", writer)
    log = MetricLog(tmp_path, resume_at=0)
    log.write(1, {"loss": 2.0})
    log.close()
    said = capsys.readouterr().err
    assert f"TensorBoard is off: tensorboardX cannot write {board} ({reason}" in said
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.0}]
    assert not board.is_dir()


@pytest.mark.parametrize("damaged", ['{"step": 2, "lo', "[2]", '{"step": "2"}', "", "\udcff\0"])
def test_a_damaged_line_is_told_with_file_and_number(damaged, tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    good = '{"step": %d}\n'
    text = f"{good % 1}{damaged}\n{good % 3}{good % 9}" + '{"step": 12, "lo'
    path.write_bytes(text.encode(errors="surrogateescape"))
    where = f"{path}, line 2"
    with pytest.raises(UsageError, match=re.escape(f"{where}: expected a row of metrics")):
        read_metrics(tmp_path)
    MetricLog(tmp_path, resume_at=3).close()
    assert capsys.readouterr().err.count("no row of metrics") == 1
    assert read_metrics(tmp_path) == [{"step": 1}, {"step": 3}]
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_metrics(tmp_path / "absent")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_one_line_on_a_terminal_and_many_in_a_file():
    for stream, lines in ((Terminal(), 1), (io.StringIO(), 2)):
        progress = Progress(100, stream=stream)
        progress.update(25, rate=32.0, steps_per_second=1.0, metrics="loss 1")
        progress.update(50, rate=32.0, steps_per_second=1.0, metrics="loss 1")
        progress.close()
        assert stream.getvalue().count("\n") == lines
        assert "50/100 (50%)  32 images/s  left 0:50  loss 1" in stream.getvalue()


def test_seconds_are_readable():
    assert [format_seconds(s) for s in (5, 125, 3723, math.inf)] == ["0:05", "2:05", "1:02:03", "?"]


def test_what_takes_long_is_told_again_and_again(monkeypatch):
    """A step, a compilation or a rendering that says nothing for a while."""
    monkeypatch.setattr(telling, "LOG_INTERVAL", 0.01)
    stream = io.StringIO()
    progress = Progress(4, stream=stream, text="0/4  compiling")
    deadline = time.monotonic() + 30
    while stream.getvalue().count("\n") < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    progress.close()
    assert stream.getvalue().startswith("0/4  compiling  (for 0:0")


def test_no_thread_outlives_its_line():
    before = threading.active_count()
    for _ in range(20):
        Progress(4, stream=io.StringIO(), text="compiling").close()
    assert threading.active_count() == before


def test_quiet_says_nothing():
    set_verbosity("quiet")
    try:
        stream = io.StringIO()
        progress = Progress(4, stream=stream, text="compiling")
        progress.update(1, rate=1.0, steps_per_second=1.0, metrics="")
        progress.say("Resumed.")
        progress.close()
        assert stream.getvalue() == ""
    finally:
        set_verbosity("normal")


def test_compiling_is_no_part_of_the_first_estimate(monkeypatch):
    bar = JobProgress(100, 0, show=True)
    with bar:
        bar.compiling()
        bar._bar.start_t -= 3600.0  # as if it had taken an hour
        bar.advance(1.0)
        time.sleep(0.02)
        bar.advance(2.0)
        rate = bar._bar.format_dict
        assert rate["elapsed"] < 60


def test_29_the_bar_tells_the_rate_and_the_time_left(capsys):
    with JobProgress(10, 0, show=True) as bar:
        bar._bar.start_t -= 10.0
        bar._bar.last_print_t -= 10.0
        bar._bar.mininterval = 0
        bar.update(5)
    said = capsys.readouterr().err
    assert re.search(r"5\.0/10 \[00:1\d<00:\d\d, .*portraits", said), said


def test_29_frames_are_told_with_their_rate_the_time_left_and_memory():
    said = telling.frames_done(1200, 60.0, 0.25)
    assert re.fullmatch(r"1200 frames, 20\.0 a second, left 3:00, \d+ MB", said)
    assert "left ?" in telling.frames_done(0, 1.0, 0.0)


def test_parts_are_told_with_place_and_time_left(monkeypatch, capsys):
    monkeypatch.setattr(telling, "LOG_INTERVAL", 0.01)
    for part in one_by_one([("first", 1), ("second", 2)]):
        deadline = time.monotonic() + 30
        said = ""
        while f"{part} of 2" not in said and time.monotonic() < deadline:
            time.sleep(0.05)
            said += capsys.readouterr().err
        assert f"{part} of 2, left" in said


def test_the_time_left_is_that_of_the_parts_that_are_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
    pace = telling.Pace(4)
    assert pace.next() == "left ?"
    now[0] += 30
    assert pace.next() == "left 1:30"
    now[0] += 10
    assert pace.next() == "left 0:40"
