"""`microvm-proto release`, and the form that it writes."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from microvm_proto.digest import api_digest
from microvm_proto.released import canonical
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from .test_backends import every_schema
from .test_gen import edit

ROOT = Path(__file__).parents[2]
RELEASED = "protocol/sandboxd.released.toml"

Run = Callable[..., Result]
Read = Callable[[str], Schema]


@every_schema
def test_the_released_form_says_the_same(schema: Path, read: Read) -> None:
    before = read_schema(schema)
    after = read(canonical(before))
    assert (after.digest, api_digest(after)) == (before.digest, api_digest(before))
    assert (after.enums != (), after.retired) == (before.enums != (), before.retired)
    assert canonical(after) == canonical(before)


def test_the_released_form_has_neither_documentation_nor_outputs() -> None:
    data = tomllib.loads(canonical(read_schema(ROOT / "protocol/sandboxd.toml")))
    assert data.keys() == {"protocol", "enum", "message"}
    assert "doc" not in str(data)


def test_ours_is_compatible_with_what_is_released(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    result = run("breaking")
    assert result.exit_code == 0, result.stderr


def test_a_first_release_writes_the_form_that_breaking_reads(run: Run, project: Path) -> None:
    (project / RELEASED).unlink()
    missing = run("breaking")
    assert missing.stderr == (
        f"microvm-proto: {RELEASED} is not there; `microvm-proto release` writes it\n"
    )
    assert missing.exit_code == 1
    assert run("release").stdout == f"wrote {RELEASED}\n"
    assert (project / RELEASED).read_bytes() == (ROOT / RELEASED).read_bytes()
    assert run("breaking").stdout == "version 1 is equivalent to the released version 1\n"


def test_a_newer_version_is_released(run: Run, project: Path) -> None:
    schema = project / "protocol/sandboxd.toml"
    edit(schema, "version = 1\n", "version = 2\n")
    schema.write_text(
        schema.read_text()
        + '[[message]]\nname = "nap"\nnumber = 99\nsender = "host"\nid = "none"\nsince = 2\n'
    )
    assert run("breaking").stdout == "version 2 is newer than the released version 1\n"
    result = run("release")
    assert result.stdout == (f"version 2 is newer than the released version 1\nwrote {RELEASED}\n")
    assert read_schema(project / RELEASED).version == 2


REFUSED = {
    "incompatible": ("max = 64\n", "max = 65\n", "bound-raised"),
    "needless version": ("version = 1\n", "version = 2\n", "version-needless"),
    "wrong schema": ('type = "tail"', 'type = "tial"', "unknown-type"),
}


@pytest.mark.parametrize(("old", "new", "rule"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_match_is_not_released(
    old: str, new: str, rule: str, run: Run, project: Path
) -> None:
    schema = project / "protocol/sandboxd.toml"
    schema.write_text(schema.read_text().replace(old, new))
    before = (project / RELEASED).read_bytes()
    result = run("release")
    assert result.exit_code == 1
    assert f"[{rule}]\n" in result.stderr
    assert (project / RELEASED).read_bytes() == before


def test_a_released_form_that_is_broken_is_reported(run: Run, project: Path) -> None:
    (project / RELEASED).write_text("[protocol]\n")
    for verb in ("breaking", "release"):
        result = run(verb)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"{RELEASED}:1:1: error: ")


def test_a_folder_in_its_place_is_named(run: Run, project: Path) -> None:
    (project / RELEASED).unlink()
    (project / RELEASED).mkdir()
    for verb in ("breaking", "release"):
        result = run(verb)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"{RELEASED}: error: Is a directory [unreadable]\n")
