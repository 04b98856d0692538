"""Tests that CBMC proves the harnesses, and finds seeded bugs."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from microvm_proto.resolve import read_schema

from ..mutants import mutants
from ..mutants.__main__ import end_with_parent, look
from ..report import ROOT, SCHEMA
from ..search import Record
from .prove import harnesses, prove

pytestmark = pytest.mark.thorough

QUICK = ("header", "list", "stream", "exec", "loop", "drain", "session")
"""Names of the harnesses that `make check` runs. They take about 30 seconds of one core."""

QUICK_BUGS = ("header", "stream", "drain")

BUGS = {mutant.name: mutant for mutant in mutants() if mutant.proof}


def _some(names: Iterable[str], quick: Container[str]) -> list[object]:
    return [pytest.param(each, marks=() if each in quick else pytest.mark.long) for each in names]


@pytest.mark.rung
@pytest.mark.parametrize("name", _some(harnesses(), QUICK))
def test_proof(name: str, record_property: Record) -> None:
    proofs = list(prove([name]))
    assert [str(proof) for proof in proofs if proof.failures] == []
    assert any(proof.witnesses for proof in proofs)
    record_property("properties", sum(proof.properties for proof in proofs))
    record_property("harnesses", 1)
    record_property("proofs", len(proofs))


def test_harness_names_sort_before_the_world_model() -> None:
    assert max(harnesses()) < "world"


def test_each_harness_has_a_seeded_bug() -> None:
    assert {bug.proof for bug in BUGS.values()} == set(harnesses())


@pytest.mark.parametrize(
    "name", _some(BUGS, [name for name, bug in BUGS.items() if bug.proof in QUICK_BUGS])
)
def test_seeded_bug_breaks_its_proof(name: str) -> None:
    with ProcessPoolExecutor(1, initializer=end_with_parent) as pool:
        found, words, _ = pool.submit(look, BUGS[name], "proofs", 0).result()
    assert found, words


def test_every_function_is_proved_or_listed_as_not_proved() -> None:
    document = (ROOT / "docs/fuzzing.md").read_text()
    said = document.split("### Functions without a proof\n", 1)[1].split("\n#", 1)[0]
    files = set(re.findall(r"`(\w+\.[ch])`", " ".join(re.findall(r"- All of ([^:]*):", said))))
    sources = {path.name: path for path in ROOT.glob("guest/*.[ch]")}
    assert files <= sources.keys()
    defined = {name for file in sources.keys() - files for name in _functions(sources[file])}
    listed = [harness.fields.get("Functions", []) for harness in harnesses().values()]
    proved = {name for names in listed for name in names}
    assert proved <= defined
    of_host = {
        f"sandboxd_{does}_{message.name}"
        for message in read_schema(SCHEMA).messages
        for does in ("check", "encode")
        if message.sender == "host"
    }
    assert defined - proved - of_host == set(re.findall(r"`(\w+)`", said))


def _functions(path: Path) -> list[str]:
    """Return the names of the functions that a file defines."""
    text = path.read_text()
    names = re.findall(r"^[a-z_][^;#(]*?\b(\w+)\([^;]*?\)\n\{", text, re.M)
    return names + [
        f"sandboxd_take_{name}" for name in re.findall(r"^SANDBOXD_DEFINE_TAKE\((\w+),", text, re.M)
    ]
