"""The digests of a schema: of its bytes on the wire, and of the code generated from it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from microvm_proto.framing import PLAIN
from microvm_proto.released import canonical
from microvm_proto.schema import Message, Schema
from microvm_proto.types import (
    U32,
    Array,
    Bool,
    ByteList,
    Bytes,
    Enum,
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


def wire_digest(schema: Schema) -> int:
    """Return 64 bits of SHA-256 over what shapes the bytes on the wire.

    Names, documentation and the order of declarations do not; numbers, types, bounds, senders, and
    the version that brought each of them do. Of `schema.at(version)` it is what that version's own
    schema had.
    """
    messages: list[Any] = [
        [
            message.number,
            _sender(schema, message),
            message.id,
            message.since,
            [[_shape(field.type), field.equals, field.since] for field in message.fields],
        ]
        for message in sorted(schema.messages, key=lambda message: message.number)
    ]
    form = [schema.version, messages]
    # What is as it is by default is not in the form.
    form += [["prefix", schema.prefix.name]] if schema.prefix != U32 else []
    form += [["framing", *_framing(schema)]] if schema.framing != PLAIN else []
    return _digest(json.dumps(form, separators=(",", ":")))


def api_digest(schema: Schema) -> int:
    """Return 64 bits of SHA-256 over all but the documentation.

    It changes whenever the generated code does.
    """
    return _digest(canonical(schema))


def seeds(schema: Schema, message: Message) -> tuple[int, ...]:
    """Return what a message's check begins with in each of its versions, as long as a check is.

    It is of all that shapes the message, and of its names: where two ends differ in these, none of
    them takes this message for its own. Without a check there are none.
    """
    size = schema.framing.check_size
    forms = (_named(schema, message.at(version)) for version in message.versions)
    return tuple(_digest(form) % (1 << 8 * size) for form in forms) if size else ()


def _named(schema: Schema, message: Message) -> str:
    """Return the form of a message with its names, those within its structs included."""
    fields = []
    for field in message.fields:
        structs = [kind for kind in within(field.type) if isinstance(kind, Struct)]
        names = [part.name for kind in structs for part in kind.fields]
        fields.append([field.name, _shape(field.type), field.equals, names])
    return json.dumps([message.name, message.number, _sender(schema, message), message.id, fields])


def _sender(schema: Schema, message: Message) -> str | int:
    return "both" if message.sender == "both" else schema.ends.index(message.sender)


def _framing(schema: Schema) -> list[Any]:
    framing = schema.framing
    header = [[each.name, each.size] for each in framing.header]
    seeds = sorted([message.number, message.seed] for message in schema.messages)
    return [framing.kind, header, framing.check, seeds]


def _digest(form: str) -> int:
    return int.from_bytes(hashlib.sha256(form.encode()).digest()[:8], "little")


def _shape(kind: Type) -> list[Any]:
    match kind:
        case Integer(name=name) | Bool(name=name):
            return [name]
        case Enum(base=base, closed=False) | Flags(base=base, closed=False):
            # What an open enum's values mean changes no frame that can be decoded.
            return [base.name]
        case Float(name=name, finite=finite):
            return [name, finite]
        case Enum(base=base, values=values):
            return [base.name, sorted([value.number, value.since] for value in values)]
        case Flags(base=base, bits=bits):
            return [base.name, "bits", sorted([bit.bit, bit.since] for bit in bits)]
        case Struct(fields=fields):
            return ["struct", [_shape(field.type) for field in fields]]
        case Array(element=element, count=count):
            return ["array", _shape(element), count]
        case Bytes(maximum=maximum, nul=nul):
            return ["bytes", maximum, nul]
        case Text(maximum=maximum, nul=nul):
            return ["text", maximum, nul]
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            return ["list", items, item, total, nul]
        case List(element=element, max_items=items):
            return ["list", _shape(element), items]
        case Tail(maximum=maximum):
            return ["tail", maximum]
