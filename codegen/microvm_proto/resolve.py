"""The step from the tables of a schema file to a schema: names to types, types to sizes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from microvm_proto import lint
from microvm_proto.digest import seeds, wire_digest
from microvm_proto.load import Document, Table
from microvm_proto.resolve_framing import framing
from microvm_proto.resolve_types import Types, prefix, renamed
from microvm_proto.schema import Constant, Message, Output, Schema, Section
from microvm_proto.types import INTEGERS

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
    schema = replace(schema, seeds=seeds(schema))
    return replace(schema, digest=wire_digest(schema))


class _Resolver:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.version = 1

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
        lengths = prefix(protocol)
        protocol.done()
        types = Types(root, lengths, self.since)
        constants = tuple(self.constant(table) for table in root.tables("constant"))
        types.constants = {constant.name: constant for constant in constants}
        schema = Schema(
            path=self.document.path,
            name=name,
            version=self.version,
            ends=ends,
            doc=doc,
            sections=tuple(_section(table) for table in root.tables("section")),
            enums=types.enums,
            messages=tuple(self.message(table, ends, types) for table in root.tables("message")),
            outputs=tuple(self.output(table) for table in root.tables("output")),
            reserved=reserved,
            constants=constants,
            flags=types.flags,
            structs=types.structs,
            prefix=lengths,
            framing=framing(root),
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
        module, style = table.get("module", str, path.stem), table.get("style", str, "")
        table.done()
        return Output(backend, path, module, style)

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
        constant = Constant(table.require("name", str), value, doc, renamed(table))
        table.done()
        return constant

    def message(self, table: Table, ends: tuple[str, str], types: Types) -> Message:
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
            fields=types.fields(table, since),
            renamed=renamed(table),
        )
        table.done()
        return message


def _section(table: Table) -> Section:
    section = Section(table.require("title", str), table.require("text", str).strip())
    table.done()
    return section
