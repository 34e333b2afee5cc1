"""`jaxface studio` as a command: mistakes are one line, before anything is served."""

import socket

import pytest

from jaxface.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody.png"], "no such file"),
        (["--port", "99999"], "expected 0 to 65535"),
        (["--port", "many"], "expected a whole number"),
        (["--suite", "nowhere"], "nowhere"),
        (["--preset", "pie_embeded"], "pie_embedded"),
        (["{folder}"], "results.jsonl"),
        (["{file}"], "notes.jpg: not a format that is read"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.jpg").write_text("words")
    names = {"folder": tmp_path / "empty", "file": tmp_path / "notes.jpg"}
    assert main(["studio", "--port", "0", *(each.format(**names) for each in arguments)]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert message in printed


def test_a_port_that_is_taken_is_told(tmp_path, capsys, studio_suite):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        out = ["--out", str(tmp_path / "out"), "--suite", str(studio_suite)]
        assert main(["studio", "--port", port, *out]) == 2
    assert "name another --port" in capsys.readouterr().err
