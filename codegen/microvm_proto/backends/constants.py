"""Python: the schema's constants alone, for modules that do without a codec."""

from __future__ import annotations

import json

from microvm_proto.schema import Schema


def emit(schema: Schema, file: str) -> dict[str, str]:
    """A module of one file."""
    head = f'"""Constants of the protocol {schema.name}. Generated from {schema.source}."""\n'
    return {file: head + declare(schema)}


def declare(schema: Schema) -> str:
    """The lines that give each constant its value, behind an empty one; nothing without any."""
    lines = [
        f"{constant.name.upper()} = {_value(constant.value)}\n" for constant in schema.constants
    ]
    return "\n" + "".join(lines) if lines else ""


def _value(value: int | str) -> str:
    if isinstance(value, str):
        # In the quotes that a formatter would choose.
        single = value.count('"') > value.count("'")
        return repr(value) if single else json.dumps(value)
    return f"0x{value:X}" if value > 0x7FFFFFFF else str(value)
