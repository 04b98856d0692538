"""The released form of a schema: the part of it that a later one is compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from microvm_proto.faults import FAULTS
from microvm_proto.schema import (
    ByteList,
    Bytes,
    Enum,
    Field,
    Integer,
    Message,
    Schema,
    Tail,
    Type,
    bounds,
)

Value: TypeAlias = str | int | bool | list[str] | list[int]


def path_of(schema: Path) -> Path:
    """Return the path of a schema's released form, which lies beside it."""
    return schema.parent / f"{schema.stem}.released.toml"


def canonical(schema: Schema) -> str:
    """Write the schema as TOML without documentation and outputs, and with defaults left out.

    Declarations keep their order, which is that of the generated code.
    """
    return "\n\n".join(_table(head, keys) for head, keys in _tables(schema)) + "\n"


def _table(head: str, keys: Mapping[str, Value | None]) -> str:
    # What JSON says of strings, numbers, booleans and lists of them is TOML, too.
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]
    return "\n".join([head, *lines])


def _tables(schema: Schema) -> Iterator[tuple[str, Mapping[str, Value | None]]]:
    yield (
        "[protocol]",
        {
            "name": schema.name,
            "version": schema.version,
            "ends": list(schema.ends),
            "reserved": sorted(schema.reserved) or None,
        },
    )
    for constant in schema.constants:
        yield "[[constant]]", {"name": constant.name, "value": constant.value}
    for enum in schema.enums:
        yield "[[enum]]", _enum(enum)
        for value in enum.values[len(FAULTS) if enum.extends_faults else 0 :]:
            keys: dict[str, Value | None] = {"name": value.name, "number": value.number}
            yield "[[enum.value]]", {**keys, "since": _since(value.since, 1)}
    for message in schema.messages:
        yield "[[message]]", _message(message)
        for field in message.fields:
            yield "[[message.field]]", _field(message, field)


def _since(since: int, otherwise: int) -> int | None:
    return since if since != otherwise else None


def _enum(enum: Enum) -> Mapping[str, Value | None]:
    return {
        "name": enum.name,
        "type": enum.base.name,
        "closed": enum.closed,
        "extends": "fault" if enum.extends_faults else None,
        "reserved": sorted(enum.reserved) or None,
    }


def _message(message: Message) -> Mapping[str, Value | None]:
    return {
        "name": message.name,
        "number": message.number,
        "sender": message.sender,
        "id": message.id,
        "frozen": message.frozen or None,
        "since": _since(message.since, 1),
    }


def _field(message: Message, field: Field) -> Mapping[str, Value | None]:
    return {
        "name": field.name,
        **_type(field.type),
        "equals": field.equals,
        "since": _since(field.since, message.since),
        "default": _default(field) if message.is_later(field) else None,
    }


def _type(kind: Type) -> Mapping[str, Value | None]:
    match kind:
        case Integer(name=name) | Enum(name=name):
            return {"type": name}
        case Tail():
            return {"type": "tail", **bounds(kind)}
        case Bytes(nul=nul) | ByteList(nul=nul):
            name = "bytes" if isinstance(kind, Bytes) else "list<bytes>"
            return {"type": name, **bounds(kind), "nul": None if nul else False}


def _default(field: Field) -> Value | None:
    """Return a default as a schema has it; an open enum's 0 needs no name."""
    if isinstance(field.type, Enum):
        names = [value.name for value in field.type.values if value.number == field.default]
        return names[0] if names else None
    return field.default or None
