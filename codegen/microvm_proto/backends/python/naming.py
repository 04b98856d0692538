"""Choose names in generated Python code, and format its literals and calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from microvm_proto.framing import Framing
from microvm_proto.schema import Message, Schema
from microvm_proto.types import (
    Array,
    Bool,
    ByteList,
    Enum,
    Field,
    Flags,
    Float,
    Integer,
    List,
    Scalar,
    Struct,
    Tail,
    Text,
    Type,
    camel,
    within,
)

WIDTH = 100


def annotation(kind: Type, module: str = "") -> str:
    """Return the Python annotation for a type; class names in it begin with the prefix `module`.

    :param module: Prefix for the names of generated classes, such as `codec.`, or an empty string.
    """
    match kind:
        case Integer():
            return "int"
        case Float():
            return "float"
        case Bool():
            return "bool"
        case Enum(closed=False):
            return f"{module}{camel(kind.python_name)} | int"
        case Enum() | Flags() | Struct():
            return f"{module}{camel(kind.python_name)}"
        case Array(is_octets=False, element=element) | List(element=element):
            return f"tuple[{annotation(element, module)}, ...]"
        case ByteList():
            return "tuple[bytes, ...]"
        case Text():
            return "str"
        case Tail():
            return "bytes | memoryview"
    return "bytes"


def of_field(field: Field, module: str = "") -> str:
    """Return the Python annotation for a field, with the parameters of :func:`annotation`."""
    return annotation(field.type, module) + (" | None" if field.absent is not None else "")


def default(field: Field) -> str:
    """Return a Python expression for the value of a field in versions without the field."""
    if field.absent == field.default:
        return "None"
    match field.type:
        case Integer():
            return str(field.default)
        case Float() as kind:
            return repr(kind.number(field.default))
        case Bool():
            return str(field.default == 1)
        case Enum() as kind:
            return _value(kind, field.default)
        case Flags(bits=bits) as kind if field.default:
            names = (bit.name.upper() for bit in bits if bit.mask & field.default)
            return " | ".join(f"{camel(kind.python_name)}.{name}" for name in names)
    return _zero(field.type)


def _value(kind: Enum, number: int) -> str:
    named = [value.name for value in kind.values if value.number == number]
    return f"{camel(kind.python_name)}.{named[0].upper()}" if named else str(number)


def _zero(kind: Type) -> str:
    match kind:
        case Integer():
            return "0"
        case Float():
            return "0.0"
        case Bool():
            return "False"
        case Enum():
            return _value(kind, 0)
        case Flags() | Struct():
            return zero(kind)
        case Array(is_octets=True, count=count):
            return f'b"\\x00" * {count}'
        case Array(element=element, count=count):
            return f"({_zero(element)},) * {count}"
        case List() | ByteList():
            return "()"
        case Text():
            return '""'
    return 'b""'


def zero(kind: Flags | Struct) -> str:
    """Return the name of the Python constant for flags without bits, or for a struct of zeros."""
    return f"_ZERO_{kind.python_name.upper()}"


def literal(number: int) -> str:
    """Return a Python literal for a number. Numbers above 9 are in hexadecimal."""
    return f"0x{number:X}" if number > 9 else str(number)


def letter(kind: Scalar) -> str:
    """Return the format character of the module `struct` for a type, such as `I` for `u32`."""
    match kind:
        case Enum(base=base) | Flags(base=base):
            return letter(base)
        case Float(size=size):
            return "f" if size == 4 else "d"
        case Integer(signed=True, size=size):
            return "bhiq"[size.bit_length() - 1]
    return "BHIQ"[kind.size.bit_length() - 1]


def of_format(format_: str) -> str:
    """Return the name of the Python object `struct.Struct` that has this format."""
    # Linters refuse names in which capitals follow a lowercase letter. So the name for the format
    # `bI` is `_LbI`, and not `_bI`.
    return f"_{'L' * (format_[0].islower() and not format_.islower())}{format_}"


def by_number(kind: Bool | Enum | Flags) -> str:
    """Return the name of the Python dictionary from numbers to the values of a type."""
    return f"_AS_{'BOOL' if isinstance(kind, Bool) else kind.python_name.upper()}"


def layout(message: Message) -> str:
    """Return the name of the Python object with the table that describes a message's fields."""
    return f"_LAYOUT_{message.python_name.upper()}"


def ids(message: Message) -> str:
    """Return the name of the Python range of the ids that a message may have."""
    return {"none": "_NO_ID", "required": "_SOME_ID", "any": "_ANY_ID"}[message.id]


def of_prefix(code: str, schema: Schema) -> str:
    """Replace `@I@` in code by the `struct` format of a length or count, and `@4@` by its size."""
    return code.replace("@I@", letter(schema.prefix)).replace("@4@", str(schema.prefix.size))


def header(framing: Framing, length: str, number: str, identifier: str) -> list[str]:
    """Return the Python expressions for all fields of a header. Three of them are parameters.

    :param number: Expression for the number that identifies the type of the message.
    :param identifier: Expression for the id of the message.
    """
    values = {"body_length": length, "type": number, "flags": "0", "id": identifier}
    values |= {"sequence": "sequence & 0xFF"}
    return [values[each.name] for each in framing.header]


def header_names(framing: Framing) -> list[str]:
    """Return the names of the Python variables into which a frame's header is unpacked."""
    names = {"body_length": "length", "type": "number", "id": "id_"}
    return [names.get(each.name, each.name) for each in framing.header]


def kinds(schema: Schema) -> Iterator[Type]:
    """Yield the types of all fields of a schema, and the types that they contain.

    A type that is used several times is yielded several times.
    """
    for message in schema.messages:
        for field in message.fields:
            yield from within(field.type)
    for struct in schema.structs:
        yield from within(struct)


def call(
    head: str, arguments: Iterable[str], margin: int, *, tail: str = "", one_a_line: bool = False
) -> list[str]:
    """Return the lines of the Python code `head(arguments)`, as a code formatter would break it.

    If possible, all is on one line; otherwise, all arguments are on one line; otherwise, each
    argument is on its own line.

    :param margin: Number of columns by which the caller will indent the lines.
    :param tail: Text that follows the closing parenthesis.
    :param one_a_line: True to put each argument on its own line in any case.
    """
    arguments = list(arguments)
    joined = ", ".join(arguments)
    if not one_a_line and margin + len(head) + len(joined) + len(tail) + 2 <= WIDTH:
        return [f"{head}({joined}){tail}"]
    if not one_a_line and margin + len(joined) + 4 <= WIDTH:
        return [f"{head}(", f"    {joined}", f"){tail}"]
    return [f"{head}(", *(f"    {argument}," for argument in arguments), f"){tail}"]
