"""Tests of the seeded faults, and of the program that seeds them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from fuzz.mutants.__main__ import SCHEMA
from tests.faults_seeded import seeded
from tests.faults_seeded.__main__ import MARKS, ROOT, clean, look, pool

from microvm_proto.resolve import read_schema

FAULTS = list(seeded())
PATCHES = sorted({fault.patch for fault in FAULTS})
SEEDED, MADE = 150, 100  # minimum numbers of all faults, and of those that were really made


def test_every_fault_applies_once(tmp_path: Path) -> None:
    for fault in FAULTS:
        path = tmp_path / fault.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((ROOT / fault.file).read_text())
        fault.seed(tmp_path)
        if fault.file == SCHEMA:
            read_schema(path)


def test_names_of_faults_are_unique() -> None:
    counts = Counter((fault.file, fault.name) for fault in FAULTS)
    assert [key for key, count in counts.items() if count > 1] == []


def test_most_faults_were_really_made() -> None:
    assert all(re.fullmatch(r"fuzz/(mutants|model)|[0-9a-f]{7,40}|new", f.origin) for f in FAULTS)
    made = [fault for fault in FAULTS if fault.origin != "new"]
    assert len(FAULTS) >= SEEDED
    assert len(made) >= MADE


def test_named_tests_exist() -> None:
    missing = []
    for fault in FAULTS:
        assert fault.tests, fault.name
        for test in fault.tests:
            file, *names = test.split("[")[0].split("::")
            source = (ROOT / file).read_text() if (ROOT / file).is_file() else ""
            missing += [test for name in names if not re.search(rf"\b{name}\b", source)]
            missing += [] if source else [test]
    assert missing == []


@pytest.mark.thorough
@pytest.mark.parametrize("patch", PATCHES)
def test_a_fault_of_each_patch_is_found(patch: str) -> None:
    fault = next(each for each in FAULTS if each.patch == patch)
    with pool(1) as processes:
        test, failed, _ = processes.submit(look, fault, MARKS["check"]).result()
        assert failed
        assert not processes.submit(clean, [test], MARKS["check"]).result()
