"""Python: a codec without I/O, in one module that imports only the standard library."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Iterator

from microvm_proto.backends.python import runtime
from microvm_proto.digest import wire_digest
from microvm_proto.faults import FAULTS
from microvm_proto.schema import (
    ByteList,
    Bytes,
    Enum,
    EnumValue,
    Field,
    Integer,
    Message,
    Schema,
    Tail,
)

WIDTH = 100


def emit(schema: Schema, file: str) -> dict[str, str]:
    """The codec's one module."""
    source = schema.path.name
    parts = [
        _docstring(
            0,
            f"The wire protocol of {schema.name}, version {schema.version}: a codec without I/O.",
            [f"Generated from {source} by `microvm-proto gen`. {schema.doc}"],
        )
        + "\n"
        + _imports(schema)
        + _constants(schema),
        _fault_enum(),
        *(_enum(enum) for enum in schema.enums),
        runtime.ERRORS,
        *(_message(message) for message in schema.messages),
        _union(schema),
        runtime.HELPERS,
        *_version_helpers(schema),
        *(_decode(message) for message in schema.messages),
        _rules(schema),
        runtime.DECODER,
    ]
    return {file: "\n\n\n".join(part.strip("\n") for part in parts) + "\n"}


def camel(name: str) -> str:
    """`exec_request` as `ExecRequest`."""
    return "".join(word.capitalize() for word in name.split("_"))


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
    later = any(m.is_later(field) for m in schema.messages for field in _visible(m))
    return f"""
from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import {"KW_ONLY, " if later else ""}dataclass
{"from functools import partial" + chr(10) if versioned else ""}from typing import {
        "ClassVar" if schema.messages else "Never"
    }, TypeAlias, TypeVar
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
    return _enum_class("Fault", "How a frame is malformed.", values)


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


def _visible(message: Message) -> list[Field]:
    return [field for field in message.fields if field.equals is None]


def _message(message: Message) -> str:
    first = [field for field in _visible(message) if not message.is_later(field)]
    later = [field for field in _visible(message) if message.is_later(field)]
    has_id = message.id != "none"
    docs = [":ivar id: What it is about."] if has_id else []
    docs += [_about(field) for field in first]
    docs += [f"{_about(field)} Since version {field.since}." for field in later]
    lines = [
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
    lines += [f"    {field.name}: {_annotation(field)} = {_default(field)}" for field in later]
    lines += [""] if has_id or first or later else []
    lines += [
        "    def encode(self, version: int = VERSION) -> bytes:",
        '        """Write the whole frame, as the version that both sides agreed on has it."""',
    ]
    lines += [f"        {line}" for line in _encode_body(message)]
    return "\n".join(lines)


def _default(field: Field) -> str:
    match field.type:
        case Integer():
            return str(field.default)
        case Enum(name=name, values=values):
            named = [value.name for value in values if value.number == field.default]
            return f"{camel(name)}.{named[0].upper()}" if named else str(field.default)
        case ByteList():
            return "()"
        case Bytes() | Tail():
            return 'b""'


def _encode_body(message: Message) -> Iterator[str]:
    identifier = {"none": "0", "required": "_out_id(self.id, 1)", "any": "_out_id(self.id, 0)"}[
        message.id
    ]
    if message.since > 1:
        reason = f'"{message.name} came with version {message.since}"'
        yield f"if version < {message.since}:"
        yield f'    raise EncodeError(Fault.UNKNOWN_TYPE, "type", {reason})'
    if any(message.is_later(field) for field in message.fields):
        yield from _encode_by_version(message)
        yield f"return _frame({message.number}, {identifier}, parts)"
        return
    yield from (_not_later(field) for field in message.fields if field.growth)
    parts = [_encode_field(field) for field in message.fields]
    if not parts:
        yield f"return _frame({message.number}, {identifier}, ())"
        return
    if len(parts) == 1:
        yield f"parts = ({parts[0]},)"
    else:
        yield "parts = ("
        yield from (f"    {part}," for part in parts)
        yield ")"
    yield f"return _frame({message.number}, {identifier}, parts)"


def _by_version(message: Message) -> Iterator[tuple[int, list[Field]]]:
    """The fields in runs that came together; 0 for those that were always there."""

    def key(field: Field) -> int:
        return field.since if message.is_later(field) else 0

    return ((since, list(run)) for since, run in itertools.groupby(message.fields, key))


def _encode_by_version(message: Message) -> Iterator[str]:
    yield "parts: list[bytes | memoryview] = []"
    for since, fields in _by_version(message):
        margin = "    " if since else ""
        if since:
            yield f"if version >= {since}:"
        for field in fields:
            if field.growth:
                yield f"{margin}{_not_later(field)}"
            yield f"{margin}parts.append({_encode_field(field)})"
        left_out = [field for field in fields if since and field.equals is None]
        if left_out:
            yield "else:"
        for field in left_out:
            arguments = f'self.{field.name}, {_default(field)}, "{field.name}", {since}'
            yield f"    _left_out({arguments})"


def _not_later(field: Field) -> str:
    assert isinstance(field.type, Enum)  # noqa: S101 - only enums grow
    since = f"_SINCE_{field.type.name.upper()}"
    return f'_not_later({since}, version, self.{field.name}, "{field.name}")'


def _encode_field(field: Field) -> str:
    name = f"self.{field.name}" if field.equals is None else _literal(field.equals)
    match field.type:
        case Integer(name=kind):
            return f'_out_int(_{kind.upper()}, {name}, "{field.name}")'
        case Enum(name=enum, base=base, closed=True):
            value = f'_closed({camel(enum)}, {name}, "{field.name}")'
            return f'_out_int(_{base.name.upper()}, {value}, "{field.name}")'
        case Enum(base=base):
            return f'_out_int(_{base.name.upper()}, {name}, "{field.name}")'
        case Bytes(maximum=maximum, nul=nul):
            return f'_out_bytes({name}, {maximum}, {nul}, "{field.name}")'
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            return f'_out_list({name}, ({items}, {item}, {total}), {nul}, "{field.name}")'
        case Tail(maximum=maximum):
            return f'_out_tail({name}, {maximum}, "{field.name}")'


def _version_helpers(schema: Schema) -> Iterator[str]:
    """What a codec needs beyond the rest when something in its schema came later."""
    pairs = [(message, field) for message in schema.messages for field in message.fields]
    if any(m.is_later(field) for m, field in pairs if field.equals is None):
        yield runtime.LATER_FIELD
    grown = {f.type.name: f.type for _, f in pairs if isinstance(f.type, Enum) and f.growth}
    if not grown:
        return
    yield runtime.LATER_VALUE
    for name, enum in grown.items():
        later = {value.number: value.since for value in enum.values if value.since > 1}
        lines = [f"    {number}: {since}," for number, since in later.items()]
        head = f"_SINCE_{name.upper()}: Mapping[int, int] = {{"
        yield "\n".join([head, *lines, "}"])


def _literal(number: int) -> str:
    return f"0x{number:X}" if number > 9 else str(number)


def _union(schema: Schema) -> str:
    names = [camel(message.name) for message in schema.messages] or ["Never"]
    line = f"Message: TypeAlias = {' | '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "Message: TypeAlias = (\n    " + "\n    | ".join(names) + "\n)"


def _decode(message: Message) -> str:
    parameters = ["version_: int"] if len(message.versions) > 1 else []
    parameters += ["id_: int", "body: memoryview"]
    head = f"def _decode_{message.name}({', '.join(parameters)}) -> {camel(message.name)}:"
    lines = [head, *(["    del id_"] if message.id == "none" else [])]
    at = "0"
    for since, fields in _by_version(message):
        margin = "        " if since else "    "
        lines += _begin_later(since, fields, at) if since else []
        for field in fields:
            lines += [f"{margin}{line}" for line in _decode_field(field, at)]
            at = "at"
        if since and isinstance(fields[-1].type, Tail):
            lines += ["    else:", "        _end(body, at)"]
    if not message.fields or not isinstance(message.fields[-1].type, Tail):
        lines.append(f"    _end(body, {at})")
    first = [_local(f) for f in _visible(message) if not message.is_later(f)]
    later = [f"{f.name}={_local(f)}" for f in _visible(message) if message.is_later(f)]
    arguments = [*(["id_"] if message.id != "none" else []), *first, *later]
    lines += _call(f"    return {camel(message.name)}", arguments)
    return "\n".join(lines)


def _begin_later(since: int, fields: Iterable[Field], at: str) -> Iterator[str]:
    """Fields that older versions do not have."""
    if at == "0":
        yield "    at = 0"
    for field in fields:
        if field.equals is None:
            yield f"    {_local(field)}: {_annotation(field)} = {_default(field)}"
    yield f"    if version_ >= {since}:"


def _call(head: str, arguments: list[str]) -> list[str]:
    """A call as a formatter lays it out: in one line, or its arguments in one, or one a line."""
    joined = ", ".join(arguments)
    if len(head) + len(joined) + 2 <= WIDTH:
        return [f"{head}({joined})"]
    if len(joined) + 8 <= WIDTH:
        return [f"{head}(", f"        {joined}", "    )"]
    return [f"{head}(", *(f"        {argument}," for argument in arguments), "    )"]


def _local(field: Field) -> str:
    """The field's variable, out of the way of those that every decoder has."""
    return f"{field.name}_" if field.name in ("at", "body", "constant", "number") else field.name


def _decode_field(field: Field, at: str) -> Iterator[str]:
    where = f'{field.number}, "{field.name}"'
    name = _local(field) if field.equals is None else "constant"
    match field.type:
        case Integer(name=kind):
            yield f"{name}, at = _in_int(_{kind.upper()}, body, {at}, {where})"
        case Enum(name=enum, base=base, closed=closed):
            yield f"number, at = _in_int(_{base.name.upper()}, body, {at}, {where})"
            if field.growth:
                since = f"_SINCE_{enum.upper()}, version_"
                yield f"_in_version({since}, number, at - {base.size}, {where})"
            if closed:
                yield f"{name} = _in_closed({camel(enum)}, number, at - {base.size}, {where})"
            else:
                yield f"{name} = _in_open({camel(enum)}, number)"
        case Bytes(maximum=maximum, nul=nul):
            yield f"{name}, at = _in_bytes(body, {at}, {maximum}, {nul}, {where})"
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            bounds = f"({items}, {item}, {total})"
            yield f"{name}, at = _in_list(body, {at}, {bounds}, {nul}, {where})"
        case Tail(maximum=maximum):
            yield f"{name} = _in_tail(body, {at}, {maximum}, {where})"
    if field.equals is not None:
        yield f"if constant != {_literal(field.equals)}:"
        yield f"    raise _fault(Fault.UNKNOWN_VALUE, at - {field.max_size}, {where})"


def _rules(schema: Schema) -> str:
    lines = [
        f"    _Rule({message.number}, {version}, {decode}, "
        f'"{message.sender}", "{message.id}", {message.at(version).max_body}),'
        for message in schema.messages
        for version in message.versions
        for decode in [_decoder(message, version)]
    ]
    match lines:
        case []:
            lines = ["_RULES: tuple[_Rule, ...] = ()"]
        case [only]:
            lines = [f"_RULES = ({only.strip()})"]
        case _:
            lines = ["_RULES = (", *lines, ")"]
    return runtime.RULE.strip("\n") + "\n\n\n" + "\n".join(lines)


def _decoder(message: Message, version: int) -> str:
    name = f"_decode_{message.name}"
    return f"partial({name}, {version})" if len(message.versions) > 1 else name
