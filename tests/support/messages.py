"""Messages of a generated Python codec, created from the values of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from microvm_proto.frame import Value
from microvm_proto.schema import Message
from microvm_proto.types import (
    Array,
    Bool,
    Enum,
    Field,
    Flags,
    Float,
    List,
    Struct,
    Text,
    Type,
    camel,
)


def made(codec: ModuleType, message: Message, id_: int, fields: Mapping[str, Value]) -> Any:
    """Return a message with these fields, whose values have the type `frame.Value`."""
    there = {
        field.python_name: _of_field(codec, field, fields[field.name]) for field in message.visible
    }
    if message.id != "none":
        there["id"] = id_
    return getattr(codec, camel(message.python_name))(**there)


def same(one: Any, other: Any) -> bool:
    """Return True if two messages are equal, where a NaN equals itself."""
    fields = ((getattr(one, name), getattr(other, name)) for name in type(one).__slots__)
    return type(one) is type(other) and all(
        a == b or ("nan" in repr(a) and repr(a) == repr(b)) for a, b in fields
    )


def _of_field(codec: ModuleType, field: Field, value: Value) -> Any:
    return None if value == field.absent else _of(codec, field.type, value)


def _of(codec: ModuleType, kind: Type, value: Any) -> Any:
    match kind:
        case Float():
            return kind.number(value)
        case Bool():
            return {0: False, 1: True}.get(value, value)
        case Enum(python_name=name):
            return getattr(codec, camel(name))._value2member_map_.get(value, value)
        case Flags(python_name=name, closed=closed, mask=mask):
            return value if closed and value & ~mask else getattr(codec, camel(name))(value)
        case Text():
            return value.decode("utf-8", "surrogatepass")
        case Struct(python_name=name, fields=fields):
            values = {each.python_name: _of_field(codec, each, value[each.name]) for each in fields}
            return getattr(codec, camel(name))(**values)
        case Array() | List() if not isinstance(value, bytes):
            return tuple(_of(codec, kind.element, each) for each in value)
    return value
