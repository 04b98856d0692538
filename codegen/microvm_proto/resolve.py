"""Turns a loaded schema file into a `Schema`, whose types and sizes are resolved."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from microvm_proto import lint
from microvm_proto.digest import seeds, wire_digest
from microvm_proto.load import Document, Table
from microvm_proto.resolve_framing import framing
from microvm_proto.resolve_states import conversation
from microvm_proto.resolve_types import Types, prefix, renamed
from microvm_proto.schema import Constant, Message, Output, Schema, Section
from microvm_proto.types import INTEGERS

_IDS = ("required", "none", "any")


def read_schema(path: Path) -> Schema:
    """Read the schema file at `path`, and check it against all rules."""
    return read(Document(path))


def read(document: Document) -> Schema:
    """Turn a loaded schema file into a `Schema`, and check it against all rules."""
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
            message = "a version must be between 1 and 2^32 - 1"
            protocol.error("bad-version", "version", message, "begin with `version = 1`")
            self.version = newest
        ends = self.ends(protocol)
        doc = protocol.get("doc", str, "").strip()
        reserved = protocol.items("reserved", int)
        lengths = prefix(protocol)
        protocol.done()
        types = Types(root, lengths, self.since)
        constants = tuple(self.constant(table) for table in root.tables("constant"))
        types.constants = {constant.name: constant for constant in constants}
        messages = tuple(self.message(table, ends, types) for table in root.tables("message"))
        schema = Schema(
            path=self.document.path,
            name=name,
            version=self.version,
            ends=ends,
            doc=doc,
            sections=tuple(_section(table) for table in root.tables("section")),
            enums=types.enums,
            messages=messages,
            outputs=tuple(self.output(table) for table in root.tables("output")),
            reserved=reserved,
            constants=constants,
            flags=types.flags,
            structs=types.structs,
            prefix=lengths,
            framing=framing(root),
            conversations=tuple(
                conversation(table, ends, messages) for table in root.tables("conversation")
            ),
        )
        root.done()
        return schema

    def ends(self, protocol: Table) -> tuple[str, str]:
        names = protocol.items("ends", str)
        if len(names) != 2 or names[0] == names[1]:
            text, hint = "`ends` must be two different names", 'such as `ends = ["a", "b"]`'
            protocol.error("bad-ends", "ends", text, hint)
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
            hint = f"raise `version` in [protocol], or lower `since` to {self.version}"
            hint = hint if since > 0 else "remove it: `since` is 1 by default"
            table.error("bad-since", "since", message, hint)
        return since

    def constant(self, table: Table) -> Constant:
        value: int | str
        if isinstance(table.data.get("value"), str):
            value = table.require("value", str)
            if not value.isascii():
                message = "the text of a constant must be ASCII"
                table.error("bad-constant", "value", message, "remove the other characters")
        else:
            value = table.require("value", int)
            if not INTEGERS["i64"].minimum <= value <= INTEGERS["u64"].maximum:
                message = "the number does not fit 64 bits"
                table.error("bad-constant", "value", message, "choose a smaller number")
        doc = table.get("doc", str, "").strip()
        constant = Constant(table.require("name", str), value, doc, renamed(table))
        table.done()
        return constant

    def message(self, table: Table, ends: tuple[str, str], types: Types) -> Message:
        sender = table.require("sender", str)
        if ends[0] and sender not in (*ends, "both"):
            names = f"`{ends[0]}`, `{ends[1]}` or `both`"
            text = f"`{sender}` is not one of the `ends`"
            table.error("bad-sender", "sender", text, f"write {names}")
        identifier = table.require("id", str)
        if identifier not in _IDS:
            text, hint = f"`id` cannot be `{identifier}`", f"write one of {', '.join(_IDS)}"
            table.error("bad-id", "id", text, hint)
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
