"""Tests of every rule of schemas: a schema that breaks it, and the exact diagnostic.

`fixtures/<rule>.err` contains the output of `microvm-proto lint` for the schema `<rule>.toml`.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import microvm_proto
from microvm_proto import breaking, breaking_fields, digest
from microvm_proto.diagnostics import SchemaError
from microvm_proto.resolve import read_schema
from microvm_proto.types import Type

from .common import FIXTURES, Read, Run, failure, fixtures

CHANGES = {Path(breaking.__file__), Path(breaking_fields.__file__)}
ERRORS = sorted(FIXTURES.glob("*.err"))
HEAD = '[protocol]\nname = "p"\nversion = 1\nends = ["a", "b"]\n'


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the schemas of all rules."""
    folder = tmp_path_factory.mktemp("rules")
    for name, text in fixtures().items():
        (folder / name).write_text(text, errors="surrogateescape")
    return folder


@pytest.mark.parametrize("expected", ERRORS, ids=lambda path: path.stem)
def test_violations_are_located(
    expected: Path, schemas: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(schemas)
    assert failure(run, "lint", f"{expected.stem}.toml") == expected.read_text()


def test_every_rule_has_a_fixture_and_every_fixture_a_rule() -> None:
    sources = set(Path(microvm_proto.__file__).parent.rglob("*.py")) - CHANGES
    assert rules_in(*sources) == {path.stem for path in ERRORS}


def rules_in(*sources: Path) -> set[str]:
    """Return the first argument of every call that reports a finding."""
    return {
        call.args[0].value
        for file in sources
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("error", "note", "removed", "_error", "_fail")
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def refused(read: Read, text: str) -> SchemaError:
    with pytest.raises(SchemaError) as caught:
        read(text)
    return caught.value


def test_findings_come_in_the_order_of_the_file(read: Read) -> None:
    message = '[[message]]\nname = "{}"\nnumber = 0\nsender = "c"\nid = "none"\n'
    error = refused(read, HEAD + message.format("Two") + message.format("One") + "[last]\n")
    found = [each.position for each in error.diagnostics if each.position]
    places = [(position.line, position.column) for position in found]
    assert len(places) == 7
    assert places == sorted(places)


def test_a_value_is_reported_once_though_more_follows_from_it(read: Read) -> None:
    error = refused(read, HEAD.replace("version = 1", 'version = "x"') + "[last]\n")
    assert [found.rule for found in error.diagnostics] == ["wrong-type", "unknown-key"]


@pytest.mark.parametrize("end", ["both", "header_size", "max_body", "schema_digest", "version"])
def test_end_with_the_name_of_a_header_constant_is_refused(end: str, read: Read) -> None:
    error = refused(read, HEAD.replace('"a"', f'"{end}"'))
    assert [found.rule for found in error.diagnostics] == ["reserved-word"]


def test_missing_table_causes_one_finding(read: Read) -> None:
    [found] = refused(read, "").diagnostics
    assert found.message == "the table [protocol] is missing"


def test_caret_is_below_a_value_behind_tabs_and_wide_text(read: Read) -> None:
    error = refused(read, HEAD + '\t"ключ" = \t1 # wrong\n')
    assert str(error).splitlines()[1:3] == ['    \t"ключ" = \t1 # wrong', "    \t         \t^"]


def test_caret_of_a_multiline_value_ends_with_its_first_line(read: Read) -> None:
    error = refused(read, HEAD + "list = [ # first\n  1,\n]\n")
    assert str(error).splitlines()[1:3] == ["    list = [ # first", "           ^^^^^^^^^"]


def test_lines_count_the_same_with_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "crlf.toml").write_bytes((HEAD + "extra = 1\n").replace("\n", "\r\n").encode())
    with pytest.raises(SchemaError) as caught:
        read_schema(tmp_path / "crlf.toml")
    assert str(caught.value).splitlines()[:3] == [
        f"{tmp_path}/crlf.toml:5:9: error: `extra` is not a key of this table [unknown-key]",
        "    extra = 1",
        "            ^",
    ]


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a = " + "9" * 5000, (1, 1), "Exceeds the limit"),
        ("a = 1\nb = ", (2, 5), "Invalid value"),
        ("a = 1\na = 2", (2, 6), "Cannot overwrite a value"),
    ],
    ids=["long number", "end", "twice"],
)
def test_invalid_toml_is_shown(read: Read, text: str, where: tuple[int, int], message: str) -> None:
    (found,) = refused(read, text).diagnostics
    assert found.rule == "syntax"
    assert found.message.startswith(message)
    assert found.position
    assert (found.position.line, found.position.column) == where


def test_too_deep_nesting_is_reported(read: Read) -> None:
    (found,) = refused(read, "a = " + "[" * 100_000).diagnostics
    assert found.rule == "syntax"
    assert "ested" in found.message


@pytest.mark.parametrize("key", ["a." * 100 + "a", '"a" . ' * 100 + "a"], ids=["bare", "quoted"])
def test_a_key_of_many_parts_is_reported(read: Read, key: str) -> None:
    (found,) = refused(read, f"{key} = 1").diagnostics
    assert (found.rule, found.message) == ("syntax", "Nested too deeply")


@pytest.mark.parametrize("char", ["\u009b", "\u202e", "\u2028"], ids=ascii)
def test_control_characters_are_reported_but_not_printed(read: Read, char: str) -> None:
    error = refused(read, HEAD + f'doc = "{char}"\n[[last]]\n')
    assert [found.rule for found in error.diagnostics] == ["control-character", "unknown-key"]
    assert char not in str(error)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    assert read_schema(path).name == "p"
    path.write_bytes(b"\xef\xbb\xbfp = 1\n")
    with pytest.raises(SchemaError, match=r"schema\.toml:1:5: error: `p` is not a key"):
        read_schema(path)


def chain(levels: int, fields: int, *, reverse: bool = False) -> str:
    """Return a schema of structs of which each contains the next one `fields` times."""
    structs = [
        f'[[struct]]\nname = "s{level}"\nfield = [{rows(kind, fields)}]\n'
        for level in range(levels)
        for kind in [f"s{level - 1}" if level else "u8"]
    ]
    message = '[[message]]\nname = "m"\nnumber = 1\nsender = "a"\nid = "none"\n'
    message += f'field = [{{ name = "f", type = "s{levels - 1}" }}]\n'
    framing = '[framing]\nkind = "cobs"\ncheck = "crc16"\n'
    return HEAD + framing + "".join(structs[:: -1 if reverse else 1]) + message


@pytest.mark.parametrize("reverse", [False, True], ids=["users last", "users first"])
def test_structs_that_are_nested_too_deeply_are_refused(read: Read, reverse: bool) -> None:
    read(chain(17, 1, reverse=reverse))
    for levels in (18, 40):
        found = refused(read, chain(levels, 1, reverse=reverse)).diagnostics
        assert {(each.rule, each.message) for each in found} == {
            ("recursive-struct", "structs are nested deeper than 16")
        }


def test_a_seed_describes_each_struct_once(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is proportional to the number of fields, 4,094 here, and not to its square."""
    described = 0

    def count(kind: Type) -> list[Any]:
        nonlocal described
        described += 1
        return shape(kind)

    shape = digest.shape
    monkeypatch.setattr(digest, "shape", count)
    read(chain(11, 2))
    assert described < 5 * 4094


STRUCTS = (
    HEAD
    + """
[[struct]]
name = "inner"
field = [{fields}]

[[struct]]
name = "outer"
field = [{structs}]

[[message]]
name = "m"
number = 1
sender = "a"
id = "none"
field = [{messages}]
"""
)


def rows(kind: str, count: int) -> str:
    return ", ".join(f'{{ name = "f{n}", type = "{kind}" }}' for n in range(count))


@pytest.mark.parametrize(
    ("structs", "fields", "found"),
    [(40, 1, 0), (64, 1, 1), (40, 3, 1)],
    ids=["few", "in a struct", "in a message"],
)
def test_fields_in_structs_count(read: Read, structs: int, fields: int, found: int) -> None:
    text = STRUCTS.format(
        fields=rows("u8", 64), structs=rows("inner", structs), messages=rows("outer", fields)
    )
    if found:
        assert [each.rule for each in refused(read, text).diagnostics] == ["too-many-fields"]
    else:
        assert read(text).structs[1].size == structs * 64
