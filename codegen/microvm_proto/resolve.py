"""Turns the tables of a schema file into the intermediate form: names to types, types to sizes."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from microvm_proto import lint
from microvm_proto.digest import wire_digest
from microvm_proto.faults import FAULTS
from microvm_proto.load import Document, Table
from microvm_proto.schema import (
    INTEGERS,
    PREFIX_SIZE,
    ByteList,
    Bytes,
    Enum,
    EnumValue,
    Field,
    Integer,
    Message,
    Output,
    Schema,
    Section,
    Tail,
    Type,
)

_VARIABLE = ("bytes", "list<bytes>", "tail")
_IDS = ("required", "none", "any")


def read_schema(path: Path) -> Schema:
    """Load, resolve and lint the schema at `path`.

    :raises SchemaError: with everything that is wrong with it.
    """
    document = Document(path)
    schema = _Resolver(document).schema()
    lint.lint(document, schema)
    document.check()
    return replace(schema, digest=wire_digest(schema))


class _Resolver:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.version = 1
        self.enums: dict[str, Enum] = {}

    def schema(self) -> Schema:
        root = self.document.root()
        protocol = root.table("protocol")
        name = protocol.require("name", str)
        self.version = protocol.require("version", int)
        newest = INTEGERS["u32"].maximum
        if not 1 <= self.version <= newest:
            protocol.error("bad-version", "version", "a version is from 1 to 2^32 - 1")
            self.version = newest
        ends = self.ends(protocol)
        doc = protocol.get("doc", str, "").strip()
        protocol.done()
        enums = tuple(self.enum(table) for table in root.tables("enum"))
        schema = Schema(
            path=self.document.path,
            name=name,
            version=self.version,
            ends=ends,
            doc=doc,
            sections=tuple(_section(table) for table in root.tables("section")),
            enums=enums,
            messages=tuple(self.message(table, ends) for table in root.tables("message")),
            outputs=tuple(self.output(table) for table in root.tables("output")),
        )
        root.done()
        return schema

    def ends(self, protocol: Table) -> tuple[str, str]:
        names = protocol.strings("ends")
        if len(names) != 2 or names[0] == names[1]:
            protocol.error(
                "bad-ends", "ends", "two different names are needed", 'ends = ["a", "b"]'
            )
            return ("", "")
        return (names[0], names[1])

    def output(self, table: Table) -> Output:
        backend, file = table.require("backend", str), table.require("file", str)
        path = (self.document.path.parent / file).resolve()
        module = table.get("module", str, path.stem)
        table.done()
        return Output(backend, path, module)

    def since(self, table: Table, default: int = 1) -> int:
        since = table.get("since", int, default)
        if not 1 <= since <= self.version:
            table.error(
                "bad-since", "since", f"version {since} is not between 1 and {self.version}"
            )
        return since

    def enum(self, table: Table) -> Enum:
        name, base = table.require("name", str), table.require("type", str)
        if base not in INTEGERS:
            self.unknown_type(table, base, list(INTEGERS))
        values = tuple(self.enum_value(item) for item in table.tables("value"))
        extends = table.get("extends", str, "")
        if extends not in ("", "fault"):
            table.error("bad-extends", "extends", "only `fault` can be extended")
        if extends == "fault":
            values = tuple(EnumValue(f.name, f.number, f.doc, 1) for f in FAULTS) + values
        enum = Enum(
            name=name,
            base=INTEGERS.get(base, INTEGERS["u64"]),
            closed=table.require("closed", bool),
            doc=table.get("doc", str, "").strip(),
            values=values,
            extends_faults=extends == "fault",
        )
        table.done()
        self.enums[name] = enum
        return enum

    def enum_value(self, table: Table) -> EnumValue:
        value = EnumValue(
            name=table.require("name", str),
            number=table.require("number", int),
            doc=table.get("doc", str, "").strip(),
            since=self.since(table),
        )
        table.done()
        return value

    def message(self, table: Table, ends: tuple[str, str]) -> Message:
        sender = table.require("sender", str)
        if ends[0] and sender not in (*ends, "both"):
            names = f"`{ends[0]}`, `{ends[1]}` or `both`"
            table.error("bad-sender", "sender", f"nobody is called `{sender}`", f"use {names}")
        identifier = table.require("id", str)
        if identifier not in _IDS:
            table.error("bad-id", "id", f"`{identifier}` says nothing", f"one of {', '.join(_IDS)}")
        since = self.since(table)
        fields: list[Field] = []
        offset: int | None = 0
        for item in table.tables("field"):
            field = self.field(item, offset, since)
            fields.append(field)
            offset = offset + field.max_size if offset is not None and field.fixed else None
        message = Message(
            name=table.require("name", str),
            number=table.require("number", int),
            sender=sender,
            id=identifier,
            frozen=table.get("frozen", bool, False),
            doc=table.get("doc", str, "").strip(),
            since=since,
            fields=tuple(fields),
        )
        table.done()
        return message

    def field(self, table: Table, offset: int | None, since: int) -> Field:
        name, kind = table.require("name", str), self.type(table)
        minimum, maximum = _sizes(kind)
        equals = table.optional("equals", int)
        if equals is not None and not (
            isinstance(kind, Integer) and kind.minimum <= equals <= kind.maximum
        ):
            table.error("bad-constant", "equals", "does not fit the field's type")
        field = Field(
            name=name,
            type=kind,
            doc=table.get("doc", str, "").strip(),
            since=self.since(table, since),
            equals=equals,
            offset=offset,
            min_size=minimum,
            max_size=maximum,
        )
        table.done()
        return field

    def type(self, table: Table) -> Type:
        name = table.require("type", str)
        if name in INTEGERS:
            return INTEGERS[name]
        if name in self.enums:
            return self.enums[name]
        if name == "bytes":
            (maximum,) = self.bounds(table, "max")
            return Bytes(maximum, table.get("nul", bool, True))
        if name == "tail":
            (maximum,) = self.bounds(table, "max")
            return Tail(maximum)
        if name == "list<bytes>":
            items, item, total = self.bounds(table, "max_items", "max_item", "max_total")
            return ByteList(items, item, total, table.get("nul", bool, True))
        self.unknown_type(table, name, [*INTEGERS, *_VARIABLE, *self.enums])
        table.asked += ["max", "max_items", "max_item", "max_total", "nul"]
        return INTEGERS["u8"]

    def bounds(self, table: Table, *keys: str) -> list[int]:
        missing = [key for key in keys if key not in table.data]
        if missing:
            kind, wanted = table.data["type"], " and ".join(f"`{key}`" for key in missing)
            hint = f"add {' and '.join(f'`{key} = …`' for key in missing)}"
            table.error("unbounded", "type", f"`{kind}` needs {wanted}", hint)
        return [self.bound(table, key) for key in keys]

    def bound(self, table: Table, key: str) -> int:
        bound = table.get(key, int, 1)
        if not 0 < bound <= INTEGERS["u32"].maximum:
            table.error("bad-bound", key, "a bound is from 1 to 2^32 - 1")
        return bound

    def unknown_type(self, table: Table, name: str, known: list[str]) -> None:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(known)}"
        table.error("unknown-type", "type", f"no type is called `{name}`", hint)


def _section(table: Table) -> Section:
    section = Section(table.require("title", str), table.require("text", str).strip())
    table.done()
    return section


def _sizes(kind: Type) -> tuple[int, int]:
    match kind:
        case Integer(size=size) | Enum(base=Integer(size=size)):
            return size, size
        case Bytes(maximum=maximum):
            return PREFIX_SIZE, PREFIX_SIZE + maximum
        case ByteList(max_total=maximum):
            return PREFIX_SIZE, PREFIX_SIZE + maximum
        case Tail(maximum=maximum):
            return 0, maximum
