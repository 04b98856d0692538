"""Tests that a hint names the likely intention, or says that nothing similar exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from microvm_proto.diagnostics import SchemaError

from .common import Read, Run

HEAD = """
[protocol]
name = "p"
version = 1
ends = ["a", "b"]

[[enum]]
name = "colour"
type = "u8"
closed = true

[[enum.value]]
name = "red"
number = 1

[[message]]
name = "point"
number = 1
sender = "a"
id = "none"
"""


def hint_of(read: Read, text: str) -> str:
    with pytest.raises(SchemaError) as caught:
        read(text)
    return caught.value.diagnostics[0].hint


def of_type(read: Read, name: str) -> str:
    return hint_of(read, f'{HEAD}\n[[message.field]]\nname = "x"\ntype = "{name}"\n')


INTEGERS = "u8, u16, u32, u64, i8, i16, i32 and i64"
MEANT = {
    "u32": ["U32", "uint32", "uint32_t", "u_32", "Uint32"],
    "i16": ["int16", "int16_t", "s16", "I16"],
    "f32": ["F32", "float", "float32", "float32_t", "fp32"],
    "f64": ["float64_t", "double"],
    "bool": ["boolean", "Bool", "_Bool"],
    "text": ["string", "str", "utf8", "utf-8", "String", "cstring"],
    "colour": ["color", "Colour", "colours"],
    "bytes": ["byte", "Bytes", "blob", "binary", "buffer"],
    "tail": ["tial", "TAIL"],
    "list<bytes>": ["List<Bytes>"],
}
INSTEAD = {
    "write `f32` or `f64`, ": "f16 bf16 half real decimal",
    "write `text` with a `max` ": "char wchar_t",
    "declare [[flags]] with a ": "flag bit bitfield bitmask",
    f"choose an integer type with a size: {INTEGERS}": (
        "int uint integer long size_t usize varint unsigned"
    ),
    f"integer types are {INTEGERS}; ": "u24 u128 i7 uint256 int128_t u1",
    "for a fixed number of items, ": "list<text> u32[4] vec<u8> array repeated set<u8>",
    "write `bytes` with a `max`, ": "bytes[16] u8[16] bytes<4> char[8]",
    "there are no maps: ": "map<bytes> dict",
    "declare a [[struct]], ": "struct object tuple",
    "there are no unions: ": "union oneof any json",
    "`point` is a message, not a type: ": "point",
    "there are no optional fields: ": "optional optional<u8> u32?",
    "write an integer, with a `unit`, ": "timestamp datetime duration time_t",
    "known: f32, ": "quux",
}


@pytest.mark.parametrize(
    ("name", "meant"), [(name, meant) for meant, names in MEANT.items() for name in names]
)
def test_misspelled_type_has_a_suggestion(name: str, meant: str, read: Read) -> None:
    assert of_type(read, name) == f"did you mean `{meant}`?"


@pytest.mark.parametrize(
    ("name", "start"), [(name, start) for start, names in INSTEAD.items() for name in names.split()]
)
def test_unknown_type_without_a_suggestion(name: str, start: str, read: Read) -> None:
    assert of_type(read, name).startswith(start)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("uint8_t", "did you mean `u8`?"),
        ("f32", f"the type of an enum must be an integer: {INTEGERS}"),
        ("bytes", f"the type of an enum must be an integer: {INTEGERS}"),
        ("u24", f"integer types are {INTEGERS}; for a larger value, write `bytes`"),
    ],
)
def test_the_type_of_an_enum_is_an_integer(name: str, hint: str, read: Read) -> None:
    assert hint_of(read, HEAD.replace('type = "u8"', f'type = "{name}"')) == hint


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ('id = "none"', 'id = "none"\nsince = 0', "remove it: `since` is 1 by default"),
        ('id = "none"', 'id = "none"\nsince = 2', "raise `version` in [protocol], or"),
        ('id = "none"', 'id = "none"\n[message.field]', "write [[message.field]]"),
        ("version = 1", "version = 1\nreserved = [0]", "remove it: this number was never possible"),
        ("version = 1", "version = 1\nreserved = [7, 7]", "remove it"),
        ("[protocol]", "[[protocol]]", "write [protocol]"),
        (
            'id = "none"',
            'id = "none"\n[[message.field]]\nname = "x"\ntype = "bytes"\nmax = 4294967296',
            "a body has at most 16777216 bytes",
        ),
    ],
)
def test_hints_contain_advice(old: str, new: str, hint: str, read: Read) -> None:
    with pytest.raises(SchemaError) as caught:
        read(HEAD.replace(old, new))
    assert any(found.hint.startswith(hint) for found in caught.value.diagnostics)


def test_advised_command_writes_stale_files(run: Run, tmp_path: Path) -> None:
    schema = tmp_path / "other.toml"
    schema.write_text(HEAD + '\n[[output]]\nbackend = "c"\nfile = "other.h"\n')
    said = run("gen", "--check", schema).stderr
    assert said.endswith(f"run `microvm-proto gen {schema}`\n")
    assert run("gen", schema).exit_code == 0
