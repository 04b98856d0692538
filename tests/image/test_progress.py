"""Tests of the progress of a build that a user sees."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from microvm import progress
from microvm.progress import LineReporter, TerminalReporter, on_stderr


def test_progress_is_plain_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with on_stderr() as report:
        assert isinstance(report, LineReporter)
        report.step("downloading [x]")
        report.advance(1, 2)
        report.line("a \x1b[1mprogram's")
        report.notice("no Alpine")
    said = "microvm: downloading [x]\na \\x1b[1mprogram's\nmicrovm: no Alpine\n"
    assert capsys.readouterr() == ("", said)


def test_long_step_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    told: list[str] = []
    report = progress.NoticeReporter(told.append)
    for step, total in (("downloading a", 200), ("asking b", None)):
        report.step(step)
        for done in range(0, 200, 10):  # two seconds for each
            report.advance(done, total)
            now += 2
    assert told == [
        *("downloading a: 15 % after 6 s", "downloading a: 55 % after 22 s"),
        *("downloading a: 95 % after 38 s", "asking b: 30 bytes after 6 s"),
        *("asking b: 110 bytes after 22 s", "asking b: 190 bytes after 38 s"),
    ]


def test_progress_is_one_changing_line_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with on_stderr() as report:
        assert isinstance(report, TerminalReporter)
        report.step("downloading [x]")
        report.advance(1, None)
        report.advance(1, 2)
        report.step("building")
        report.line("[1] a program's")
        report.notice("no Alpine [here]")
    out, err = capsys.readouterr()
    assert out == ""
    assert "building" in err
    assert "[1] a program's" in err
    assert "microvm: no Alpine [here]" in err
