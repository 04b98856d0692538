"""Tests of the replay of counterexamples against the daemon and the session."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.daemon import GUEST, build_sanitized, sanitized_daemon

from ..mutants import mutants
from ..report import ROOT
from . import replay as replaying
from .events import ModelEvent
from .replay import main, replay
from .spin import SearchResult

pytestmark = pytest.mark.thorough

TWO_ANSWERS = SearchResult(
    "a side refuses this message",
    (
        ModelEvent("host", "sends", "hello", 0, 1),
        ModelEvent("guest", "receives", "hello", 0, 1),
        ModelEvent("guest", "sends", "ready", 0, 1),
        ModelEvent("host", "receives", "ready", 0, 1),
        ModelEvent("host", "sends", "ping"),
        ModelEvent("guest", "receives", "ping"),
        ModelEvent("guest", "sends", "pong"),
        ModelEvent("guest", "sends", "pong"),
        ModelEvent("host", "receives", "pong"),
        ModelEvent("host", "refuses", "pong"),
    ),
    states=0,
    megabytes=0,
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the real daemon."""
    return sanitized_daemon(tmp_path_factory)


@pytest.mark.parametrize("is_broken", [False, True])
def test_only_a_broken_daemon_behaves_as_the_run(
    daemon: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], is_broken: bool
) -> None:
    if is_broken:
        shutil.copytree(GUEST, tmp_path / "guest")
        (bug,) = (each for each in mutants() if each.name == "a ping is answered twice")
        bug.seed(tmp_path)
        daemon = build_sanitized(tmp_path, tmp_path / "guest")
    assert replay(TWO_ANSWERS, daemon) is is_broken
    said = capsys.readouterr().out
    assert said.count(", which differs") == (not is_broken)
    assert said.endswith("The session behaves as the counterexample.\n")


def test_documented_replay_is_printed(daemon: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "build_sanitized", lambda _: daemon)
    text = (ROOT / "docs/model.md").read_text()
    pattern = r"fuzz\.model\.replay '(.*)'\n\n((?:    .*\n|\n)+)"
    [(fault, expected)] = re.findall(pattern, text)
    ran = CliRunner().invoke(main, [fault])
    assert (ran.exit_code, ran.exception) == (0, None)
    assert ran.output == re.sub("^    ", "", expected, flags=re.M).rstrip("\n") + "\n"
