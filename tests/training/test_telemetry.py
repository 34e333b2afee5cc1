import io
import math

import pytest

from jaxface.runtime.progress import Progress, format_seconds
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


def test_without_tensorboardx_there_is_a_notice_and_a_file(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    notices = io.StringIO()
    log = MetricLog(tmp_path, resume_at=0, notices=notices)
    log.write(1, {"loss": 2.0})
    log.close()
    assert "TensorBoard is off" in notices.getvalue()
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.0}]
    assert not (tmp_path / "tensorboard").exists()


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
