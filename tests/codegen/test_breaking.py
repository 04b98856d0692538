"""Tests whether a changed schema is compatible with its released form, for every rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from microvm_proto.breaking import Comparison

from .common import FIXTURES, TYPES, Run, breaking_schemas
from .test_diagnostics import CHANGES, rules_in

BREAKING = FIXTURES / "breaking"
ERRORS = sorted(BREAKING.glob("*.err"))


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the schemas of all rules."""
    folder = tmp_path_factory.mktemp("breaking")
    for name, text in breaking_schemas().items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("expected", ERRORS, ids=lambda path: path.stem)
def test_changes_have_positions(
    expected: Path, schemas: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(schemas)
    own = Path(f"{expected.stem}.released.toml").exists()
    against = [] if own else ["--against", "base.released.toml"]
    result = run("breaking", f"{expected.stem}.toml", *against)
    assert result.output == expected.read_text()
    assert result.exit_code == (": error: " in result.stderr)


def test_every_rule_has_a_fixture_and_every_fixture_a_rule() -> None:
    assert rules_in(*CHANGES) == {path.stem for path in ERRORS}


@pytest.mark.parametrize("expected", ERRORS, ids=lambda path: path.stem)
def test_lint_reports_obstacles_to_a_release(
    expected: Path, schemas: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = schemas / f"{expected.stem}.released.toml"
    base = own if own.exists() else schemas / "base.released.toml"
    Path("new.toml").write_bytes((schemas / f"{expected.stem}.toml").read_bytes())
    Path("new.released.toml").write_bytes(base.read_bytes())
    result = run("lint", "new.toml")
    wrong = ": error: " in expected.read_text()
    assert result.exit_code == wrong
    assert re.findall(r"\[([a-z-]+)\]$", result.stderr, re.MULTILINE)[:1] == (
        [expected.stem] if wrong else []
    )


def test_nothing_has_changed_since_a_release(run: Run) -> None:
    base = BREAKING / "base.released.toml"
    result = run("breaking", base, "--against", base)
    assert result.stdout == "version 2 is equivalent to the released version 2\n"
    assert (result.stderr, result.exit_code) == ("", 0)


BOOLEAN = '{ name = "more", type = "bool" },'
BIT = '{ name = "more", bit = 3 },'
VALUE = '{ name = "more", number = 3 },'
WITHIN = {
    "field of a struct": ('name = "y", type = "f32"', 'name = "y", type = "u32"', "type-changed"),
    "field added to one": ('{ name = "y"', f"{BOOLEAN}\\g", "field-unversioned"),
    "count": ('type = "i16", count = 3', 'type = "i16", count = 4', "type-changed"),
    "element": ('type = "i16", count = 3', 'type = "u16", count = 3', "type-changed"),
    "items": ('"list<reading>", max_items = 3', '"list<reading>", max_items = 2', "bound-lowered"),
    "text": ('type = "text", max = 12', 'type = "bytes", max = 12', "type-changed"),
    "finite in a list": ("max_items = 2, finite = true", "max_items = 2", "finite-changed"),
    "bit": ('name = "write", bit = 1', 'name = "write", bit = 2', "number-changed"),
    "bit gone": ('{ name = "write", bit = 1 },', "", "value-removed"),
    "bit of open flags gone": ('{ name = "top", bit = 31 },', "", "value-removed"),
    "bit added": ('{ name = "write"', f"{BIT}\\g", "value-unversioned"),
    "value in structs": ('{ name = "busy"', f"{VALUE}\\g", "value-unversioned"),
    "name in a language": ('c_name = "places"', 'c_name = "positions"', "renamed"),
    "default": ("default = 0.5", "default = 0.25", "default-changed"),
}


@pytest.mark.parametrize(("old", "new", "rule"), WITHIN.values(), ids=WITHIN)
def test_a_change_within_a_type_is_reported(old: str, new: str, rule: str, tmp_path: Path) -> None:
    text = TYPES.read_text()
    assert old in text
    paths = [tmp_path / "new.toml", tmp_path / "old.toml"]
    paths[0].write_text(text.replace(old, new.replace("\\g", old)))
    paths[1].write_text(text)
    report = Comparison(*paths).report()
    assert set(re.findall(r"\[([a-z-]+)\]$", report, re.MULTILINE)) == {rule}
