"""How the codec spells things, and how a formatter would lay them out."""

from __future__ import annotations

from microvm_proto.schema import ByteList, Bytes, Enum, Field, Integer, Message, Tail

WIDTH = 100


def camel(name: str) -> str:
    """`exec_request` as `ExecRequest`."""
    return "".join(word.capitalize() for word in name.split("_"))


def default(field: Field) -> str:
    """What a field that came later is where it is not there."""
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


def literal(number: int) -> str:
    """A number, in hexadecimal from 10 on."""
    return f"0x{number:X}" if number > 9 else str(number)


def letter(integer: Integer) -> str:
    """How `struct` calls it."""
    letter = "BHIQ"[(1, 2, 4, 8).index(integer.size)]
    return letter.lower() if integer.signed else letter


def by_number(enum: str) -> str:
    """The table of an enum, by number."""
    return f"_AS_{enum.upper()}"


def layout(message: Message) -> str:
    """The name of the layout of a message."""
    return f"_LAYOUT_{message.name.upper()}"


def ids(message: Message) -> str:
    """The ids that the header of a message may have."""
    return {"none": "_NO_ID", "required": "_SOME_ID", "any": "_ANY_ID"}[message.id]


def call(head: str, arguments: list[str], margin: int, *, one_a_line: bool = False) -> list[str]:
    """A call as a formatter lays it out: in one line, or its arguments in one, or one a line."""
    joined = ", ".join(arguments)
    if not one_a_line and margin + len(head) + len(joined) + 2 <= WIDTH:
        return [f"{head}({joined})"]
    if not one_a_line and margin + len(joined) + 4 <= WIDTH:
        return [f"{head}(", f"    {joined}", ")"]
    return [f"{head}(", *(f"    {argument}," for argument in arguments), ")"]
