"""Generate the sections of a specification on types: their encoding; enums, flags and structs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from microvm_proto.schema import Schema
from microvm_proto.types import (
    Array,
    Bool,
    ByteList,
    Bytes,
    Enum,
    Field,
    Flags,
    Float,
    Integer,
    List,
    Struct,
    Tail,
    Text,
    Type,
    within,
)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown. Line breaks in its cells become spaces."""
    lines = [list(head), *([_cell(text) for text in row] for row in rows)]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], f"|{'---|' * len(lines[0])}", *text[1:]])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def section(schema: Schema) -> str:
    """Generate the section of the specification that describes how types are encoded.

    The section omits some types if the schema does not use them.
    """
    used = {
        type(kind)
        for message in schema.messages
        for field in message.fields
        for kind in within(field.type)
    }
    prefix = f"`{schema.prefix.name}`"
    rows = [
        (names, text.format(prefix=prefix))
        for kind, names, text in _ON_THE_WIRE
        if kind is None or kind in used
    ]
    return f"{_TYPES}\n\n{table(('type', 'on the wire'), rows)}"


_TYPES = """## Types

The fields of a body follow each other without padding."""

_ON_THE_WIRE: list[tuple[type[Type] | None, str, str]] = [
    (None, "`u8` `u16` `u32` `u64`, `i8` … `i64`", "the integer; signed ones in two's complement"),
    (
        Float,
        "`f32` `f64`",
        "the bits of the number by IEEE 754; a finite number is neither NaN nor infinite",
    ),
    (Bool, "`bool`", "a byte that is 0 or 1"),
    (None, "an enum", "its integer"),
    (Flags, "flags", "their integer; bit 0 is the lowest bit"),
    (Struct, "a struct", "its fields, one after the other, without padding"),
    (Array, "an array", "its elements, one after the other, without a count"),
    (None, "`bytes`", "{prefix} length, then that many bytes"),
    (
        Text,
        "`text`",
        "as `bytes`, in UTF-8: shortest encodings only, no surrogates, nothing above U+10FFFF",
    ),
    (
        None,
        "`list<bytes>`",
        '{prefix} count, then each item as `bytes`; sizes "in all" include the length of each item',
    ),
    (List, "another list", "{prefix} count, then that many values"),
    (None, "`tail`", "the rest of the body, without a length"),
]


def type_of(field: Field) -> str:
    """Describe the type of a field, the restrictions on its values, and the unit of its numbers."""
    return ", ".join([*_rules(field.type, field.equals), *_measure(field)])


def _rules(kind: Type, equals: int | None = None) -> Iterator[str]:
    match kind:
        case Integer(name=name):
            yield f"`{name}`"
            yield from [] if equals is None else [f"always {equals:#x}"]
        case Float(name=name, finite=finite):
            yield f"`{name}`"
            yield from ["finite"] if finite else []
        case Bool(name=name):
            yield f"`{name}`"
        case Enum(name=name, base=base) | Flags(name=name, base=base):
            yield f"`{base.name}`, [`{name}`](#{name})"
        case Struct(name=name):
            yield f"[`{name}`](#{name})"
        case Array(element=element, count=count):
            yield f"array of {count}: {', '.join(_rules(element))}"
        case Bytes(maximum=maximum) | Tail(maximum=maximum) | Text(maximum=maximum):
            what = type(kind).__name__.lower()
            yield f"`{what}`, at most {maximum}" + (" bytes" if isinstance(kind, Text) else "")
        case ByteList(max_items=items, max_item=item, max_total=total):
            yield f"`list<bytes>`, at most {items} items, {item} each, {total} in all"
        case List(element=element, max_items=items):
            yield f"list of at most {items}: {', '.join(_rules(element))}"
    if isinstance(kind, Bytes | Text | ByteList) and not kind.nul:
        yield "no NUL"


def _measure(field: Field) -> Iterator[str]:
    """Yield texts about a field's numbers: the scale, the unit, and the number for "no value"."""
    if field.scale:
        yield f"times {field.scale:g} {field.unit}".rstrip()
    elif field.unit:
        yield f"in {field.unit}"
    if field.absent is not None:
        yield f"{field.absent} means none"


def since(field: Field) -> str:
    """Return a sentence about the version that added a field, and its value in older versions."""
    if field.equals is not None:
        return f" Since version {field.since}."
    return f" Since version {field.since}; in older versions, {_default(field)}."


def _default(field: Field) -> str:
    match field.type:
        case Enum(values=values):
            names = [f"`{value.name}`" for value in values if value.number == field.default]
            return names[0] if names else str(field.default)
        case Flags(bits=bits):
            names = [f"`{bit.name}`" for bit in bits if field.default & bit.mask]
            return " and ".join(names) or "0"
        case Float() as kind:
            return f"{kind.number(field.default):g}"
        case Struct() | Array():
            return "all zero bytes"
        case Integer() if field.absent == field.default:
            return "none"
    return str(field.default) if field.fixed else "empty"


def declarations(schema: Schema) -> Iterator[str]:
    """Yield the section on enums, and those on flags and structs if the schema declares any."""
    yield "## Enums"
    for enum in schema.enums:
        kind = "closed: other values are invalid" if enum.closed else "open: expect other values"
        yield _declared(
            enum, kind, "value", [(v.number, v.name, v.doc, v.since) for v in enum.values]
        )
    yield from ["## Flags"] if schema.flags else []
    for flags in schema.flags:
        kind = "closed: other bits are invalid" if flags.closed else "open: expect other bits"
        yield _declared(flags, kind, "bit", [(b.bit, b.name, b.doc, b.since) for b in flags.bits])
    yield from ["## Structs"] if schema.structs else []
    for each in schema.structs:
        rows = [(str(f.offset), f"`{f.name}`", type_of(f), f.doc) for f in each.fields]
        head = ("offset", "field", "type", "meaning")
        yield (
            f"### {each.name}\n\n{each.size} bytes. {each.doc}".rstrip()
            + f"\n\n{table(head, rows)}"
        )


def _declared(
    named: Enum | Flags, kind: str, what: str, values: Iterable[tuple[int, str, str, int]]
) -> str:
    rows = [
        (str(number), f"`{name}`", doc + (f" Since version {version}." if version > 1 else ""))
        for number, name, doc, version in values
    ]
    text = f"### {named.name}\n\n`{named.base.name}`, {kind}. {named.doc}"
    return f"{text}\n\n{table((what, 'name', 'meaning'), rows)}"
