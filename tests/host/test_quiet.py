"""Tests of the messages on standard error: quiet, without colors, or on a simple terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

import pexpect
import pytest
from click.testing import CliRunner

from microvm.cli import standard_streams
from microvm.cli.root import cli
from microvm.progress import STDERR, LineReporter, NullReporter, on_stderr

_SHOW = (
    "from microvm.progress import on_stderr\n"
    "with on_stderr() as report: report.step('building'); report.advance(1, 2); report.notice('so')"
)


def shown(**environment: str) -> str:
    """Return the output of a build on a terminal."""
    given = {**os.environ, **environment}
    child = pexpect.spawn(sys.executable, ["-c", _SHOW], env=given, timeout=60, encoding="utf-8")
    child.expect(pexpect.EOF)
    child.wait()
    return str(child.before)


def test_no_color_is_respected() -> None:
    colored, plain = shown(TERM="xterm", NO_COLOR=""), shown(TERM="xterm", NO_COLOR="1")
    color = re.compile(r"\x1b\[[0-9;]*\b(3[0-8]|4[0-8]|9[0-7])[0-9;]*m")
    assert color.search(colored)
    assert not color.search(plain)
    assert "building" in plain


def test_a_dumb_terminal_gets_lines() -> None:
    assert shown(TERM="dumb") == "microvm: building\r\nmicrovm: so\r\n"


@pytest.fixture
def _loud() -> Iterator[None]:
    """Restore standard error afterwards."""
    yield
    STDERR.quiet = False


@pytest.mark.usefixtures("_loud")
def test_quiet_leaves_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with on_stderr() as report:
        assert isinstance(report, LineReporter)
    said = CliRunner().invoke(cli, ["run", "-q", "--image", "no/image", "--", "true"])
    assert said.exception is not None
    with on_stderr() as report:
        assert isinstance(report, NullReporter)
    standard_streams.notify("so")
    standard_streams.print_error("it failed")
    assert capsys.readouterr().err == "microvm: it failed\n"
