"""Generate the Lua tables of a Wireshark dissector: how fields are shown, and valid values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from microvm_proto import types
from microvm_proto.frame import pack
from microvm_proto.framing import Framing
from microvm_proto.schema import Message, Schema

_Entry: TypeAlias = Mapping[str, str]
"""Keys of a Lua table, each with the Lua expression for its value."""


def table(entries: Iterable[tuple[str, str]]) -> str:
    """Return the entries of a Lua table as text, one on each line."""
    return "".join(f"  [{string(key)}] = {value},\n" for key, value in entries)


def names(numbers: Iterable[tuple[int, str]]) -> str:
    """Return a Lua table that maps numbers to names."""
    named = ", ".join(f"[{number}] = {string(name)}" for number, name in numbers)
    return f"{{ {named} }}" if named else "{}"


def string(text: str) -> str:
    """Return a Lua string literal on one line. Bytes that are not printable ASCII are escaped."""
    escaped = (
        f"\\{byte:03}" if chr(byte) in '"\\' or not 32 <= byte < 127 else chr(byte)
        for byte in " ".join(text.split()).encode()
    )
    return f'"{"".join(escaped)}"'


def proto_fields(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield a Lua `ProtoField` for each field of structs and messages, and each bit of flags."""
    for flags in schema.flags:
        for bit in flags.members:
            head = f'NAME .. ".{flags.name}.{bit.name}", "{bit.name}"'
            mask = f"{8 * flags.size}, nil, {_uint64(bit.mask)}, {string(bit.doc)}"
            yield f"{flags.name}.{bit.name}", f"ProtoField.bool({head}, {mask})"
    owners: list[types.Struct | Message] = [*schema.structs, *schema.messages]
    for owner in owners:
        for field in owner.fields:
            key = f"{owner.name}.{field.name}"
            yield key, _proto_field(f'NAME .. ".{key}", "{field.name}"', field)


def _proto_field(head: str, field: types.Field) -> str:
    kind = field.type
    if isinstance(kind, types.List) or (isinstance(kind, types.Array) and not kind.is_octets):
        kind = kind.element
    doc = string(field.doc)
    match kind:
        case types.Integer() | types.Enum():
            return f"{_integer(kind)}({head}, base.DEC, {_value_names(kind)}, nil, {doc})"
        case types.Flags(base=base):
            return f"{_integer(base)}({head}, base.HEX, nil, nil, {doc})"
        case types.Float(size=size):
            return f"ProtoField.{'float' if size == 4 else 'double'}({head}, {doc})"
        case types.Bool():
            return f"ProtoField.bool({head}, base.NONE, nil, nil, {doc})"
        case types.Struct():
            return f"ProtoField.none({head}, {doc})"
        case types.Text():
            return f"ProtoField.string({head}, base.UNICODE, {doc})"
    return f"ProtoField.bytes({head}, base.NONE, {doc})"


def _integer(kind: types.Integer | types.Enum) -> str:
    base = kind.base if isinstance(kind, types.Enum) else kind
    return f"ProtoField.{'' if base.signed else 'u'}int{8 * base.size}"


def _value_names(kind: types.Integer | types.Enum) -> str:
    # Wireshark supports names only for numbers of up to 32 bits, so larger values have no names.
    if isinstance(kind, types.Integer) or kind.base.size > 4:
        return "nil"
    return names((value.number, value.name) for value in kind.members)


def struct(kind: types.Struct) -> str:
    """Return the Lua table that lists the fields of a struct."""
    fields = (f"    {_entry(_field(kind, field))},\n" for field in kind.fields)
    return f"  {kind.name} = {{\n{''.join(fields)}  }},\n"


def message(message: Message) -> str:
    """Return a message's entry in the Lua table of all messages, with its number as the key."""
    head = (
        f'  [{message.number}] = {{ name = "{message.name}", sender = "{message.sender}", '
        f'id = "{message.id}", max_body = {message.max_body}, fields = {{'
    )
    fields = [
        f"    {_entry({'number': str(field.number), **_field(message, field)})},\n"
        for field in message.fields
    ]
    return f"{head}\n{''.join(fields)}  }} }},\n" if fields else f"{head}}} }},\n"


def header_fields(schema: Schema) -> str:
    """Return the Lua `ProtoField` entries for the header and the checksum of frames."""
    numbers = names((message.number, message.name) for message in schema.messages)
    more = {"type": f", base.DEC, {numbers}", "flags": ", base.HEX", "check": ", base.HEX"}
    sizes = {each.name: each.size for each in schema.framing.header}
    sizes |= {"check": schema.framing.check_size} if schema.framing.check_size else {}
    return "".join(
        f'  {name} = ProtoField.uint{8 * size}(NAME .. ".{name}", "{name}"{more.get(name, "")}),\n'
        for name, size in sizes.items()
    )


def header_shown(framing: Framing) -> str:
    """Return the Lua statements that show the header of a frame."""
    return "".join(
        f"  tree:add_le(fields.{each.name}, header({each.offset}, {each.size}))\n"
        for each in framing.header
    )


def _entry(keys: _Entry) -> str:
    return f"{{ {', '.join(f'{key} = {value}' for key, value in keys.items())} }}"


def _field(owner: Message | types.Struct, field: types.Field) -> _Entry:
    shown = {"field": f'"{owner.name}.{field.name}"'}
    if field.unit:
        shown["unit"] = string(field.unit)
    if field.scale:
        shown["scale"] = repr(field.scale)
    if field.absent is not None:
        shown["absent"] = string(pack(field.type, field.absent).hex())
    return _kind(field.type, shown, field.equals)


def _kind(kind: types.Type, display: _Entry, equals: int | None = None) -> _Entry:
    """Return the entries of a Lua table that say how to read, check and show (`display`) a value.

    :param display: Further entries, which say how the value, or each element of an array or list,
        is shown.
    :param equals: The only valid number if the field is a constant; otherwise None.
    """
    match kind:
        case types.Array(is_octets=False, element=element, count=count):
            each = _entry(_kind(element, display))
            return {"kind": '"array"', "count": str(count), "element": each}
        case types.List(element=element, max_items=items):
            each = _entry(_kind(element, display))
            return {"kind": '"list"', "max_items": str(items), "element": each}
        case types.ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            octets = _kind(types.Bytes(item, nul), display)
            bounds = {"max_items": str(items), "max_total": str(total)}
            return {"kind": '"list"', **bounds, "element": _entry(octets)}
        case types.Struct(name=name):
            return {**display, "kind": '"struct"', "struct": f'"{name}"', "size": str(kind.size)}
        case types.Array(size=size):
            return {**display, "kind": '"octets"', "size": str(size)}
        case types.Bytes(maximum=maximum, nul=nul) | types.Text(maximum=maximum, nul=nul):
            limits = {"max": str(maximum), "nul": str(nul).lower()}
            return {**display, "kind": f'"{kind.name}"', **limits}
        case types.Tail(maximum=maximum):
            return {**display, "kind": '"tail"', "max": str(maximum)}
    return {**display, "kind": '"scalar"', "size": str(kind.size), **_rule(kind, equals)}


def _rule(kind: types.Scalar, equals: int | None) -> _Entry:
    """Return the Lua entries for reading and checking a number, which must be `equals` if given."""
    match kind:
        case types.Integer(size=size, signed=signed):
            read = f"le_{'' if signed else 'u'}int{'64' if size == 8 else ''}"
            return {"read": f'"{read}"', **_known(kind, None if equals is None else [equals])}
        case types.Bool():
            return _known(kind, [0, 1])
        case types.Float(size=size, finite=finite):
            # The dissector recognizes NaN and the infinities by their two highest bytes, because
            # all bits of the exponent are 1. The highest byte is 0x7F without the sign. The second
            # highest byte is at least 0x80 in an `f32`, and 0xF0 in an `f64`.
            least = {"finite": "128" if size == 4 else "240"} if finite else {}
            return {"read": '"le_float"', **least}
        case types.Flags(name=name, members=bits):
            keys = ", ".join(f'"{name}.{bit.name}"' for bit in bits)
            unknown = kind.base.maximum & ~kind.mask
            refused = {"unknown": _uint64(unknown)} if kind.closed and unknown else {}
            return {"bits": f"{{ {keys} }}", **refused}
        case types.Enumerated(closed=closed, members=values):
            return _known(kind, [value.number for value in values] if closed else None)


def _known(kind: types.Scalar, numbers: Iterable[int] | None) -> _Entry:
    # The keys of the Lua table `known` are the encoded bytes of the valid values, because Lua
    # numbers cannot hold every 64-bit number.
    if numbers is None:
        return {}
    known = ", ".join(f'["{pack(kind, number).hex()}"] = true' for number in numbers)
    return {"known": f"{{ {known} }}"}


def _uint64(number: int) -> str:
    return f"UInt64({number & 0xFFFFFFFF}, {number >> 32})"
