"""The driver: rungs in processes of their own, and what it says of them."""

from __future__ import annotations

import json
import pkgutil
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from .__main__ import main
from .ladder import LADDER, Rung, climb
from .outcome import Outcome

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_each_rung_is_there(rung: Rung) -> None:
    assert callable(pkgutil.resolve_name(rung.function))


def test_the_documentation_names_each_rung() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/fuzzing.md").read_text(), re.M)
    assert rows == [rung.name for rung in LADDER]


def test_what_ends_a_process_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, program = tmp_path / "corpus", tmp_path / "rung"
    corpus.mkdir()
    program.write_text('#!/bin/sh\nprintf "its last words" >"$FUZZ_LAST"; kill -ABRT $$\n')
    program.chmod(0o755)
    monkeypatch.setattr("fuzz.report.CORPUS", corpus)
    monkeypatch.setattr("sys.executable", str(program))
    outcome = climb(Rung("one", "it aborts", "none", 1.0), 1, 1)
    [path] = corpus.iterdir()
    assert path.read_bytes() == b"its last words"
    assert path.name.startswith("ends-rung-one-")
    assert path.name in outcome.findings[0]


def test_the_report_is_a_line_a_rung_and_json(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    options = ["--rung", "host", "--seconds", "1", "--seed", "5", "--json", str(report)]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    said = json.loads(report.read_text())
    assert said["seed"] == 5
    [(name, outcome)] = said["rungs"].items()
    assert f"{name}: {Outcome(**outcome)}" in result.output
    assert outcome["findings"] == []
    assert outcome["frames"] > outcome["executions"] > 0
