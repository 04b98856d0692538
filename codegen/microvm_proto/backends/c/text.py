"""The text of comments, numbers, types and conditions in C."""

from __future__ import annotations

import json
import textwrap

from microvm_proto.types import ByteList, Bytes, Enum, Field, Integer, Tail

WIDTH = 100


def comment(text: str, indent: str = "") -> str:
    """Return a comment that ends its line, or nothing for an empty text."""
    if not text:
        return ""
    text = text.replace("*/", "* /").replace("/*", "/ *")
    lines = textwrap.wrap(text, WIDTH - len(indent) - 6)
    if len(lines) == 1:
        return f"{indent}/* {lines[0]} */\n"
    return "\n".join([f"{indent}/* {lines[0]}", *(f"{indent} * {x}" for x in lines[1:])]) + " */\n"


def literal(number: int) -> str:
    """Write a number so that C reads it without a warning; the most negative one is a sum."""
    if number < -0x7FFFFFFFFFFFFFFF:
        return f"({number + 1}LL - 1)"
    return f"{number}ULL" if number > 0x7FFFFFFFFFFFFFFF else str(number)


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


def c_type(field: Field) -> str:
    """Return the type that a field has in its message's struct."""
    match field.type:
        case Integer(size=size, signed=signed) | Enum(base=Integer(size=size, signed=signed)):
            return f"{'' if signed else 'u'}int{8 * size}_t"
        case Bytes() | Tail():
            return "struct @p@_slice"
        case ByteList():
            return "struct @p@_list"
        case _:
            raise NotImplementedError


def is_known(enum: Enum, field: Field) -> str:
    """Write the condition that a closed enum has the field's value in the version spoken."""
    terms = []
    for value in enum.values:
        equal = f"message->{field.name} == @P@_{enum.name.upper()}_{value.name.upper()}"
        is_later = value.since > field.since
        terms.append(f"(version >= {value.since} && {equal})" if is_later else equal)
    return " || ".join(terms)
