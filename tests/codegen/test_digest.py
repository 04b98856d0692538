"""Tests that the digest depends on everything that changes the wire format, and on nothing else."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from microvm_proto.breaking import Comparison, Verdict
from microvm_proto.digest import api_digest, wire_digest
from microvm_proto.positions import Path as Place
from microvm_proto.positions import index
from microvm_proto.released import canonical

from .common import EVERYTHING, GROWN, SANDBOXD, TYPES, Read

TEXTS = {
    # No digest of the wire depends on conversations, which restrict the senders of messages.
    "sandboxd": re.sub(r"(?ms)^\[\[conversation.*?(?=^\[\[constant)", "", SANDBOXD.read_text()),
    "everything": EVERYTHING.read_text(),
    "types": TYPES.read_text(),
}


def replaced(text: str, place: Place, new: str) -> str:
    """Return the schema with another value at a place."""
    lines = text.split("\n")
    position = index(text)[place]
    line, column = position.line - 1, position.column - 1
    lines[line] = lines[line][:column] + new + lines[line][column + position.width :]
    return "\n".join(lines)


def numbers(data: dict[str, Any]) -> Iterator[tuple[Place, int]]:
    """Return every number that affects the wire, with another valid value."""
    yield ("protocol", "version"), data["protocol"]["version"] + 1
    for at, enum in enumerate(data.get("enum", [])):
        taken = {value["number"] for value in enum["value"]}
        for number, value in enumerate(enum["value"] if enum["closed"] else []):
            # Older versions read a missing struct as zeros.
            if value["number"] != 0:
                place = ("enum", at, "value", number, "number")
                yield place, next(n for n in (0, 1, 3) if n not in taken)
    for at, flags in enumerate(data.get("flags", [])):
        for number, _ in enumerate(flags["bit"] if flags["closed"] else []):
            yield ("flags", at, "bit", number, "bit"), 6
    constants = {constant["name"]: constant["value"] for constant in data.get("constant", [])}
    fields = [field for message in data["message"] for field in message.get("field", [])]
    for at, name in enumerate(constants):
        if any(field.get("equals") == name for field in fields):
            yield ("constant", at, "value"), constants[name] - 1
    for at, _ in enumerate(data["message"]):
        yield ("message", at, "number"), 1000 + at
    bounds = {"max", "max_items", "max_item", "max_total", "equals", "count"}
    for there, field in fields_of(data):
        for key in field.keys() & bounds:
            bound = constants.get(field[key], field[key])
            yield (*there, key), bound - 1 if bound > 1 else bound + 1


def fields_of(data: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    for kind in ("message", "struct"):
        for at, owner in enumerate(data.get(kind, [])):
            for number, field in enumerate(owner.get("field", [])):
                yield (kind, at, "field", number), field


def words(data: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Return every word that affects the wire, with other valid values."""
    senders = {*data["protocol"]["ends"], "both"}
    for at, message in enumerate(data["message"]):
        for sender in senders - {message["sender"]}:
            yield ("message", at, "sender"), sender
        for id_ in {"none", "required", "any"} - {message["id"]}:
            yield ("message", at, "id"), id_
    for place, field in fields_of(data):
        if not field.keys() & {"equals", "absent", "default"} and field["type"][0] in "uif":
            others = {"u8": "i8", "f32": "f64", "f64": "f32"}
            yield (*place, "type"), others.get(field["type"], "u8")


Edits = Callable[[dict[str, Any]], Iterator[tuple[Place, int | str]]]


@pytest.mark.thorough
@pytest.mark.parametrize("edits", [numbers, words])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_numbers_types_senders_and_ids_change_digest(
    text: str, edits: Edits, read: Read, tmp_path: Path
) -> None:
    # A conversation refuses other senders of its messages.
    text = re.sub(r"\[\[conversation\]\].*?(?=\[\[constant\]\])", "", text, flags=re.DOTALL)
    before = read(text).digest
    released = tmp_path / "released.toml"
    released.write_text(canonical(read(text)))
    changes = list(edits(tomllib.loads(text)))
    assert len(changes) > 30
    for place, other in changes:
        assert read(replaced(text, place, json.dumps(other))).digest != before, (place, other)
        if place != ("protocol", "version"):
            verdict = Comparison(tmp_path / "schema.toml", released).verdict
            assert verdict is Verdict.INCOMPATIBLE, (place, other)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("everything", "max = 4, nul = false", "max = 4, nul = true"),
        ("everything", "closed = true", "closed = false"),
        ("everything", '"second", type = "u8", since = 3', '"second", type = "u8", since = 2'),
        ("types", 'name = "x", type = "f32", finite = true', 'name = "x", type = "f32"'),
        ("types", "max_items = 2, finite = true", "max_items = 2"),
        ("types", "closed = true\ndoc", "closed = false\ndoc"),
        ("types", "max = 6, nul = false", "max = 6"),
        ("types", '"text", max = 12', '"bytes", max = 12'),
        ("types", 'ends = ["left", "right"]', 'ends = ["left", "right"]\nprefix = "u16"'),
    ],
)
def test_rules_change_wire_digest(name: str, old: str, new: str, read: Read) -> None:
    text = TEXTS[name]
    assert old in text
    assert read(text.replace(old, new)).digest != read(text).digest


def test_documentation_keeps_wire_digest(read: Read) -> None:
    text = TEXTS["sandboxd"]
    lines = [
        'doc = "Something else."' if line.startswith("doc = ") and line.endswith('."') else line
        for line in text.split("\n")
    ]
    assert lines.count('doc = "Something else."') > 50
    assert read("\n".join(lines)).digest == read(text).digest


def test_sections_outputs_and_comments_keep_digest(read: Read) -> None:
    text = TEXTS["sandboxd"]
    other = '[[section]]\ntitle = "More"\ntext = "More."\n\n# The end.\n'
    other += '[[output]]\nbackend = "c"\nfile = "other.h"\n'
    assert read(f"{text}\n{other}").digest == read(text).digest


def test_names_keep_wire_digest(read: Read) -> None:
    text = TEXTS["sandboxd"]
    changed = text
    for name in ("sandboxd", "exec_output", "stdout_credit", "goodbye_reason", "host", "stderr"):
        assert f'"{name}"' in text
        changed = changed.replace(f'"{name}"', f'"{name}_2"')
    assert read(changed).digest == read(text).digest


def test_since_changes_wire_digest(read: Read) -> None:
    text = TEXTS["everything"]
    # A value of a closed enum, and a message without fields.
    for old, new in [("since = 2", "since = 3"), ("number = 65535\nsender", "since = 2\n\\g")]:
        later = text.replace(old, new.replace("\\g", old), 1)
        assert later != text
        assert read(later).digest != read(text).digest


def test_open_enum_has_the_digest_of_its_integer(read: Read) -> None:
    text = TEXTS["everything"]
    changed = text.replace('name = "reason", type = "reason"', 'name = "reason", type = "u16"')
    assert changed != text
    assert read(changed).digest == read(text).digest


def test_each_version_has_the_digest_of_its_own_schema(read: Read) -> None:
    schema = read(GROWN.read_text())
    digests = [wire_digest(schema.at(version)) for version in schema.versions]
    assert len(set(digests)) == len(digests) == 4
    assert digests == [read(canonical(schema.at(v))).digest for v in schema.versions]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("Any number.", "Whatever you like.", True),
        ('name = "token"', 'name = "cookie"', False),
        ("max = 64\n", "max = 65\n", False),
    ],
    ids=["doc", "name", "bound"],
)
def test_api_digest_ignores_only_documentation(old: str, new: str, same: bool, read: Read) -> None:
    text = TEXTS["sandboxd"]
    assert old in text
    assert (api_digest(read(text.replace(old, new, 1))) == api_digest(read(text))) == same


def test_order_of_messages_changes_only_api_digest(read: Read) -> None:
    text = TEXTS["everything"]
    head, *messages = text.split("[[message]]\n")
    turned = head + "".join(f"[[message]]\n{message}\n" for message in reversed(messages))
    assert api_digest(read(turned)) != api_digest(read(text))
    assert read(turned).digest == read(text).digest


def test_new_value_of_open_enum_keeps_wire_digest(read: Read) -> None:
    text = TEXTS["everything"]
    more = '{ name = "more", number = 100 }, { name = "other"'
    grown = text.replace('{ name = "other"', more)
    assert grown != text
    assert read(grown).digest == read(text).digest


def test_swapped_field_names_keep_the_digest_but_break_release(read: Read, tmp_path: Path) -> None:
    between = 'type = "u16"\ndoc = "Number of lines."\n\n[[message.field]]'
    old = f'name = "rows"\n{between}\nname = "columns"'
    new = f'name = "columns"\n{between}\nname = "rows"'
    text = TEXTS["sandboxd"]
    assert old in text
    swapped, released = tmp_path / "swapped.toml", tmp_path / "released.toml"
    swapped.write_text(text.replace(old, new))
    released.write_text(canonical(read(text)))
    comparison = Comparison(swapped, released)
    assert comparison.new.digest == comparison.old.digest
    assert comparison.verdict is Verdict.INCOMPATIBLE
    assert "[field-moved]" in comparison.report()
