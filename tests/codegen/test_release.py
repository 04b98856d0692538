"""Tests of `microvm-proto release` and its output."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from microvm_proto.digest import api_digest
from microvm_proto.released import canonical
from microvm_proto.resolve import read_schema

from .common import ROOT, Read, Run, every_schema, failure
from .test_gen import edit

SCHEMA = "protocol/sandboxd.toml"
RELEASED = "protocol/sandboxd.released.toml"
VERSION = read_schema(ROOT / SCHEMA).version
NEXT = VERSION + 1


@every_schema
def test_released_form_has_the_same_meaning(schema: Path, read: Read) -> None:
    before = read_schema(schema)
    after = read(canonical(before))
    assert (after.digest, api_digest(after)) == (before.digest, api_digest(before))
    assert (after.enums != (), after.reserved) == (before.enums != (), before.reserved)
    assert canonical(after) == canonical(before)


def test_the_released_form_has_neither_documentation_nor_outputs() -> None:
    data = tomllib.loads(canonical(read_schema(ROOT / SCHEMA)))
    assert data.keys() == {"protocol", "constant", "enum", "message", "conversation"}
    assert "doc" not in str(data)


def test_schema_is_compatible_with_released_form(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = run("breaking")
    assert result.exit_code == 0, result.stderr


def test_a_first_release_writes_the_form_that_breaking_reads(run: Run, project: Path) -> None:
    (project / RELEASED).unlink()
    missing = run("breaking")
    assert missing.stderr == (
        f"microvm-proto: {RELEASED} does not exist; write it with `microvm-proto release`\n"
    )
    assert missing.exit_code == 1
    assert run("release").stdout == f"wrote {RELEASED}\n"
    assert (project / RELEASED).read_text() == canonical(read_schema(project / SCHEMA))
    assert run("breaking").stdout == (
        f"version {VERSION} is equivalent to the released version {VERSION}\n"
    )


def test_a_newer_version_is_released(run: Run, project: Path) -> None:
    run("release")
    schema = project / SCHEMA
    edit(schema, f"version = {VERSION}\n", f"version = {NEXT}\n")
    edit(schema, '{ message = "resume" },', '{ message = "resume" }, { message = "nap" },')
    message = '[[message]]\nname = "nap"\nnumber = 40_000\nsender = "host"\nid = "none"\n'
    schema.write_text(f"{schema.read_text()}\n{message}since = {NEXT}\n")
    verdict = f"version {NEXT} is newer than the released version {VERSION}\n"
    assert run("breaking").stdout == verdict
    assert run("release").stdout == f"{verdict}wrote {RELEASED}\n"
    assert read_schema(project / RELEASED).version == NEXT


REFUSED = {
    "incompatible": ("max = 64\n", "max = 65\n", "bound-raised"),
    "needless version": (f"version = {VERSION}\n", f"version = {NEXT}\n", "version-needless"),
    "wrong schema": ('type = "tail"', 'type = "tial"', "unknown-type"),
}


@pytest.mark.parametrize(("old", "new", "rule"), REFUSED.values(), ids=REFUSED)
def test_mismatch_is_not_released(old: str, new: str, rule: str, run: Run, project: Path) -> None:
    run("release")
    schema = project / SCHEMA
    schema.write_text(schema.read_text().replace(old, new))
    before = (project / RELEASED).read_bytes()
    result = run("release")
    assert result.exit_code == 1
    assert f"[{rule}]\n" in result.stderr
    assert (project / RELEASED).read_bytes() == before


def test_a_released_form_that_is_broken_is_reported(run: Run, project: Path) -> None:
    (project / RELEASED).write_text("[protocol]\n")
    for verb in ("breaking", "release"):
        assert failure(run, verb).startswith(f"{RELEASED}:1:1: error: ")
