"""Format comments, function signatures, numbers and names of types in C."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable

from microvm_proto import types

WIDTH = 100
_TAB = 8


def comment(text: str, indent: str = "") -> str:
    """Return a C comment that ends with a line break; empty if the text is empty."""
    if not text:
        return ""
    text = text.replace("*/", "* /").replace("/*", "/ *")
    lines = textwrap.wrap(text, WIDTH - len(indent) - 6)
    if len(lines) == 1:
        return f"{indent}/* {lines[0]} */\n"
    return "\n".join([f"{indent}/* {lines[0]}", *(f"{indent} * {x}" for x in lines[1:])]) + " */\n"


def signature(head: str, parameters: Iterable[str]) -> str:
    """Return the head of a C function, in which lines are broken only between parameters."""
    # Replace the spaces in each parameter by no-break spaces, at which textwrap never breaks a
    # line. So each parameter stays on one line.
    kept = [text.replace(" ", "\xa0") for text in (head, *parameters)]
    text = f"{kept[0]}({', '.join(kept[1:])})"
    lines = textwrap.wrap(text, WIDTH - _TAB, break_long_words=False, break_on_hyphens=False)
    return "\n\t".join(lines).replace("\xa0", " ")


def literal(number: int) -> str:
    """Return a number as a C literal, which compilers accept without a warning.

    C has no literal for the lowest 64-bit number, so that number is written as a difference of two
    other numbers.
    """
    if number < -0x7FFFFFFFFFFFFFFF:
        return f"({number + 1}LL - 1)"
    if number > 0x7FFFFFFFFFFFFFFF:
        return f"{number}ULL"
    return f"{number}u" if number > 0x7FFFFFFF else str(number)


def value(constant: int | str) -> str:
    """Return a C literal for the value of a constant."""
    if isinstance(constant, str):
        # Two question marks can begin a trigraph in C, so each question mark is escaped.
        return json.dumps(constant).replace("?", "\\?")
    return f"0x{constant:x}ULL" if constant > 0x7FFFFFFF else literal(constant)


def wire_bits(field: types.Field, number: int) -> str:
    """Return a C literal for the bits that the field's value `number` has on the wire."""
    return f"0x{number & ((1 << 8 * field.max_size) - 1):x}ULL"


def boolean(value: bool) -> str:
    """Return the C literal of a boolean."""
    return "true" if value else "false"


def c_type(kind: types.Type) -> str:
    """Return the C type of a schema's type; for an array, the C type of its elements."""
    match kind:
        case types.Integer(size=size, signed=signed):
            return f"{'' if signed else 'u'}int{8 * size}_t"
        case types.Enumerated(base=base):
            return c_type(base)
        case types.Float(size=size):
            return "float" if size == 4 else "double"
        case types.Bool():
            return "bool"
        case types.Struct():
            return f"struct @p@_{kind.c_name}"
        case types.Array(element=element):
            return c_type(element)
        case types.Bytes() | types.Text() | types.Tail():
            return "struct @p@_slice"
        case types.ByteList() | types.List():
            return "struct @p@_list"


def address(value: str) -> str:
    """Return the C expression for the address of `value`: `&it` for `it`, and `it` for `*it`."""
    return value[1:] if value.startswith("*") else f"&{value}"


def uses(name: str, text: str) -> bool:
    """Return True if the C code `text` uses a variable called `name`.

    A struct member of that name does not count.
    """
    return bool(re.search(rf"(?<!->)\b{name}\b", text))
