"""Generate a Python module that contains only the constants of a schema, without a codec."""

from __future__ import annotations

import json

from microvm_proto.schema import Output, Schema


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Generate the Python module of constants."""
    head = f'"""Constants of the protocol {schema.name}. Generated from {schema.source}."""\n'
    return {output.path.name: head + declare(schema)}


def declare(schema: Schema) -> str:
    """Generate an empty line and Python assignments of a schema's constants, if it has any."""
    lines = [
        f"{constant.name.upper()} = {_value(constant.value)}\n" for constant in schema.constants
    ]
    return "\n" + "".join(lines) if lines else ""


def _value(value: int | str) -> str:
    if isinstance(value, str):
        # Choose the quotes as a code formatter does, so that it leaves the generated file
        # unchanged.
        single = value.count('"') > value.count("'")
        return repr(value) if single else json.dumps(value)
    return f"0x{value:X}" if value > 0x7FFFFFFF else str(value)
