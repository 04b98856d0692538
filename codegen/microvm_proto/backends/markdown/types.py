"""Generate the sections of a specification on types: their encoding; enums, flags and structs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from microvm_proto import types
from microvm_proto.schema import Schema


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown. Line breaks in its cells become spaces."""
    lines = [list(head), *([_cell(text) for text in row] for row in rows)]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], f"|{'---|' * len(lines[0])}", *text[1:]])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def section(schema: Schema) -> str:
    """Generate the section on the encoding of types, without types that the schema does not use."""
    used = {
        type(kind)
        for message in schema.messages
        for field in message.fields
        for kind in types.within(field.type)
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

_ON_THE_WIRE: list[tuple[type[types.Type] | None, str, str]] = [
    (None, "`u8` `u16` `u32` `u64`, `i8` … `i64`", "the integer; signed ones in two's complement"),
    (
        types.Float,
        "`f32` `f64`",
        "the bits of the number by IEEE 754; a finite number is neither NaN nor infinite",
    ),
    (types.Bool, "`bool`", "a byte that is 0 or 1"),
    (None, "an enum", "its integer"),
    (types.Flags, "flags", "their integer; bit 0 is the lowest bit"),
    (types.Struct, "a struct", "its fields, one after the other, without padding"),
    (types.Array, "an array", "its elements, one after the other, without a count"),
    (None, "`bytes`", "{prefix} length, then that many bytes"),
    (
        types.Text,
        "`text`",
        "as `bytes`, in UTF-8: shortest encodings only, no surrogates, nothing above U+10FFFF",
    ),
    (
        None,
        "`list<bytes>`",
        '{prefix} count, then each item as `bytes`; sizes "in all" include the length of each item',
    ),
    (types.List, "another list", "{prefix} count, then that many values"),
    (None, "`tail`", "the rest of the body, without a length"),
]


def type_of(field: types.Field) -> str:
    """Describe the type of a field, the restrictions on its values, and the unit of its numbers."""
    return ", ".join([*_rules(field.type, field.equals), *_measure(field)])


def _rules(kind: types.Type, equals: int | None = None) -> Iterator[str]:
    match kind:
        case types.Integer(name=name):
            yield f"`{name}`"
            yield from [] if equals is None else [f"always {equals:#x}"]
        case types.Float(name=name, finite=finite):
            yield f"`{name}`"
            yield from ["finite"] if finite else []
        case types.Bool(name=name):
            yield f"`{name}`"
        case types.Enumerated(name=name, base=base):
            yield f"`{base.name}`, [`{name}`](#{name})"
        case types.Struct(name=name):
            yield f"[`{name}`](#{name})"
        case types.Array(element=element, count=count):
            yield f"array of {count}: {', '.join(_rules(element))}"
        case (
            types.Bytes(maximum=maximum) | types.Tail(maximum=maximum) | types.Text(maximum=maximum)
        ):
            yield f"`{kind.name}`, at most {maximum}" + (
                " bytes" if isinstance(kind, types.Text) else ""
            )
        case types.ByteList(max_items=items, max_item=item, max_total=total):
            yield f"`list<bytes>`, at most {items} items, {item} each, {total} in all"
        case types.List(element=element, max_items=items):
            yield f"list of at most {items}: {', '.join(_rules(element))}"
    if isinstance(kind, types.Bytes | types.Text | types.ByteList) and not kind.nul:
        yield "no NUL"


def _measure(field: types.Field) -> Iterator[str]:
    """Yield texts about a field's numbers: the scale, the unit, and the number for "no value"."""
    if field.scale:
        yield f"times {field.scale:g} {field.unit}".rstrip()
    elif field.unit:
        yield f"in {field.unit}"
    if field.absent is not None:
        yield f"{field.absent} means none"


def since(field: types.Field) -> str:
    """Return a sentence about the version that added a field, and its value in older versions."""
    if field.equals is not None:
        return f" Since version {field.since}."
    return f" Since version {field.since}; in older versions, {_default(field)}."


def _default(field: types.Field) -> str:
    match field.type:
        case types.Enum(members=values):
            names = [f"`{value.name}`" for value in values if value.number == field.default]
            return names[0] if names else str(field.default)
        case types.Flags(members=bits):
            names = [f"`{bit.name}`" for bit in bits if field.default & bit.mask]
            return " and ".join(names) or "0"
        case types.Float() as kind:
            return f"{kind.number(field.default):g}"
        case types.Struct() | types.Array():
            return "all zero bytes"
        case types.Integer() if field.absent == field.default:
            return "none"
    return str(field.default) if field.fixed else "empty"


def declarations(schema: Schema) -> Iterator[str]:
    """Yield the section on enums, and those on flags and structs if the schema declares any."""
    yield from ["## Enums", *map(_declared, schema.enums)]
    yield from ["## Flags", *map(_declared, schema.flags)] if schema.flags else []
    yield from ["## Structs"] if schema.structs else []
    for each in schema.structs:
        rows = [(str(f.offset), f"`{f.name}`", type_of(f), f.doc) for f in each.fields]
        head = ("offset", "field", "type", "meaning")
        yield (
            f"### {each.name}\n\n{each.size} bytes. {each.doc}".rstrip()
            + f"\n\n{table(head, rows)}"
        )


def _declared(kind: types.Enumerated) -> str:
    what = kind.KEYS[1]
    rule = f"closed: other {what}s are invalid" if kind.closed else f"open: expect other {what}s"
    rows = [
        (str(m.number), f"`{m.name}`", m.doc + (f" Since version {m.since}." * (m.since > 1)))
        for m in kind.members
    ]
    text = f"### {kind.name}\n\n`{kind.base.name}`, {rule}. {kind.doc}"
    return f"{text}\n\n{table((what, 'name', 'meaning'), rows)}"
