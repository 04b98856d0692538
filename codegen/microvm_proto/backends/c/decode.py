"""The functions of the C header that decode the body of a message."""

from __future__ import annotations

from microvm_proto.backends.c.text import boolean, c_type, is_known, literal, wire_bits
from microvm_proto.schema import Message, Schema
from microvm_proto.types import ByteList, Bytes, Enum, Field, Integer, Tail


def decode_message(name: str, message: Message) -> str:
    """Write the function that decodes the body of one message."""
    has_struct = bool(message.visible)
    target = f"struct {name}_{message.name} *message, " if has_struct else ""
    steps = [
        _decode_later(field, step) if message.is_later(field) else step
        for field in message.fields
        for step in [_decode_field(field)]
    ]
    if not message.fields or not isinstance(message.fields[-1].type, Tail):
        steps.append("@p@_end(&cursor)")
    body = " &&\n\t\t".join(steps)
    unused = "" if len(message.versions) > 1 else "\n\t(void)version;"
    return f"""static inline bool @p@_decode_{message.name}(const uint8_t *body, size_t size,
\tuint32_t version, {target}struct @p@_fault_at *fault)
{{
\tstruct @p@_cursor cursor = {{ body, size, 0, fault }};
{unused}
\treturn {body};
}}"""


def decode_any(schema: Schema) -> str:
    """Write the function that decodes a body by the type in its header."""
    cases = "".join(
        f"\tcase @P@_TYPE_{message.name.upper()}:\n"
        f"\t\treturn @p@_decode_{message.name}(body, header->body_length, version, "
        f"{f'&out->{message.name}, ' if message.visible else ''}fault);\n"
        for message in schema.messages
    )
    return f"""/* Decodes the body behind a header that has passed its check. */
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


def _decode_later(field: Field, step: str) -> str:
    """Write the step for a field that older versions do not have."""
    if field.equals is not None:
        return f"(version < {field.since} || {step})"
    instead = f"message->{field.name} = {_default(field)}"
    after = "@p@_end(&cursor)" if isinstance(field.type, Tail) else "true"
    return f"(version < {field.since} ? ((void)({instead}), {after}) :\n\t\t\t({step}))"


def _default(field: Field) -> str:
    match field.type:
        case Bytes() | Tail():
            return "@p@_no_slice()"
        case ByteList():
            return "@p@_no_list()"
        case _:
            return f"({c_type(field)}){literal(field.default)}"


def _decode_field(field: Field) -> str:
    into, number = f"&message->{field.name}", field.number
    match field.type:
        case Integer(size=size, signed=signed):
            if field.equals is not None:
                bits = wire_bits(field, field.equals)
                return f"@p@_take_constant(&cursor, {number}, {size}, {bits})"
            suffix = f"{'i' if signed else 'u'}{8 * size}"
            return f"@p@_take_{suffix}(&cursor, {number}, {into})"
        case Enum(base=base, closed=closed) as enum:
            take = f"@p@_take_{base.name}(&cursor, {number}, {into})"
            if not closed:
                return take
            known = is_known(enum, field)
            return f"{take} &&\n\t\t@p@_known(&cursor, {number}, {base.size},\n\t\t\t{known})"
        case Bytes(maximum=maximum, nul=nul):
            return f"@p@_take_bytes(&cursor, {number}, {maximum}, {boolean(nul)}, {into})"
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            bounds = f"{items}, {item}, {total}"
            return f"@p@_take_list(&cursor, {number}, {bounds},\n\t\t\t{boolean(nul)}, {into})"
        case Tail(maximum=maximum):
            return f"@p@_take_tail(&cursor, {number}, {maximum}, {into})"
        case _:
            raise NotImplementedError
