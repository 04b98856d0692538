"""The step from the tables of a schema file to a schema: names to types, types to sizes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from microvm_proto import lint, unknown_type
from microvm_proto.digest import wire_digest
from microvm_proto.faults import FAULTS
from microvm_proto.load import Document, Table
from microvm_proto.schema import (
    INTEGERS,
    PREFIX_SIZE,
    ByteList,
    Bytes,
    Constant,
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
    lay_out,
)

_VARIABLE = ("bytes", "list<bytes>", "tail")
_IDS = ("required", "none", "any")


def read_schema(path: Path) -> Schema:
    """Load, resolve and lint the schema at `path`.

    :raises SchemaError: with everything that is wrong with it.
    """
    return read(Document(path))


def read(document: Document) -> Schema:
    """Resolve and lint a document that has been loaded.

    :raises SchemaError: with everything that is wrong with it.
    """
    schema = _Resolver(document).schema()
    lint.lint(document, schema)
    document.check()
    return replace(schema, digest=wire_digest(schema))


class _Resolver:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.version = 1
        self.constants: dict[str, Constant] = {}
        self.enums: dict[str, Enum] = {}
        self.messages: list[str] = []

    def schema(self) -> Schema:
        root = self.document.root()
        protocol = root.table("protocol")
        name = protocol.require("name", str)
        self.version = protocol.require("version", int)
        newest = INTEGERS["u32"].maximum
        if not 1 <= self.version <= newest:
            message = "a version is from 1 to 2^32 - 1"
            protocol.error("bad-version", "version", message, "start with `version = 1`")
            self.version = newest
        ends = self.ends(protocol)
        doc = protocol.get("doc", str, "").strip()
        reserved = protocol.items("reserved", int)
        protocol.done()
        constants = tuple(self.constant(table) for table in root.tables("constant"))
        enums = tuple(self.enum(table) for table in root.tables("enum"))
        self.messages = [str(table.data.get("name")) for table in root.tables("message")]
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
            reserved=reserved,
            constants=constants,
        )
        root.done()
        return schema

    def ends(self, protocol: Table) -> tuple[str, str]:
        names = protocol.items("ends", str)
        if len(names) != 2 or names[0] == names[1]:
            protocol.error(
                "bad-ends", "ends", "two different names are needed", 'ends = ["a", "b"]'
            )
            return ("", "")
        return (names[0], names[1])

    def output(self, table: Table) -> Output:
        backend, file = table.require("backend", str), table.require("file", str)
        path = Path(os.path.realpath(self.document.path.parent / file))
        module = table.get("module", str, path.stem)
        table.done()
        return Output(backend, path, module)

    def since(self, table: Table, default: int = 1) -> int:
        since = table.get("since", int, default)
        if not 1 <= since <= self.version:
            message = f"version {since} is not between 1 and {self.version}"
            hint = f"raise `version` in [protocol] first, or lower it to {self.version}"
            hint = hint if since > 0 else "versions count from 1, which is what it is without it"
            table.error("bad-since", "since", message, hint)
        return since

    def constant(self, table: Table) -> Constant:
        value: int | str
        if isinstance(table.data.get("value"), str):
            value = table.require("value", str)
            if not value.isascii():
                message = "the text of a constant is ASCII"
                table.error("bad-constant", "value", message, "other bytes have no name in C")
        else:
            value = table.require("value", int)
            if not INTEGERS["i64"].minimum <= value <= INTEGERS["u64"].maximum:
                table.error("bad-constant", "value", "does not fit 64 bits", "make it smaller")
        doc = table.get("doc", str, "").strip()
        constant = Constant(table.require("name", str), value, doc)
        table.done()
        self.constants[constant.name] = constant
        return constant

    def enum(self, table: Table) -> Enum:
        name, base = table.require("name", str), table.require("type", str)
        if base not in INTEGERS:
            hint = unknown_type.hint_of_enum(base)
            table.error("unknown-type", "type", f"no type is called `{base}`", hint)
        values = tuple(self.enum_value(item) for item in table.tables("value"))
        extends = table.get("extends", str, "")
        if extends not in ("", "fault"):
            hint = 'write `extends = "fault"`, or leave it out'
            table.error("bad-extends", "extends", "only `fault` can be extended", hint)
        if extends == "fault":
            values = tuple(EnumValue(f.name, f.number, f.doc, 1) for f in FAULTS) + values
        enum = Enum(
            name=name,
            base=INTEGERS.get(base, INTEGERS["u64"]),
            closed=table.require("closed", bool),
            doc=table.get("doc", str, "").strip(),
            values=values,
            extends_faults=extends == "fault",
            reserved=table.items("reserved", int),
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
        message = Message(
            name=table.require("name", str),
            number=table.require("number", int),
            sender=sender,
            id=identifier,
            frozen=table.get("frozen", bool, False),
            doc=table.get("doc", str, "").strip(),
            since=since,
            fields=lay_out(self.field(item, since) for item in table.tables("field")),
        )
        table.done()
        return message

    def field(self, table: Table, oldest: int) -> Field:
        """Read a field of a message that came with the version `oldest`; its offset is not set."""
        name, kind = table.require("name", str), self.type(table)
        minimum, maximum = _sizes(kind)
        equals = self.equals(table)
        if equals is not None and not (
            isinstance(kind, Integer) and kind.minimum <= equals <= kind.maximum
        ):
            scalar = kind if isinstance(kind, Integer) else None
            hint = _range(scalar) if scalar else "only a field of an integer type can be constant"
            table.error("bad-constant", "equals", "does not fit the field's type", hint)
        since = self.since(table, oldest)
        field = Field(
            name=name,
            type=kind,
            doc=table.get("doc", str, "").strip(),
            since=since,
            equals=equals,
            offset=None,
            min_size=minimum,
            max_size=maximum,
            default=0 if equals is not None else self.default(table, kind, since, since > oldest),
        )
        table.done()
        return field

    def equals(self, table: Table) -> int | None:
        """Return the only value of a field, given as a number or by a constant's name."""
        if not isinstance(table.data.get("equals"), str):
            return table.optional("equals", int)
        name = table.require("equals", str)
        constant = self.constants.get(name)
        if constant is not None and isinstance(constant.value, int):
            return constant.value
        numbers = [known.name for known in self.constants.values() if isinstance(known.value, int)]
        hint = f"known: {', '.join(numbers)}" if numbers else "add it as a [[constant]]"
        table.error("bad-constant", "equals", f"no number is called `{name}`", hint)
        return None

    def default(self, table: Table, kind: Type, since: int, later: bool) -> int:
        """Read the value that stands for the field in versions without it."""
        if not isinstance(kind, Integer | Enum):
            return 0
        if "default" in table.data and not later:
            message = "every version of the message has this field"
            hint = "leave it out: a default stands for a field that came later"
            table.error("bad-default", "default", message, hint)
        if isinstance(kind, Integer):
            number = table.get("default", int, 0)
            if not kind.minimum <= number <= kind.maximum:
                message = "does not fit the field's type"
                table.error("bad-default", "default", message, _range(kind))
            return number
        name = table.get("default", str, "")
        numbers = {value.name: value.number for value in kind.values if value.since <= since}
        if "default" not in table.data:
            if kind.closed and later:
                hint = f"add `default = …`, one of {', '.join(numbers)}"
                message = "a closed enum has no natural value for versions without this field"
                table.error("enum-default-missing", "type", message, hint)
            return 0
        if name not in numbers:
            message = f"`{kind.name}` has no value `{name}` in version {since}"
            table.error("bad-default", "default", message, f"known: {', '.join(numbers)}")
        return numbers.get(name, 0)

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
        known = [*INTEGERS, *_VARIABLE, *self.enums]
        hint = unknown_type.hint(name, known, self.messages)
        table.error("unknown-type", "type", f"no type is called `{name}`", hint)
        table.known_keys += ["max", "max_items", "max_item", "max_total", "nul", "default"]
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
            hint = "say how much there can be at most; what is always empty is no field"
            hint = hint if bound < 1 else f"a body is at most {lint.MAX_BODY} bytes"
            table.error("bad-bound", key, "a bound is from 1 to 2^32 - 1", hint)
        return bound


def _range(kind: Integer) -> str:
    return f"a `{kind.name}` is from {kind.minimum} to {kind.maximum}"


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
