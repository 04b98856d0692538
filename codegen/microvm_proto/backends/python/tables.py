"""Generate tables of a Python codec: `struct.Struct` objects, and dictionaries of enum values.

Each dictionary maps the numbers on the wire to the values of an enum, of flags or of `bool`.
"""

from __future__ import annotations

from collections.abc import Iterable

from microvm_proto.backends.python.naming import by_number, kinds, letter, of_format
from microvm_proto.schema import Schema
from microvm_proto.types import Bool, Enumerated, Flags, Scalar, camel


def tables(schema: Schema, more_formats: Iterable[str]) -> str:
    """Generate a codec's `struct.Struct` objects and its dictionaries from numbers to values."""
    found = [kind for kind in kinds(schema) if isinstance(kind, Scalar)]
    names = {letter(schema.prefix), *map(letter, found), *more_formats}
    header = schema.framing.letters
    lines = [f"# Each layout is named after its format in `struct`; {header} is the header."]
    lines += [f'_HEADER = struct.Struct("<{header}")']
    lines += [
        f'{of_format(name)} = struct.Struct("<{name}")'
        for name in sorted(names, key=lambda name: (len(name), name))
    ]
    named = {by_number(kind): kind for kind in found if isinstance(kind, Bool | Enumerated)}
    lines += [f"{name} = {_by_number(kind)}" for name, kind in named.items()]
    return "\n".join(lines)


def _by_number(kind: Bool | Enumerated) -> str:
    match kind:
        case Bool():
            return "{0: False, 1: True}"
        case Flags(closed=closed, mask=mask, base=base):
            return f"_Flags({camel(kind.python_name)}, 0x{mask if closed else base.maximum:X})"
        case Enumerated():
            return f"{{int(value): value for value in {camel(kind.python_name)}}}"
