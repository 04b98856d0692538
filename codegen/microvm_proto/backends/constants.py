"""The backend `constants`: the schema's constants alone, in Python, for modules without a codec."""

from __future__ import annotations

import json

from microvm_proto.schema import Output, Schema


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Write the constants, which are one module."""
    head = f'"""Constants of the protocol {schema.name}. Generated from {schema.source}."""\n'
    return {output.path.name: head + declare(schema)}


def declare(schema: Schema) -> str:
    """Write the assignments of the constants behind an empty line; nothing where there is none."""
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
