"""Choose names in generated Python code, and format its literals and calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from microvm_proto import types
from microvm_proto.framing import Framing
from microvm_proto.schema import Message, Schema

WIDTH = 100


def annotation(kind: types.Type, module: str = "") -> str:
    """Return the Python annotation for a type. `module` is a prefix for class names, or empty."""
    match kind:
        case types.Integer():
            return "int"
        case types.Float():
            return "float"
        case types.Bool():
            return "bool"
        case types.Enum(closed=False):
            return f"{module}{types.camel(kind.python_name)} | int"
        case types.Enumerated() | types.Struct():
            return f"{module}{types.camel(kind.python_name)}"
        case types.Array(is_octets=False, element=element) | types.List(element=element):
            return f"tuple[{annotation(element, module)}, ...]"
        case types.ByteList():
            return "tuple[bytes, ...]"
        case types.Text():
            return "str"
        case types.Tail():
            return "bytes | memoryview"
    return "bytes"


def of_field(field: types.Field, module: str = "") -> str:
    """Return the Python annotation for a field. `module` is a prefix for class names, or empty."""
    return annotation(field.type, module) + (" | None" if field.absent is not None else "")


def default(field: types.Field) -> str:
    """Return a Python expression for the value of a field in versions without the field."""
    return "None" if field.absent == field.default else _value(field.type, field.default)


def _value(kind: types.Type, number: int = 0) -> str:
    """Return a Python expression for the value of a type that is encoded as `number`."""
    match kind:
        case types.Integer():
            return str(number)
        case types.Float():
            return repr(kind.number(number))
        case types.Bool():
            return str(number == 1)
        case types.Enum(members=members):
            named = [member.name.upper() for member in members if member.number == number]
            return f"{types.camel(kind.python_name)}.{named[0]}" if named else str(number)
        case types.Flags(members=members) if number:
            names = (member.name.upper() for member in members if member.mask & number)
            return " | ".join(f"{types.camel(kind.python_name)}.{name}" for name in names)
        case types.Flags() | types.Struct():
            return zero(kind)
        case types.Array(is_octets=True, count=count):
            return f'b"\\x00" * {count}'
        case types.Array(element=element, count=count):
            return f"({_value(element)},) * {count}"
        case types.List() | types.ByteList():
            return "()"
        case types.Text():
            return '""'
    return 'b""'


def zero(kind: types.Flags | types.Struct) -> str:
    """Return the name of the Python constant for flags without bits, or for a struct of zeros."""
    return f"_ZERO_{kind.python_name.upper()}"


def literal(number: int) -> str:
    """Return a Python literal for a number. Numbers above 9 are in hexadecimal."""
    return f"0x{number:X}" if number > 9 else str(number)


def letter(kind: types.Scalar) -> str:
    """Return the format character of the module `struct` for a type, such as `I` for `u32`."""
    match kind:
        case types.Enumerated(base=base):
            return letter(base)
        case types.Float(size=size):
            return "f" if size == 4 else "d"
        case types.Integer(signed=True, size=size):
            return "bhiq"[size.bit_length() - 1]
    return "BHIQ"[kind.size.bit_length() - 1]


def of_format(format_: str) -> str:
    """Return the name of the Python object `struct.Struct` that has this format."""
    # Linters refuse names in which capitals follow a lowercase letter. So the name for the format
    # `bI` is `_LbI`, and not `_bI`.
    return f"_{'L' * (format_[0].islower() and not format_.islower())}{format_}"


def by_number(kind: types.Bool | types.Enumerated) -> str:
    """Return the name of the Python dictionary from numbers to the values of a type."""
    return f"_AS_{'BOOL' if isinstance(kind, types.Bool) else kind.python_name.upper()}"


def layout(message: Message) -> str:
    """Return the name of the Python object with the table that describes a message's fields."""
    return f"_LAYOUT_{message.python_name.upper()}"


def ids(message: Message) -> str:
    """Return the name of the constant, a Python `range`, with the ids that a message may have."""
    return {"none": "_NO_ID", "required": "_SOME_ID", "any": "_ANY_ID"}[message.id]


def of_prefix(code: str, schema: Schema) -> str:
    """Fill in a template for length prefixes: `@I@` is their `struct` format, `@4@` their size."""
    return code.replace("@I@", letter(schema.prefix)).replace("@4@", str(schema.prefix.size))


def header(framing: Framing, length: str, type_: str, id_: str) -> list[str]:
    """Return the Python expressions for all fields of a header, including the three given ones."""
    values = {"body_length": length, "type": type_, "flags": "0", "id": id_}
    values |= {"sequence": "sequence & 0xFF"}
    return [values[each.name] for each in framing.header]


def header_names(framing: Framing) -> list[str]:
    """Return the names of the Python variables for the fields of a frame's header."""
    names = {"body_length": "length", "type": "number", "id": "id_"}
    return [names.get(each.name, each.name) for each in framing.header]


def kinds(schema: Schema) -> Iterator[types.Type]:
    """Yield the types of all fields of a schema, and the types that they contain."""
    for message in schema.messages:
        for field in message.fields:
            yield from types.within(field.type)
    for struct in schema.structs:
        yield from types.within(struct)


def call(
    head: str, arguments: Iterable[str], margin: int, *, tail: str = "", one_a_line: bool = False
) -> list[str]:
    """Return the Python code `head(arguments)tail` as lines, broken as a code formatter does.

    If possible, all is on one line; otherwise, all arguments are on one line; otherwise, or if
    `one_a_line` is True, each argument is on its own line. The caller will indent the lines by
    `margin` columns. The text `tail` follows the closing parenthesis.
    """
    arguments = list(arguments)
    joined = ", ".join(arguments)
    if not one_a_line and margin + len(head) + len(joined) + len(tail) + 2 <= WIDTH:
        return [f"{head}({joined}){tail}"]
    if not one_a_line and margin + len(joined) + 4 <= WIDTH:
        return [f"{head}(", f"    {joined}", f"){tail}"]
    return [f"{head}(", *(f"    {argument}," for argument in arguments), f"){tail}"]


def import_of_codec(schema: Schema) -> str:
    """Return the Python statement that imports the codec as `codec`.

    The module is that of the first `[[output]]` table of the schema with the backend `python`.
    """
    modules = [output.module for output in schema.outputs if output.backend == "python"]
    package, _, name = (modules[0] if modules else "codec").rpartition(".")
    renamed = "" if name == "codec" else " as codec"
    return f"from {package} import {name}{renamed}" if package else f"import {name}{renamed}"
