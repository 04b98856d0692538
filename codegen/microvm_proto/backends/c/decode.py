"""Generate the C functions that decode the body of a message."""

from __future__ import annotations

from microvm_proto.backends.c import values
from microvm_proto.backends.c.text import uses, wire_bits
from microvm_proto.schema import Message, Schema
from microvm_proto.types import Field, Tail


def decode_message(message: Message) -> str:
    """Generate the C function that decodes the body of one message."""
    has_struct = bool(message.visible)
    target = f"struct @p@_{message.c_name} *message, " if has_struct else ""
    steps = [
        _decode_later(field, step) if message.is_later(field) else step
        for field in message.fields
        for step in [_decode_field(field)]
    ]
    if not message.fields or not isinstance(message.fields[-1].type, Tail):
        steps.append("@p@_end(&cursor)")
    body = " &&\n\t\t".join(steps)
    unused = "" if uses("version", body) else "\n\t(void)version;"
    return f"""static inline bool @p@_decode_{message.c_name}(const uint8_t *body, size_t size,
\tuint32_t version, {target}struct @p@_fault_at *fault)
{{
\tstruct @p@_cursor cursor = {{ body, size, 0, fault }};
{unused}
\treturn {body};
}}"""


def decode_any(schema: Schema) -> str:
    """Generate the C function that decodes a body by the message type in the frame's header."""
    cases = "".join(
        f"\tcase @P@_TYPE_{message.c_name.upper()}:\n"
        f"\t\treturn @p@_decode_{message.c_name}(body, (size_t)header->body_length, version, "
        f"{f'&out->{message.c_name}, ' if message.visible else ''}fault);\n"
        for message in schema.messages
    )
    return f"""/* Decodes the body of a frame whose header @p@_decode_header has accepted. */
static inline bool @p@_decode_body(const struct @p@_header *header, const uint8_t *body,
\tuint32_t version, union @p@_body *out, struct @p@_fault_at *fault)
{{
\t(void)version;
\t(void)out;
\tswitch (header->type) {{
{cases}\tdefault:
\t\t(void)body;
\t\treturn @p@_fail(fault, @P@_FAULT_UNKNOWN_TYPE, {schema.framing.offset("type")}, 0);
\t}}
}}"""


def _decode_field(field: Field) -> str:
    if field.equals is None:
        return values.take(field.type, "&cursor", str(field.number), f"message->{field.c_name}")
    bits = wire_bits(field, field.equals)
    return f"@p@_take_constant(&cursor, {field.number}, {field.max_size}, {bits})"


def _decode_later(field: Field, decoding: str) -> str:
    """Generate a C condition: run `decoding`, or set the default if the version lacks the field."""
    if field.equals is not None:
        return f"(version < {field.since} || {decoding})"
    instead = values.assign(field.type, f"message->{field.c_name}", field.default)
    after = "@p@_end(&cursor)" if isinstance(field.type, Tail) else "true"
    return f"(version < {field.since} ? ((void)({instead}), {after}) :\n\t\t\t({decoding}))"
