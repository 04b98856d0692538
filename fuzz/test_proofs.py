"""What CBMC proves of the guest, and that it can fail to."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from . import proofs
from .mutants.proofs import BY_HARNESS

QUICK = ("header", "list", "stream", "session", "exec", "drain")
"""Those that `make test` runs; together they take some ten seconds of a core."""

QUICK_MUTANTS = ("header", "stream", "drain")

SLOW = [name for name in proofs.harnesses() if name not in QUICK]


def test_the_quick_ones_hold() -> None:
    for proof in proofs.prove(QUICK):
        assert proof.output == ""
        assert proof.properties > proof.witnesses > 0


@pytest.mark.long
@pytest.mark.parametrize("name", SLOW)
def test_it_holds(name: str) -> None:
    [proof] = proofs.prove([name])
    assert proof.output == ""
    assert proof.properties > proof.witnesses > 0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK_MUTANTS else pytest.mark.long)
        for name in BY_HARNESS
    ],
)
def test_a_bug_breaks_its_proof(name: str, tmp_path: Path) -> None:
    mutant = BY_HARNESS[name]
    guest = shutil.copytree(proofs.GUEST, tmp_path / "guest")
    path = tmp_path / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1
    path.write_text(text.replace(mutant.old, mutant.new))
    [proof] = proofs.prove([name], guest)
    assert proof.failures > 0, proof.output


def test_each_function_with_arithmetic_has_a_harness() -> None:
    """A function that is added to the guest is either proved, or listed as one that has no need."""
    defined = set().union(*(functions(path) for path in proofs.GUEST.glob("*.c")))
    proved = {name for harness in proofs.harnesses().values() for name in harness.functions}
    exempt = set(re.findall(r"`(\w+)`", section("Not proved")))
    assert proved - functions(proofs.GUEST / "protocol.h") <= defined
    assert defined - proved == exempt


def functions(path: Path) -> set[str]:
    """Give the names of the functions that a file defines."""
    text = path.read_text()
    names = re.findall(r"^(?:[a-z_].*?)\b(\w+)\([^;]*?\)\n\{", text, re.MULTILINE)
    names += re.findall(r"^SANDBOXD_DEFINE_TAKE\((\w+),", text, re.MULTILINE)
    return set(names)


def section(title: str) -> str:
    """Give the text below a heading of docs/fuzzing.md."""
    text = (proofs.HERE.parent.parent / "docs" / "fuzzing.md").read_text()
    return text.split(f"### {title}\n", 1)[1].split("\n#", 1)[0]


def test_the_table_of_the_documentation_is_that_of_the_harnesses() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|", section("Harnesses"), re.MULTILINE)
    written = {name: (names, bound, assumes) for name, names, bound, assumes in rows}
    assert written == {
        harness.name: (proofs.briefly(harness), harness.bound, harness.assumes)
        for harness in proofs.harnesses().values()
    }
