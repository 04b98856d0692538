"""Generate a Python module that holds only the constants of a schema, without a codec."""

from __future__ import annotations

import json

from microvm_proto.schema import Output, Schema


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Generate the module of constants."""
    head = f'"""Constants of the protocol {schema.name}. Generated from {schema.source}."""\n'
    return {output.path.name: head + declare(schema)}


def declare(schema: Schema) -> str:
    """Generate an empty line and the assignments of the constants.

    Return an empty string if the schema has no constants.
    """
    lines = [
        f"{constant.name.upper()} = {_value(constant.value)}\n" for constant in schema.constants
    ]
    return "\n" + "".join(lines) if lines else ""


def _value(value: int | str) -> str:
    if isinstance(value, str):
        # Use the quotes that a code formatter would choose.
        single = value.count('"') > value.count("'")
        return repr(value) if single else json.dumps(value)
    return f"0x{value:X}" if value > 0x7FFFFFFF else str(value)
