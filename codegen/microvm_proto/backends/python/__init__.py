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
        runtime.MESSAGE,
        *(_message(message) for message in schema.messages),
        _union(schema),
        _tables(schema) + runtime.FAST,
        *(_decode(message) for message in schema.messages),
        runtime.PRECISE,
        *_later_values(schema),
        *([_layouts(schema)] if schema.messages else []),
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
        *(["@_quickly_made"] if _visible(message) else []),
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
        f"    {line}" if line else ""
        for line in (_encode_with_tail(message) if message.has_tail else _encode(message))
    ]
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


def _runs(message: Message) -> Iterator[tuple[bool, list[Field]]]:
    """The fields in runs: of fixed length, packed at once, or alone."""
    for fixed, group in itertools.groupby(message.fields, lambda field: field.fixed):
        run = list(group)
        yield from [(True, run)] if fixed else [(False, [field]) for field in run]


def _letter(integer: Integer) -> str:
    """How `struct` calls it."""
    letter = "BHIQ"[(1, 2, 4, 8).index(integer.size)]
    return letter.lower() if integer.signed else letter


def _format(fields: Iterable[Field]) -> str:
    kinds = (field.type for field in fields)
    bases = (kind.base if isinstance(kind, Enum) else kind for kind in kinds)
    letters = (_letter(base) for base in bases if isinstance(base, Integer))
    runs = ("".join(run) for _, run in itertools.groupby(letters))
    return "".join(run if len(run) < 3 else f"{len(run)}{run[0]}" for run in runs)


def _encode(message: Message) -> Iterator[str]:
    yield "def encode(self, version: int = VERSION) -> bytes:"
    yield '    """Write the whole frame, as the version that both sides agreed on has it."""'
    yield from _fast_encode(message, 'b"".join({})')


def _encode_with_tail(message: Message) -> Iterator[str]:
    yield "def encode(self, version: int = VERSION) -> bytes:"
    yield '    """Write the whole frame, as the version that both sides agreed on has it."""'
    yield '    return b"".join(self.encode_parts(version))'
    yield ""
    yield "def encode_parts(self, version: int = VERSION) -> tuple[bytes, bytes | memoryview]:"
    tail = message.fields[-1].name
    yield f'    """Write the frame as two parts, of which the second is `{tail}` itself."""'
    yield from _fast_encode(message, "{}")


def _fast_encode(message: Message, whole: str) -> Iterator[str]:
    precise = whole.format(f"{_layout(message)}.write(self, version)")
    if message.versions[-1] > 1:
        yield f"    if version < {message.versions[-1]}:"
        yield f"        return {precise}"
    yield "    try:"
    yield from (f"        {line}" for line in _encode_newest(message))
    yield "    except _UNSURE:"
    yield f"        return {precise}"


def _encode_newest(message: Message) -> Iterator[str]:
    runs = list(_runs(message))
    tail = ""
    if message.has_tail:
        (field,) = runs.pop()[1]
        yield f"tail = _put_tail(self.{field.name}, {field.max_size})"
        tail = ", tail"
    identifier = {"none": "0", "required": "self.id or None", "any": "self.id"}[message.id]
    if all(fixed for fixed, _ in runs):
        fields = [field for _, run in runs for field in run]
        size = sum(field.max_size for field in fields)
        length = " + ".join([str(size)] * bool(size or not tail) + ["len(tail)"] * bool(tail))
        arguments = [length, str(message.number), "0", identifier, *map(_packed, fields)]
        head = f"_IHHI{_format(fields)}.pack" if fields else "_HEADER.pack"
        if tail:
            yield from _call(f"head = {head}", arguments, 12)
            yield "return head, tail"
        else:
            yield from _call(f"return {head}", arguments, 12)
        return
    parts = [
        _call(f"_{_format(run)}.pack", list(map(_packed, run)), 17) if fixed else [_put(run[0])]
        for fixed, run in runs
    ]
    if len(parts) == 1:
        yield f"body = {parts[0][0]}"
    else:
        yield "parts = ("
        for *lines, end in parts:
            yield from (f"    {line}" for line in (*lines, f"{end},"))
        yield ")"
        yield 'body = b"".join(parts)'
    length = "len(body) + len(tail)" if tail else "len(body)"
    yield f"return _HEADER.pack({length}, {message.number}, 0, {identifier}) + body{tail}"


def _packed(field: Field) -> str:
    if field.equals is not None:
        return _literal(field.equals)
    match field.type:
        case Enum(name=name, closed=True):
            return f"{_by_number(name)}[self.{field.name}]"
    return f"self.{field.name}"


def _by_number(enum: str) -> str:
    return f"_AS_{enum.upper()}"


def _layout(message: Message) -> str:
    return f"_LAYOUT_{message.name.upper()}"


def _put(field: Field) -> str:
    match field.type:
        case Bytes(maximum=maximum, nul=nul):
            return f"_put(self.{field.name}, {maximum}, {nul})"
        case ByteList(nul=nul):
            return f"_put_list(self.{field.name}, {_sure(field.type)}, {nul})"
    raise AssertionError(field)


def _sure(kind: ByteList) -> int:
    """How many bytes a list may take, its count included, so that it can break no bound.

    Nor is it so long that it matters that it is copied to be looked at as a whole.
    """
    items = min(kind.max_item + 4, kind.max_total, 4 * kind.max_items + 3, 1 << 16)
    return 4 + items


def _tables(schema: Schema) -> str:
    """The layouts of runs, called as `struct` writes them; the enums by number."""
    formats = {"I"}
    for message in schema.messages:
        formats |= {_format([field]) for field in message.fields if field.fixed}
        runs = list(_runs(message))
        formats |= {_format(fields) for fixed, fields in runs if fixed}
        fixed_fields = [field for fixed, fields in runs for field in fields if fixed]
        if fixed_fields and len(fixed_fields) + message.has_tail == len(message.fields):
            formats.add(f"IHHI{_format(fixed_fields)}")
    lines = ['_HEADER = struct.Struct("<IHHI")']
    lines += [
        f'_{name} = struct.Struct("<{name}")'
        for name in sorted(formats, key=lambda name: (len(name), name))
    ]
    used = {f.type.name for m in schema.messages for f in m.fields if isinstance(f.type, Enum)}
    names = [enum.name for enum in schema.enums if enum.name in used]
    lines += [
        f"{_by_number(name)} = {{int(value): value for value in {camel(name)}}}" for name in names
    ]
    return "\n".join(lines) + "\n\n"


def _later_values(schema: Schema) -> Iterator[str]:
    """For each closed enum that grew, which of its values came later."""
    fields = [field for message in schema.messages for field in message.fields]
    grown = {f.type.name: f.type for f in fields if isinstance(f.type, Enum) and f.growth}
    for name, enum in grown.items():
        later = {value.number: value.since for value in enum.values if value.since > 1}
        lines = [f"    {number}: {since}," for number, since in later.items()]
        head = f"_SINCE_{name.upper()}: Mapping[int, int] = {{"
        yield "\n".join([head, *lines, "}"])


def _layouts(schema: Schema) -> str:
    return "\n".join("\n".join(_layout_of(message)) for message in schema.messages)


def _layout_of(message: Message) -> Iterator[str]:
    arguments = [camel(message.name), f'"{message.name}"', _ids(message)]
    arguments += [_field(message, field) for field in message.fields]
    arguments += [f"since={message.since}"] if message.since > 1 else []
    head = f"{_layout(message)} = _Layout"
    yield from _call(head, arguments, 0, one_a_line=bool(message.fields))


def _ids(message: Message) -> str:
    return {"none": "_NO_ID", "required": "_SOME_ID", "any": "_ANY_ID"}[message.id]


def _field(message: Message, field: Field) -> str:
    arguments = [str(field.number), f'"{field.name}"']
    match field.type:
        case Integer() as integer:
            kind = "_Integer" if field.equals is None else "_Constant"
            arguments.append(f"_{_letter(integer)}")
        case Enum(name=name, base=base, closed=closed):
            kind = "_Closed" if closed else "_Open"
            arguments += [f"_{_letter(base)}", camel(name)]
            arguments += [f"sinces=_SINCE_{name.upper()}"] if field.growth else []
        case Bytes(maximum=maximum, nul=nul):
            kind = "_Bytes"
            arguments += [str(maximum), f"nul={nul}"]
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            kind = "_List"
            arguments += [str(item), f"items={items}", f"total={total}", f"nul={nul}"]
        case Tail(maximum=maximum):
            kind = "_Tail"
            arguments.append(str(maximum))
    arguments += [f"since={field.since}"] if message.is_later(field) else []
    if field.equals is not None:
        arguments.append(f"default={_literal(field.equals)}")
    elif message.is_later(field):
        arguments.append(f"default={_default(field)}")
    return f"{kind}({', '.join(arguments)})"


def _literal(number: int) -> str:
    return f"0x{number:X}" if number > 9 else str(number)


def _union(schema: Schema) -> str:
    names = [camel(message.name) for message in schema.messages] or ["Never"]
    line = f"Message: TypeAlias = {' | '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "Message: TypeAlias = (\n    " + "\n    | ".join(names) + "\n)"


def _decode(message: Message) -> str:
    parameters = "id_: int, frame: bytes, start: int, end: int"
    head = f"def _decode_{message.name}({parameters}) -> {camel(message.name)}:"
    has_id = message.id != "none"
    first = [_decoded(f) for f in _visible(message) if not message.is_later(f)]
    later = [f"{f.name}={_decoded(f)}" for f in _visible(message) if message.is_later(f)]
    arguments = [*(["id_"] if has_id else []), *first, *later]
    make = f"{_layout(message)}.make" if message.fields else camel(message.name)
    made = _call(f"return {make}", arguments, 8 if message.fields else 4)
    if not message.fields:
        unused = ", ".join([*(["id_"] if not has_id else []), "frame", "start", "end"])
        return "\n".join([head, f"    del {unused}", *(f"    {line}" for line in made)])
    lines = [head, "    try:", *(f"        {line}" for line in [*_decode_newest(message), *made])]
    precise = f"{_layout(message)}.read(id_, frame, start, end)"
    return "\n".join([*lines, "    except _UNSURE:", f"        return {precise}"])


def _decode_newest(message: Message) -> Iterator[str]:
    at = "start"
    for fixed, fields in _runs(message):
        field, is_last = fields[0], message.fields[-1] in fields
        match field.type:
            case Integer(name="u8") | Enum(base=Integer(name="u8")) if not (fields[1:] or is_last):
                yield f"{_local(field)} = frame[{at}]"
                at = f"{at} + 1"
            case _ if fixed:
                unpack = f"unpack(frame[{at}:end])" if is_last else f"unpack_from(frame, {at})"
                yield from _unpack(list(map(_local, fields)), f"_{_format(fields)}.{unpack}")
                at = f"{at} + {sum(field.max_size for field in fields)}"
            case Bytes(maximum=maximum, nul=nul):
                yield f"{_local(field)}, at = _take(frame, {at}, {maximum}, {nul})"
                at = "at"
            case ByteList(nul=nul) as kind:
                yield f"{_local(field)}, at = _take_list(frame, {at}, {_sure(kind)}, {nul})"
                at = "at"
            case Tail(maximum=maximum):
                # The header's length has its bound already, but what comes before may vary.
                if at != "start":
                    wrong = f"end < {at}" + (f" or end > {at} + {maximum}" * ("start" not in at))
                    yield from _unsure_if(wrong)
                rest = f"{at} : end" if " " in at else f"{at}:end"
                yield f"{_local(field)} = memoryview(frame)[{rest}]"
    for field in message.fields:
        if field.equals is not None:
            yield from _unsure_if(f"{_local(field)} != {_literal(field.equals)}")
    if not message.has_tail and not message.fields[-1].fixed:
        yield from _unsure_if("at != end")


def _unsure_if(condition: str) -> Iterator[str]:
    yield f"if {condition}:"
    yield "    raise _Unsure"


def _unpack(names: list[str], value: str) -> list[str]:
    """An assignment to several, as a formatter lays it out."""
    joined = f"({names[0]},)" if len(names) == 1 else ", ".join(names)
    if 8 + len(joined) + 3 + len(value) <= WIDTH:
        return [f"{joined} = {value}"]
    if 8 + len(joined) + 4 <= WIDTH:
        return [f"{joined} = (", f"    {value}", ")"]
    return ["(", *(f"    {name}," for name in names), f") = {value}"]


def _decoded(field: Field) -> str:
    name = _local(field)
    match field.type:
        case Enum(name=enum, closed=True):
            return f"{_by_number(enum)}[{name}]"
        case Enum(name=enum):
            return f"{_by_number(enum)}.get({name}, {name})"
    return name


def _local(field: Field) -> str:
    """The field's variable, out of the way of those that every decoder has."""
    return f"{field.name}_" if field.name in ("at", "end", "frame", "start") else field.name


def _call(head: str, arguments: list[str], margin: int, *, one_a_line: bool = False) -> list[str]:
    """A call as a formatter lays it out: in one line, or its arguments in one, or one a line."""
    joined = ", ".join(arguments)
    if not one_a_line and margin + len(head) + len(joined) + 2 <= WIDTH:
        return [f"{head}({joined})"]
    if not one_a_line and margin + len(joined) + 4 <= WIDTH:
        return [f"{head}(", f"    {joined}", ")"]
    return [f"{head}(", *(f"    {argument}," for argument in arguments), ")"]


def _rules(schema: Schema) -> str:
    lines = [
        f"    _Rule({message.number}, {version}, {_decoder(message, version)}, "
        f"{_senders(message)}, {_ids(message)}, {message.at(version).max_body}),"
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
    return f"partial({_layout(message)}.read, version={version})"
