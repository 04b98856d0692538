"""The text of comments, numbers, types and conditions in C."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable

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
)

WIDTH = 100
_TAB = 8


def comment(text: str, indent: str = "") -> str:
    """Return a comment that ends its line, or nothing for an empty text."""
    if not text:
        return ""
    text = text.replace("*/", "* /").replace("/*", "/ *")
    lines = textwrap.wrap(text, WIDTH - len(indent) - 6)
    if len(lines) == 1:
        return f"{indent}/* {lines[0]} */\n"
    return "\n".join([f"{indent}/* {lines[0]}", *(f"{indent} * {x}" for x in lines[1:])]) + " */\n"


def signature(head: str, parameters: Iterable[str]) -> str:
    """Write the head of a function, in which lines are broken between parameters only."""
    # What wraps text takes no-break spaces for letters.
    kept = [text.replace(" ", "\xa0") for text in (head, *parameters)]
    text = f"{kept[0]}({', '.join(kept[1:])})"
    lines = textwrap.wrap(text, WIDTH - _TAB, break_long_words=False, break_on_hyphens=False)
    return "\n\t".join(lines).replace("\xa0", " ")


def literal(number: int) -> str:
    """Write a number so that C reads it without a warning; the most negative one is a sum."""
    if number < -0x7FFFFFFFFFFFFFFF:
        return f"({number + 1}LL - 1)"
    if number > 0x7FFFFFFFFFFFFFFF:
        return f"{number}ULL"
    return f"{number}u" if number > 0x7FFFFFFF else str(number)


def value(constant: int | str) -> str:
    """Write what a constant stands for; a question mark could begin a trigraph."""
    if isinstance(constant, str):
        return json.dumps(constant).replace("?", "\\?")
    return f"0x{constant:x}ULL" if constant > 0x7FFFFFFF else literal(constant)


def wire_bits(field: Field, number: int) -> str:
    """Write the bits that a field with this value has on the wire, as an unsigned number."""
    return f"0x{number & ((1 << 8 * field.max_size) - 1):x}ULL"


def boolean(value: bool) -> str:
    """Write a truth value."""
    return "true" if value else "false"


def c_type(kind: Type) -> str:
    """Return the type that a value has in a struct; of an array that of its elements."""
    match kind:
        case Integer(size=size, signed=signed):
            return f"{'' if signed else 'u'}int{8 * size}_t"
        case Enum(base=base) | Flags(base=base):
            return c_type(base)
        case Float(size=size):
            return "float" if size == 4 else "double"
        case Bool():
            return "bool"
        case Struct():
            return f"struct @p@_{kind.c_name}"
        case Array(element=element):
            return c_type(element)
        case Bytes() | Text() | Tail():
            return "struct @p@_slice"
        case ByteList() | List():
            return "struct @p@_list"


def address(value: str) -> str:
    """Write a pointer to a value, which may be what one points to."""
    return value[1:] if value.startswith("*") else f"&{value}"


def uses(name: str, text: str) -> bool:
    """Tell whether a parameter is used in C, where its name may be that of a field as well."""
    return bool(re.search(rf"(?<!->)\b{name}\b", text))
