"""The names and literals in generated Python, laid out as a formatter does."""

from __future__ import annotations

from microvm_proto.schema import Message
from microvm_proto.types import ByteList, Bytes, Enum, Field, Integer, Tail

WIDTH = 100


def camel(name: str) -> str:
    """Turn a name such as `exec_request` into `ExecRequest`."""
    return "".join(word.capitalize() for word in name.split("_"))


def default(field: Field) -> str:
    """Write the value that a field has in versions without it."""
    match field.type:
        case Integer():
            return str(field.default)
        case Enum(name=name, values=values):
            named = [value.name for value in values if value.number == field.default]
            return f"{camel(name)}.{named[0].upper()}" if named else str(field.default)
        case ByteList():
            return "()"
        case Bytes() | Tail():
            return 'b""'
        case _:
            raise NotImplementedError


def literal(number: int) -> str:
    """Write a number, in hexadecimal from 10 on."""
    return f"0x{number:X}" if number > 9 else str(number)


def letter(integer: Integer) -> str:
    """Return the letter that `struct` has for an integer."""
    letter = "BHIQ"[(1, 2, 4, 8).index(integer.size)]
    return letter.lower() if integer.signed else letter


def by_number(enum: str) -> str:
    """Return the name of an enum's table by number."""
    return f"_AS_{enum.upper()}"


def layout(message: Message) -> str:
    """Return the name of the layout of a message."""
    return f"_LAYOUT_{message.name.upper()}"


def ids(message: Message) -> str:
    """Return the name of the range of ids that the header of a message may have."""
    return {"none": "_NO_ID", "required": "_SOME_ID", "any": "_ANY_ID"}[message.id]


def call(
    head: str, arguments: list[str], margin: int, *, tail: str = "", one_a_line: bool = False
) -> list[str]:
    """Lay out a call or a signature: in one line, its arguments in one, or one argument a line.

    :param margin: how far the lines will be indented.
    :param tail: what follows the closing parenthesis.
    """
    joined = ", ".join(arguments)
    if not one_a_line and margin + len(head) + len(joined) + len(tail) + 2 <= WIDTH:
        return [f"{head}({joined}){tail}"]
    if not one_a_line and margin + len(joined) + 4 <= WIDTH:
        return [f"{head}(", f"    {joined}", f"){tail}"]
    return [f"{head}(", *(f"    {argument}," for argument in arguments), f"){tail}"]
