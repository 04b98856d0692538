"""Tests of the seeded bugs, and of the program that runs the rungs on them."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from fuzz.model.faults import faults
from tests.support.processes import ObservedProcess

from microvm_proto.resolve import read_schema

from . import FINDERS, RUNGS, mutants
from .__main__ import ROOT, SCHEMA, end_with_parent, run
from .finders import finder


def test_every_seeded_bug_applies(tmp_path: Path) -> None:
    bugs = list(mutants())
    for mutant in bugs:
        path, source = tmp_path / mutant.file, (ROOT / mutant.file).read_text()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        mutant.seed(tmp_path)
        assert path.read_text() != source
        if mutant.file == SCHEMA:
            read_schema(path)
    assert len({(mutant.name, mutant.file) for mutant in bugs}) == len(bugs) >= 100


def test_the_documentation_names_each_rung() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/fuzzing.md").read_text(), re.M)
    assert tuple(rows) == RUNGS["control"]
    assert {path.parent.name for path in ROOT.glob("fuzz/*/test_*.py")} == {
        *rows,
        "model",
        "mutants",
    }


def test_the_documentation_names_the_finder_of_each_fault() -> None:
    text = (ROOT / "docs/fuzzing.md").read_text()
    rows = re.findall(r"^\| (.+) \| `(.+)` \| (model, .*|\w+) \|$", text, re.M)
    seeded = [(each.name, each.file, f"model, check `{each.check.name}`") for each in faults()]
    own = [each for each in mutants() if each.rungs == (each.kind,)]
    seeded += [(each.name, each.file, each.kind) for each in own]
    assert rows == seeded
    assert f" {len(rows)} seeded faults" in text
    assert f" each of these {len(own)} faults was found" in text
    counts = Counter(kind.split(",")[0] for *_, kind in rows)
    assert min(counts[kind] for kind in ("model", *FINDERS)) >= 15


@pytest.mark.parametrize(
    "text", ["x is out of order: in the state", "no run of the model contains"]
)
def test_follower_and_model_find_faults_as_a_trace(text: str) -> None:
    (fault,) = (each for each in mutants() if each.name == "a ping is answered twice")
    assert finder("trace", fault).has_found(f"E   AssertionError: test_x.py: {text}")
    assert not finder("vector", fault).has_found(f"E   AssertionError: test_x.py: {text}")


def test_remaining_processes_of_a_rung_are_killed(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, initializer=end_with_parent) as pool:
        ran = pool.submit(run, ["sh", "-c", "setsid sleep 1000 & echo $!"], tmp_path, 600.0)
        status, said = ran.result()
        assert status == 0
        assert not ObservedProcess.of(int(said)).exists()
        assert pool.submit(run, ["sleep", "1000"], tmp_path, 0.1).result() == (None, "")
