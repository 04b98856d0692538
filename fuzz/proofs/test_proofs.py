"""What CBMC proves of the guest, and that it can fail to."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from ..mutants.proofs import BY_HARNESS
from . import prove

QUICK = ("header", "list", "stream", "session", "input", "exec", "serve", "loop", "lines")
"""Those that `make test` runs: what a frame passes through, some 16 seconds of one core."""

QUICK_MUTANTS = ("header", "stream", "lines")

SLOW = [name for name in prove.harnesses() if name not in QUICK]


def test_the_quick_ones_hold() -> None:
    for proof in prove.prove(QUICK):
        assert proof.output == ""
        assert proof.properties > proof.witnesses > 0


@pytest.mark.long
@pytest.mark.parametrize("name", SLOW)
def test_it_holds(name: str) -> None:
    [proof] = prove.prove([name])
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
    guest = shutil.copytree(prove.GUEST, tmp_path / "guest")
    path = tmp_path / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1
    path.write_text(text.replace(mutant.old, mutant.new))
    [proof] = prove.prove([name], guest)
    assert proof.failures, proof.output


def test_every_function_of_the_guest_is_proved_or_said_not_to_be() -> None:
    defined = {name for path in prove.GUEST.glob("*.[ch]") for name in _functions(path)}
    proved = {name for harness in prove.harnesses().values() for name in harness.functions}
    assert proved <= defined
    assert defined - proved == set(re.findall(r"`(\w+)`", _section("What has no proof")))


def test_the_documentation_says_what_the_harnesses_say() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|", _section("Harnesses"), re.M)
    assert {row[0]: row[1:] for row in rows} == {
        name: (", ".join(harness.functions), harness.bound, harness.assumes)
        for name, harness in prove.harnesses().items()
    }


def _functions(path: Path) -> list[str]:
    """Give the names of the functions that a file defines."""
    text = path.read_text()
    names = re.findall(r"^[a-z_][^;#(]*?\b(\w+)\([^;]*?\)\n\{", text, re.M)
    return names + [
        f"sandboxd_take_{name}" for name in re.findall(r"^SANDBOXD_DEFINE_TAKE\((\w+),", text, re.M)
    ]


def _section(title: str) -> str:
    text = (prove.HERE.parent.parent / "docs" / "fuzzing.md").read_text()
    return text.split(f"### {title}\n", 1)[1].split("\n#", 1)[0]
