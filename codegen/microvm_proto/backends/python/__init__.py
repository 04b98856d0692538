"""The backend `python`: a codec without I/O, in one module that needs the standard library only."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from microvm_proto.backends import constants
from microvm_proto.backends.python import fallback, fast, runtime
from microvm_proto.backends.python.naming import WIDTH, camel, default, ids, layout
from microvm_proto.digest import wire_digest
from microvm_proto.faults import FAULTS
from microvm_proto.schema import Message, Output, Schema
from microvm_proto.types import ByteList, Bytes, Enum, EnumValue, Field, Integer, Tail


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Write the codec, which is one module."""
    source = schema.source
    parts = [
        _docstring(
            0,
            f"The wire protocol of {schema.name}, version {schema.version}: a codec without I/O.",
            [f"Generated from {source} by `microvm-proto gen`. {schema.doc}"],
        )
        + "\n"
        + _imports(schema)
        + _constants(schema)
        + constants.declare(schema),
        _fault_enum(),
        *(_enum(enum) for enum in schema.enums),
        runtime.ERRORS,
        runtime.MESSAGE,
        *(_message(message) for message in schema.messages),
        _union(schema),
        fast.tables(schema),
        fast.HELPERS,
        *(fast.decode(message) for message in schema.messages),
        fallback.HELPERS,
        *fallback.later_values(schema),
        *([fallback.layouts(schema)] if schema.messages else []),
        _rules(schema),
        runtime.DECODER,
    ]
    return {output.path.name: "\n\n\n".join(part.strip("\n") for part in parts) + "\n"}


def _docstring(indent: int, text: str, paragraphs: Iterable[str] = ()) -> str:
    margin = " " * indent
    summary, _, rest = text.replace("\n", " ").partition(". ")
    blocks = [f"{summary.rstrip('.')}.", *([rest] if rest else []), *paragraphs]
    blocks = [block.replace('"""', "'''") for block in blocks]
    lines = [
        line
        for number, block in enumerate(blocks)
        for line in ([""] if number else []) + _wrapped(block, indent, 3 if number == 0 else 0)
    ]
    quote = 'r"""' if any("\\" in line for line in lines) else '"""'
    if len(lines) == 1:
        return f'{margin}{quote}{lines[0]}"""'
    body = "\n".join(f"{margin}{line}".rstrip() for line in lines[1:])
    return f'{margin}{quote}{lines[0]}\n{body}\n{margin}"""'


def _wrapped(block: str, indent: int, quotes: int) -> list[str]:
    # A field's lines hang under its name; the first line has quotes on both of its sides.
    hanging = "    " if block.startswith(":ivar") else ""
    return [
        line
        for paragraph in block.split("\n:ivar ")
        for line in textwrap.wrap(
            paragraph if paragraph.startswith(":ivar") or not hanging else f":ivar {paragraph}",
            WIDTH - indent - 2 * quotes,
            subsequent_indent=hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def _imports(schema: Schema) -> str:
    versioned = any(len(message.versions) > 1 for message in schema.messages)
    later = any(m.is_later(field) for m in schema.messages for field in m.visible)
    return f"""
from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Callable, Mapping
from dataclasses import {"KW_ONLY, " if later else ""}dataclass
from functools import {"partial, " if versioned else ""}update_wrapper
from typing import Any, {"ClassVar, " if schema.messages else ""}Generic, {
        "" if schema.messages else "Never, "
    }TypeAlias, TypeVar
"""


def _constants(schema: Schema) -> str:
    *older, newest = schema.versions
    digests = [f"{version}: 0x{wire_digest(schema.at(version)):016X}" for version in older]
    digests.append(f"{newest}: DIGEST")
    lines = "".join(f"    {digest},\n" for digest in digests)
    return f"""
VERSION = {schema.version}
DIGEST = 0x{wire_digest(schema):016X}
DIGESTS: Mapping[int, int] = {f"{{{chr(10)}{lines}}}" if older else f"{{{digests[0]}}}"}
HEADER_SIZE = 12
MAX_BODY = {schema.max_body}
END_NAMES = ("{schema.ends[0]}", "{schema.ends[1]}")
"""


def _fault_enum() -> str:
    values = [EnumValue(fault.name, fault.number, fault.doc, 1) for fault in FAULTS]
    return _enum_class("Fault", "The faults of a malformed frame.", values)


def _enum(enum: Enum) -> str:
    return _enum_class(camel(enum.name), enum.doc, enum.values)


def _enum_class(name: str, doc: str, values: Iterable[EnumValue]) -> str:
    lines = [f"class {name}(enum.IntEnum):", _docstring(4, doc or f"{name}."), ""]
    for value in values:
        lines.append(f"    {value.name.upper()} = {value.number}")
        if value.doc:
            lines.append(_docstring(4, value.doc))
    return "\n".join(lines)


def _annotation(field: Field) -> str:
    match field.type:
        case Integer():
            return "int"
        case Enum(name=name, closed=closed):
            return camel(name) if closed else f"{camel(name)} | int"
        case Bytes():
            return "bytes"
        case ByteList():
            return "tuple[bytes, ...]"
        case Tail():
            return "bytes | memoryview"
        case _:
            raise NotImplementedError


def _bounds(field: Field) -> str:
    nul = ", without NUL"
    match field.type:
        case Bytes(maximum=maximum, nul=allowed):
            return f" At most {maximum} bytes{'' if allowed else nul}."
        case ByteList(max_items=items, max_item=item, max_total=total, nul=allowed):
            return (
                f" At most {items} items of at most {item} bytes{'' if allowed else nul}; "
                f"at most {total} bytes in all, 4 more for each item included."
            )
        case Tail(maximum=maximum):
            return f" At most {maximum} bytes."
    return ""


def _about(field: Field) -> str:
    return f":ivar {field.name}:{f' {field.doc}' if field.doc else ''}{_bounds(field)}"


def _message(message: Message) -> str:
    first = [field for field in message.visible if not message.is_later(field)]
    later = [field for field in message.visible if message.is_later(field)]
    has_id = message.id != "none"
    docs = [":ivar id: What it is about."] if has_id else []
    docs += [_about(field) for field in first]
    docs += [f"{_about(field)} Since version {field.since}." for field in later]
    lines = [
        *(["@_with_fast_init"] if message.visible else []),
        "@dataclass(frozen=True, slots=True)",
        f"class {camel(message.name)}:",
        _docstring(4, message.doc or f"{message.name}.", ["\n".join(docs)] if docs else []),
        "",
        f"    TYPE: ClassVar[int] = {message.number}",
        f"    MAX_BODY: ClassVar[int] = {message.max_body}",
        "",
    ]
    lines += ["    id: int"] if has_id else []
    lines += [f"    {field.name}: {_annotation(field)}" for field in first]
    # So that a message that grows breaks no code that makes it.
    lines += ["    _: KW_ONLY"] if later else []
    lines += [f"    {field.name}: {_annotation(field)} = {default(field)}" for field in later]
    lines += [""] if has_id or first or later else []
    lines += [f"    {line}" if line else "" for line in fast.encode(message)]
    return "\n".join(lines)


def _union(schema: Schema) -> str:
    names = [camel(message.name) for message in schema.messages] or ["Never"]
    line = f"Message: TypeAlias = {' | '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "Message: TypeAlias = (\n    " + "\n    | ".join(names) + "\n)"


def _rules(schema: Schema) -> str:
    lines = [
        f"    _Rule({message.number}, {version}, {_decoder(message, version)}, "
        f"{_senders(message)}, {ids(message)}, {message.at(version).max_body}),"
        for message in schema.messages
        for version in message.versions
    ]
    match lines:
        case []:
            lines = ["_RULES: tuple[_Rule, ...] = ()"]
        case [only]:
            lines = [f"_RULES = ({only.strip()})"]
        case _:
            lines = ["_RULES = (", *lines, ")"]
    return runtime.RULE.strip("\n") + "\n\n\n" + "\n".join(lines)


def _senders(message: Message) -> str:
    return "END_NAMES" if message.sender == "both" else f'("{message.sender}",)'


def _decoder(message: Message, version: int) -> str:
    if version == message.versions[-1]:
        return f"_decode_{message.name}"
    return f"partial({layout(message)}.read, version={version})"
