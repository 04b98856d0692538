"""A switch over all of a schema's messages, in C, which its header has no need of."""

from __future__ import annotations

from microvm_proto.schema import Message, Schema


def cases(schema: Schema, *, header: str, body: str, into: str, version: str) -> str:
    """Write the cases of a switch that encode a message; each sets `encoded` to its size.

    The arguments are C expressions: of the header, the body, the buffer and the version.
    """

    def call(message: Message) -> str:
        arguments = [into, version]
        arguments += [f"{header}.id"] if message.id != "none" else []
        visible = any(field.equals is None for field in message.fields)
        arguments += [f"&{body}.{message.name}"] if visible else []
        return f"{schema.name}_encode_{message.name}({', '.join(arguments)})"

    return "".join(
        f"\tcase {schema.name.upper()}_TYPE_{message.name.upper()}:\n"
        f"\t\tencoded = {call(message)};\n"
        "\t\tbreak;\n"
        for message in schema.messages
    )
