"""Two digests of a schema: one over what determines the wire format, one over everything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from microvm_proto import types
from microvm_proto.framing import PLAIN
from microvm_proto.released import canonical
from microvm_proto.schema import Message, Schema

_LONG_STRUCT = 1 << 14  # maximum number of characters in the description of a struct


def wire_digest(schema: Schema) -> int:
    """Return 64 bits of SHA-256 over all in a schema that determines the bytes on the wire.

    The digest covers numbers, types, bounds, senders, the version that added each of them, and the
    seed, with which the checksum of frames is XORed. It does not cover names, documentation and the
    order of declarations. For an older version, the digest of `schema.at(version)` is the one that
    the schema had at that time.
    """
    messages: list[Any] = [
        [
            message.number,
            _sender(schema, message),
            message.id,
            message.since,
            [[shape(field.type), field.equals, field.since] for field in message.fields],
        ]
        for message in sorted(schema.messages, key=lambda message: message.number)
    ]
    form = [schema.version, messages]
    # Keys that have their default value are left out, so that adding a key to the schema language
    # does not change the digests of existing schemas.
    form += [["prefix", schema.prefix.name]] if schema.prefix != types.U32 else []
    form += [["framing", *_framing(schema), schema.seed]] if schema.framing != PLAIN else []
    return _digest(json.dumps(form, separators=(",", ":")))


def api_digest(schema: Schema) -> int:
    """Return 64 bits of SHA-256 over the whole schema, except its documentation."""
    return _digest(canonical(schema))


def shape(kind: types.Type) -> list[Any]:
    """Return a description of a type: all that determines its bytes on the wire."""
    match kind:
        case types.Integer(name=name) | types.Bool(name=name):
            return [name]
        case types.Enumerated(base=base, closed=False):
            # A decoder accepts every number for an open enum, one without `closed = true`. So the
            # digest need not cover the values that have names.
            return [base.name]
        case types.Float(name=name, finite=finite):
            return [name, finite]
        case types.Enumerated(base=base, members=members):
            bits = ["bits"] if isinstance(kind, types.Flags) else []
            return [base.name, *bits, sorted([m.number, m.since] for m in members)]
        case types.Struct(fields=fields):
            return ["struct", [shape(field.type) for field in fields]]
        case types.Array(element=element, count=count):
            return ["array", shape(element), count]
        case types.Bytes(maximum=maximum, nul=nul) | types.Text(maximum=maximum, nul=nul):
            return [kind.name, maximum, nul]
        case types.ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            return ["list", items, item, total, nul]
        case types.List(element=element, max_items=items):
            return ["list", shape(element), items]
        case types.Tail(maximum=maximum):
            return ["tail", maximum]


def seeds(schema: Schema) -> tuple[tuple[int, int], ...]:
    """Return pairs of a protocol version and the seed that is used from this version on.

    A seed is a digest of everything in the schema that gives the bytes a meaning, including names
    and units. The checksum of each frame is XORed with the seed, which has the same size. So if the
    schemas of two programs differ in a name, for example, each program refuses the frames of the
    other. The result is empty if frames have no checksum.
    """
    size = schema.framing.check_size
    found: dict[int, int] = {}
    for version in schema.versions if size else ():
        seed = _digest(_meaning(schema.at(version))) % (1 << 8 * size)
        if seed not in list(found.values())[-1:]:
            found[version] = seed
    return tuple(found.items())


def _meaning(schema: Schema) -> str:
    """Return the text that is hashed to a seed: the layout of messages, with names and units."""
    names = _Names()
    messages = [
        [
            message.number,
            message.name,
            _sender(schema, message),
            message.id,
            names.fields(message.fields),
        ]
        for message in sorted(schema.messages, key=lambda message: message.number)
    ]
    return json.dumps([schema.prefix.name, _framing(schema), messages])


class _Names:
    """Describes fields for a seed: their names and types, and the names of values and bits.

    A field of a struct type describes the struct, and once more all structs in it. So the
    description of a deeply nested struct would grow exponentially. If the description of a struct
    is long, its hash takes its place.
    """

    def __init__(self) -> None:
        self._structs: dict[str, Any] = {}

    def fields(self, fields: Sequence[types.Field]) -> list[Any]:
        """Return the part of a digest's input that describes the fields of a message or struct."""
        return [
            [
                [each.name, shape(each.type), each.equals, each.absent, each.unit, each.scale],
                [self._type(kind) for kind in types.within(each.type)],
            ]
            for each in fields
        ]

    def _type(self, kind: types.Type) -> Any:
        match kind:
            case types.Enumerated(members=members, inherited=inherited):
                # Leave out the faults that are built into the generator. So a new built-in fault
                # does not change the seeds of existing schemas.
                return sorted([member.number, member.name] for member in members[inherited:])
            case types.Struct(name=name, fields=fields):
                if name not in self._structs:
                    form = self.fields(fields)
                    text = json.dumps(form)
                    self._structs[name] = form if len(text) <= _LONG_STRUCT else _digest(text)
                return self._structs[name]
        return []


def _sender(schema: Schema, message: Message) -> str | int:
    return "both" if message.sender == "both" else schema.ends.index(message.sender)


def _framing(schema: Schema) -> list[Any]:
    framing = schema.framing
    header = [[each.name, each.size] for each in framing.header]
    return [framing.kind, header, framing.check]


def _digest(form: str) -> int:
    return int.from_bytes(hashlib.sha256(form.encode()).digest()[:8], "little")
