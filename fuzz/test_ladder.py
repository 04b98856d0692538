"""The driver: rungs in processes of their own, a table, and JSON."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from .__main__ import main
from .ladder import LADDER, Rung, climb_apart
from .mutants.__main__ import hunts, seed


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_each_rung_is_there(rung: Rung) -> None:
    module, _, function = rung.function.partition(":")
    assert callable(getattr(importlib.import_module(f"fuzz.{module}"), function))


def test_the_shares_are_all_of_the_time() -> None:
    assert sum(rung.share for rung in LADDER) == pytest.approx(1)


def test_a_rung_that_breaks_is_a_finding() -> None:
    rung = Rung("G", "there is none", "nothing:run", 1.0)
    outcome = climb_apart(rung, 1, 1)
    assert outcome.rung == "G"
    assert "status 1" in outcome.findings[0]


def test_what_ends_a_process_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, program = tmp_path / "corpus", tmp_path / "rung"
    corpus.mkdir()
    program.write_text('#!/bin/sh\nprintf "its last words" >"$FUZZ_LAST"; kill -ABRT $$\n')
    program.chmod(0o755)
    monkeypatch.setattr("fuzz.report.CORPUS", corpus)
    monkeypatch.setattr("sys.executable", str(program))
    outcome = climb_apart(Rung("G", "it aborts", "none", 1.0), 1, 1)
    [path] = corpus.iterdir()
    assert path.read_bytes() == b"its last words"
    assert path.name.startswith("ends-rung-g-")
    assert path.name in outcome.findings[0]


def test_the_report_is_a_table_and_json(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = CliRunner().invoke(
        main, ["--rung", "E", "--seconds", "1", "--seed", "5", "--json", str(report)]
    )
    assert result.exit_code == 0, result.output
    assert "the decoders in C they reach 100% of" in result.output
    [rung] = json.loads(report.read_text())["rungs"]
    assert (rung["rung"], rung["seed"], rung["findings"]) == ("E", 5, [])
    assert rung["frames"] > rung["executions"] > 0


def test_every_seeded_bug_has_its_place(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    names = set()
    for hunt in hunts():
        mutant = hunt.mutant
        names.add((mutant.name, mutant.file))
        path = tmp_path / mutant.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((root / mutant.file).read_text())
        seed(tmp_path, mutant)
        assert path.read_text() != (root / mutant.file).read_text()
    assert len(names) == len(list(hunts())) >= 60
