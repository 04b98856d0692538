"""Tests whether a changed schema is compatible with its released form: every rule, any edits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, note, reject, settings
from hypothesis import strategies as st

from microvm_proto.breaking import Comparison, Verdict
from microvm_proto.diagnostics import SchemaError
from microvm_proto.digest import wire_digest
from microvm_proto.released import canonical
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Message, Schema
from microvm_proto.types import (
    BOOL,
    FLOATS,
    INTEGERS,
    Array,
    ByteList,
    Bytes,
    Enum,
    Field,
    Flags,
    Float,
    Integer,
    List,
    Member,
    Struct,
    Tail,
    Text,
    Type,
    within,
)

from .common import FIXTURES, FOLDER, TYPES, Generated, Load, Run, breaking_schemas
from .test_agreement import Codec, codec_of, frames
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


@pytest.mark.parametrize("expected", ERRORS, ids=lambda path: path.stem)
def test_a_fixture_breaks_nothing_but_its_rule(expected: Path) -> None:
    found = re.findall(r": (?:error|note): .* \[([a-z-]+)\]$", expected.read_text(), re.MULTILINE)
    assert set(found) == {expected.stem}


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


BOOLEAN = '[[struct.field]]\nname = "more"\ntype = "bool"\n'
BIT = '[[flags.bit]]\nname = "more"\nbit = 3\n'
VALUE = '[[enum.value]]\nname = "more"\nnumber = 3\n'
WITHIN = {
    "field of a struct": ('name = "y"\ntype = "f32"', 'name = "y"\ntype = "u32"', "type-changed"),
    "field added to one": ('[[struct.field]]\nname = "y"', f"{BOOLEAN}\\g", "field-unversioned"),
    "count": ('type = "i16"\ncount = 3', 'type = "i16"\ncount = 4', "type-changed"),
    "element": ('type = "i16"\ncount = 3', 'type = "u16"\ncount = 3', "type-changed"),
    "items": ('"list<reading>"\nmax_items = 3', '"list<reading>"\nmax_items = 2', "bound-lowered"),
    "text": ('type = "text"\nmax = 12', 'type = "bytes"\nmax = 12', "type-changed"),
    "finite in a list": ("max_items = 2\nfinite = true", "max_items = 2", "finite-changed"),
    "bit": ('name = "write"\nbit = 1', 'name = "write"\nbit = 2', "number-changed"),
    "bit gone": ('[[flags.bit]]\nname = "write"\nbit = 1', "", "value-removed"),
    "bit of open flags gone": ('[[flags.bit]]\nname = "top"\nbit = 31', "", "value-removed"),
    "bit added": ('[[flags.bit]]\nname = "write"', f"{BIT}\\g", "value-unversioned"),
    "value in structs": ('[[enum.value]]\nname = "busy"', f"{VALUE}\\g", "value-unversioned"),
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


# The result of an edit: the schema, the version that it requires, and the expected verdict.
Edited: TypeAlias = tuple[Schema, Verdict]
Declared: TypeAlias = Enum | Flags | Struct
KEPT, NEWER, BROKEN = Verdict.EQUIVALENT, Verdict.NEWER, Verdict.INCOMPATIBLE
SEVERITY = [KEPT, NEWER, BROKEN]


def declared(schema: Schema) -> list[Declared]:
    return [*schema.enums, *schema.flags, *schema.structs]


def with_type(schema: Schema, old: Declared, new: Declared) -> Schema:
    """Replace an enum, flags or a struct, and all types that contain it."""

    def put(kind: Any) -> Any:
        if kind == old:
            return new
        if isinstance(kind, Array | List):
            return replace(kind, element=put(kind.element))
        if isinstance(kind, Struct | Message):
            fields = tuple(replace(field, type=put(field.type)) for field in kind.fields)
            return replace(kind, fields=fields)
        return kind

    return replace(
        schema,
        enums=tuple(map(put, schema.enums)),
        flags=tuple(map(put, schema.flags)),
        structs=tuple(map(put, schema.structs)),
        messages=tuple(map(put, schema.messages)),
    )


def plain(name: str, kind: Type, since: int) -> Field:
    return Field(name, kind, "", since, None, None, 0, 0)


@st.composite
def one_of(draw: st.DrawFn, owner: str, edits: Mapping[str, tuple[Any, Verdict]]) -> Any:
    """Choose one of these edits of an owner; a strategy stands for any of its results."""
    kind = draw(st.sampled_from(sorted(edits)))
    note(f"{kind} {owner}")
    new, verdict = edits[kind]
    return draw(new) if isinstance(new, st.SearchStrategy) else new, verdict


ADDED: list[Type] = [INTEGERS["u16"], Bytes(9, nul=False), BOOL, FLOATS["f32"]]
ADDED_LISTS: list[Type] = [ByteList(2, 3, 9, nul=True), Text(9, nul=True), List(BOOL, 3)]


@st.composite
def message_edits(draw: st.DrawFn, schema: Schema, at: int, version: int) -> Edited:
    """Return the possible edits of a message; `version` is the next version."""
    message = schema.messages[at]
    fields = message.fields

    def added(place: int, since: int, kinds: Sequence[Type]) -> st.SearchStrategy[Message]:
        new = st.sampled_from(kinds).map(lambda kind: plain("added_x", kind, since))
        return new.map(lambda f: replace(message, fields=(*fields[:place], f, *fields[place:])))

    senders = st.sampled_from(sorted({*schema.ends, "both"} - {message.sender}))
    ids = st.sampled_from(sorted({"none", "required", "any"} - {message.id}))
    edits: dict[str, tuple[Any, Verdict]] = {
        "rename": (replace(message, name=f"{message.name}_x"), KEPT),
        "remove": (None, BROKEN),
        "number": (replace(message, number=4000 + at), BROKEN),
        "sender": (senders.map(lambda sender: replace(message, sender=sender)), BROKEN),
        "id": (ids.map(lambda id_: replace(message, id=id_)), BROKEN),
        "first": (added(0, message.since, ADDED + ADDED_LISTS), BROKEN),
    }
    if message.frozen:
        edits["thaw"] = (replace(message, frozen=False), BROKEN)
    else:
        end = len(fields) - (bool(fields) and isinstance(fields[-1].type, Tail))
        edits["append"] = (added(end, version, ADDED), NEWER)
        edits["append list"] = (added(end, version, ADDED_LISTS), NEWER)
    if fields:
        which = draw(st.integers(0, len(fields) - 1))
        field, before, after = fields[which], fields[:which], fields[which + 1 :]
        renamed = replace(field, name=f"{field.name}_x")
        # An older version if one exists; otherwise the version of the message changes.
        since = message.since + 1 if message.since < schema.version else message.since - 1
        moved = tuple(replace(f, since=max(f.since, since)) for f in fields)
        others = retyped(field).map(lambda f: replace(message, fields=(*before, f, *after)))
        edits["unnamed"] = (replace(message, fields=(*before, renamed, *after)), KEPT)
        edits["drop"] = (replace(message, fields=(*before, *after)), BROKEN)
        edits["retype"] = (others, BROKEN)
        edits["since"] = (replace(message, since=since, frozen=False, fields=moved), BROKEN)
    changed, verdict = draw(one_of(message.name, edits))
    new = (changed,) if changed else ()
    messages = (*schema.messages[:at], *new, *schema.messages[at + 1 :])
    return replace(schema, messages=messages), verdict


@st.composite
def retyped(draw: st.DrawFn, field: Field) -> Field:
    """Return the field with another type, bound or rule."""
    match field.type:
        case Integer(name=name) if field.equals is not None:
            return replace(field, equals=field.equals - 1 if field.equals > 0 else 1)
        case Integer(name=name) | Enum(base=Integer(name=name)) | Flags(base=Integer(name=name)):
            other = "u32" if name != "u32" else "u64"
            return replace(field, type=INTEGERS[other], default=0, absent=None)
        case Bytes() as kind:
            bounds = [replace(kind, nul=not kind.nul)]
            bounds += [replace(kind, maximum=kind.maximum + by) for by in (-1, 1)]
            return replace(field, type=draw(st.sampled_from(bounds)))
        case ByteList() as items:
            lists = [replace(items, nul=not items.nul)]
            lists += [replace(items, max_items=items.max_items + by) for by in (-1, 1)]
            lists += [replace(items, max_item=items.max_item + by) for by in (-1, 1)]
            lists += [replace(items, max_total=items.max_total + by) for by in (-1, 1)]
            return replace(field, type=draw(st.sampled_from(lists)))
        case Tail(maximum=maximum):
            return replace(field, type=Tail(maximum + 1))
        case Text() as text:
            texts: list[Type] = [Bytes(text.maximum, text.nul), replace(text, nul=not text.nul)]
            texts += [replace(text, maximum=text.maximum + 1)]
            return replace(field, type=draw(st.sampled_from(texts)))
        case Float() as number:
            other = "u32" if number.size == 4 else "f32"
            floats: list[Type] = [replace(number, finite=not number.finite)]
            floats += [INTEGERS["u64"] if number.size == 4 else FLOATS["f32"]]
            return replace(field, type=draw(st.sampled_from(floats)), default=0)
        case Array(element=element, count=count) as array:
            arrays = [replace(array, count=count + 1), replace(array, element=INTEGERS["u64"])]
            return replace(field, type=draw(st.sampled_from([*arrays, element])))
        case List(max_items=items_at_most) as listed:
            lists_of = [replace(listed, max_items=items_at_most + by) for by in (-1, 1)]
            lists_of += [replace(listed, element=INTEGERS["u64"])]
            return replace(field, type=draw(st.sampled_from(lists_of)))
    return replace(field, type=INTEGERS["u64"], default=0)


@st.composite
def type_edits(draw: st.DrawFn, schema: Schema, at: int, version: int) -> Edited:
    """Return the possible edits of an enum, flags or a struct that fields use."""
    kind = declared(schema)[at]
    match kind:
        case Enum():
            which = draw(st.integers(kind.inherited, len(kind.members) - 1))
            edits = enum_edits(kind, which, version)
        case Flags():
            edits = flags_edits(kind, draw(st.integers(0, len(kind.members) - 1)), version)
        case Struct():
            edits = struct_edits(kind, draw(st.integers(0, len(kind.fields) - 1)))
    edits["rename"] = (replace(kind, name=f"{kind.name}_x"), KEPT)
    new, verdict = draw(one_of(kind.name, edits))
    return with_type(schema, kind, new), verdict


def enum_edits(enum: Enum, which: int, version: int) -> dict[str, tuple[Any, Verdict]]:
    value, new = enum.members[which], Member("added_x", 100, "", 1)
    renamed = replace(value, name=f"{value.name}_x")
    values = (*enum.members[:which], renamed, *enum.members[which + 1 :])
    later = replace(new, since=version)
    return {
        "value": (replace(enum, members=values), KEPT),
        "add": (replace(enum, members=(*enum.members, new)), BROKEN if enum.closed else KEPT),
        "later": (replace(enum, members=(*enum.members, later)), NEWER),
        "open": (replace(enum, closed=not enum.closed), BROKEN),
        "reserve": (replace(enum, reserved=(*enum.reserved, 101)), KEPT),
    }


def flags_edits(flags: Flags, which: int, version: int) -> dict[str, tuple[Any, Verdict]]:
    bit, others = flags.members[which], flags.members[:which] + flags.members[which + 1 :]
    new = Member("added_x", 6, "", 1)
    later = replace(new, since=version)
    return {
        "bit": (replace(flags, members=(*others, replace(bit, name=f"{bit.name}_x"))), KEPT),
        "move": (replace(flags, members=(*others, replace(bit, number=6))), BROKEN),
        "remove": (replace(flags, members=others), BROKEN),
        "add": (replace(flags, members=(*flags.members, new)), BROKEN if flags.closed else KEPT),
        "later": (replace(flags, members=(*flags.members, later)), NEWER),
        "open": (replace(flags, closed=not flags.closed), BROKEN),
    }


def struct_edits(struct: Struct, which: int) -> dict[str, tuple[Any, Verdict]]:
    field, before, after = struct.fields[which], struct.fields[:which], struct.fields[which + 1 :]
    renamed = replace(field, name=f"{field.name}_x")
    others = retyped(field).map(lambda f: replace(struct, fields=(*before, f, *after)))
    added = (*struct.fields, plain("added_x", BOOL, 1))
    return {
        "field": (replace(struct, fields=(*before, renamed, *after)), KEPT),
        "retype": (others, BROKEN),
        "swap": (replace(struct, fields=(*before, *after, field)), BROKEN if after else KEPT),
        "drop": (replace(struct, fields=(*before, *after)), BROKEN),
        "add": (replace(struct, fields=added), BROKEN),
    }


def schema_edits(schema: Schema, _: int, version: int) -> st.SearchStrategy[Edited]:
    """Return the edits of the whole schema, which touch nothing that other edits touch."""
    messages = schema.messages
    new = Message("added_x", 3000, "both", "any", False, "", 1, ())
    later = replace(new, since=version, fields=(plain("f", INTEGERS["i8"], version),))
    edits = {
        "name": (replace(schema, name="another"), KEPT),
        "order": (replace(schema, messages=messages[::-1]), KEPT),
        "reserve": (replace(schema, reserved=(*schema.reserved, 3001)), KEPT),
        "add": (replace(schema, messages=(*messages, new)), BROKEN),
        "later": (replace(schema, messages=(*messages, later)), NEWER),
        "lose": (replace(schema, reserved=()), BROKEN if schema.reserved else KEPT),
    }
    return one_of("schema", edits)


@st.composite
def edited(draw: st.DrawFn, schema: Schema, allowed: tuple[Verdict, ...]) -> Edited:
    """Apply a few edits of different parts, so that none undoes another.

    The worst verdict counts.
    """
    version = schema.version + 1
    fields = [field for message in schema.messages for field in message.fields]
    used = [kind for field in fields for kind in within(field.type)]
    parts = [("schema", 0)]
    parts += [("type", at) for at, kind in enumerate(declared(schema)) if kind in used]
    parts += [("message", at) for at in range(len(schema.messages))]
    chosen = draw(st.lists(st.sampled_from(parts), max_size=3, unique=True))
    verdicts = [KEPT]
    # From the last message, since one may be removed. Types come last, since their fields stay.
    for part, at in sorted(chosen, key=lambda place: (place[0], -place[1])):
        strategies = {"schema": schema_edits, "type": type_edits, "message": message_edits}
        edits = strategies[part](schema, at, version)
        schema, verdict = draw(edits.filter(lambda edit: edit[1] in allowed))
        verdicts.append(verdict)
    if NEWER in verdicts:
        schema = replace(schema, version=version)
    return schema, max(verdicts, key=SEVERITY.index)


MANY = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", ["grown", "everything", "types"])
@given(data=st.data())
@MANY
def test_known_edits_have_their_verdict(name: str, data: st.DataObject, tmp_path: Path) -> None:
    old = read_schema(FOLDER / f"{name}.toml")
    changed, verdict = data.draw(edited(old, (KEPT, NEWER, BROKEN)))
    paths = [tmp_path / "new.toml", tmp_path / "old.toml"]
    for path, schema in zip(paths, (changed, old), strict=True):
        path.write_text(canonical(schema))
    try:
        comparison = Comparison(*paths)
    except SchemaError:
        # An incompatible change may also break the rules of schemas.
        assert verdict is BROKEN
        reject()
    note(comparison.report())
    assert comparison.verdict == verdict
    assert bool(comparison.errors) == (verdict is BROKEN)
    same = wire_digest(comparison.new.at(old.version)) == wire_digest(old)
    # Few compatible changes are refused.
    assert same or verdict is BROKEN


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["grown", "everything", "types"])
@given(data=st.data())
@settings(MANY, max_examples=10)
def test_codecs_that_are_compatible_read_each_other(
    name: str,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    generated: Generated,
    load: Load,
) -> None:
    path = FOLDER / f"{name}.toml"
    old = read_schema(path)
    changed, _ = data.draw(edited(old, (KEPT, NEWER)))
    folder = tmp_path_factory.mktemp("edited")
    (folder / "schema.toml").write_text(canonical(changed))
    files = [generated(path) / file for file in ("codec.py", "plain.py")]
    new = read_schema(folder / "schema.toml")
    pairs = [Codec(old, *map(load, files)), codec_of(new, folder, load)]
    agreed = old.version
    assert pairs[1].python.DIGESTS[agreed] == pairs[0].python.DIGEST
    for writer, reader in (pairs, pairs[::-1]):
        for end, frame in data.draw(st.lists(frames(writer), min_size=4, max_size=4)):
            decoder = writer.python.Decoder(end)
            decoder.receive_data(frame)
            try:
                sent = decoder.next_message().encode(agreed)
            except writer.python.EncodeError:
                assert writer is pairs[1]
                continue
            decoder = reader.python.Decoder(end, agreed)
            decoder.receive_data(sent)
            assert decoder.next_message().encode(agreed) == sent
