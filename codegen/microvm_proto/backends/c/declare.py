"""Generate the declarations of a C header: enums, sizes, structs, and a table of messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from microvm_proto.backends.c.text import c_type, comment, literal, value
from microvm_proto.schema import Message, Schema
from microvm_proto.types import Array, Enumerated, Field, Struct


def enum(prefix: str, noun: str, doc: str, values: Iterable[tuple[str, int, str]]) -> str:
    """Generate the C enum `PREFIX_NOUN` of named constants, with the comment `doc`.

    :param values: Name, number and documentation of each constant.
    """
    named = [(f"{prefix.upper()}_{value.upper()}", number, text) for value, number, text in values]
    return f"{comment(doc)}{_constants(f'enum {prefix}_{noun}', named)}"


def _constants(head: str, values: Iterable[tuple[str, int, str]]) -> str:
    """Generate a C enum that begins with `head`, and macros for values that do not fit an `int`.

    :param values: Name, number and documentation of each constant.
    """
    inside, beyond = [], []
    for name, number, text in values:
        if -(1 << 31) <= number < 1 << 31:
            inside.append(f"{comment(text, chr(9))}\t{name} = {literal(number)},")
        else:
            beyond.append(f"{comment(text)}#define {name} {literal(number)}")
    declared = [f"{head} {{\n" + "\n".join(inside) + "\n};"] if inside else []
    return "\n".join([*declared, *beyond])


def names(noun: str, parameter: str, constants: Iterable[tuple[str, str]]) -> str:
    """Generate a C function, such as `echo_fault_name`, that takes a number and returns its name.

    :param parameter: Declaration of the function's parameter, such as `uint16_t type`.
    :param constants: Each C constant, with the name that the function returns for it.
    """
    value = parameter.rsplit(maxsplit=1)[-1]
    cases = "".join(
        f'\tcase @P@_{constant.upper()}:\n\t\treturn "{name}";\n' for constant, name in constants
    )
    about = f'Returns the name of a {noun}, or "unknown" if no {noun} has this number.'
    return f"""{comment(about)}static inline const char *@p@_{noun}_name({parameter})
{{
\tswitch ({value}) {{
{cases}\t}}
\treturn "unknown";
}}"""


def constants(schema: Schema) -> str:
    """Generate C macros for the `[[constant]]` tables of the schema."""
    return "\n".join(
        f"{comment(constant.doc)}#define @P@_{constant.c_name.upper()} {value(constant.value)}"
        for constant in schema.constants
    )


def enumerated(name: str, kind: Enumerated) -> str:
    """Generate the C enum for `kind`: the values of an enum, or the mask of each bit of flags."""
    values = [(f"{kind.c_name}_{member}", number, doc) for member, number, doc in kind.constants]
    return enum(name, kind.c_name, kind.doc, values)


def sizes(schema: Schema) -> str:
    """Generate C constants: the header size, the longest bodies, and the bounds of fields."""
    framing = schema.framing
    values = [("HEADER_SIZE", framing.header_size), ("MAX_BODY", schema.max_body)]
    values += [("CHECK_SIZE", framing.check_size)] if framing.given else []
    for end in schema.ends:
        values.append((f"MAX_BODY_FROM_{end.upper()}", schema.max_body_from(end)))
        tailless = schema.max_body_from(end, tails=False)
        values.append((f"MAX_TAILLESS_BODY_FROM_{end.upper()}", tailless))
        if framing.given:
            longest = schema.max_body_from(end)
            values.append((f"MAX_FRAME_FROM_{end.upper()}", framing.wire_size(longest)))
            if framing.kind != "datagram":
                values.append((f"ROOM_FROM_{end.upper()}", framing.bare_size(longest)))
    for struct in schema.structs:
        values += [(f"{struct.c_name}_size", struct.size), *_of_fields(struct)]
    for message in schema.messages:
        values.append((f"{message.c_name}_max_body", message.max_body))
        if framing.given:
            values.append((f"{message.c_name}_max_frame", framing.wire_size(message.max_body)))
        values += _of_fields(message)
    named = [(f"@P@_{name.upper()}", size, "") for name, size in values]
    about = (
        "Sizes are in bytes; bounds of lists are numbers of items. MAX_TAILLESS_BODY is the "
        "largest body of the messages without a tail, most of which are small."
    )
    if framing.given:
        about += " MAX_FRAME is the size on the wire; ROOM is the size of a receiver's buffer."
    declared = f"{comment(about)}{_constants('enum', named)}"
    if schema.max_body >= 1 << 16:  # a processor of 16 bits, such as an AVR, cannot hold a frame
        declared += "\n\ntypedef char @p@_needs_size_t_of_4_bytes[sizeof(size_t) >= 4 ? 1 : -1];"
    return declared


def _of_fields(kind: Struct | Message) -> Iterator[tuple[str, int]]:
    """Yield names and values of C constants for the bounds of fields in a struct or message."""
    for field in kind.fields:
        for key, number in field.constants.items():
            yield f"{kind.c_name}_{field.c_name}_{key}", number


def struct(name: str, kind: Struct | Message) -> str:
    """Generate the C struct for a struct or message of the schema.

    The result is empty if a program cannot set any field of it, because all have fixed values.
    """
    lines = [f"{comment(f.about, chr(9))}\t{_member(f)};" for f in kind.fields if f.equals is None]
    if not lines:
        return ""
    return f"{comment(kind.doc)}struct {name}_{kind.c_name} {{\n" + "\n".join(lines) + "\n};"


def _member(field: Field) -> str:
    count = f"[{field.type.count}]" if isinstance(field.type, Array) else ""
    return f"{c_type(field.type)} {field.c_name}{count}"


def union(schema: Schema) -> str:
    """Generate the C union of the structs of all messages."""
    members = "\n".join(
        f"\tstruct @p@_{message.c_name} {message.c_name};"
        for message in schema.messages
        if message.visible
    )
    members = members or "\tchar none;"
    return f"/* The body of any message. */\nunion @p@_body {{\n{members}\n}};"


def rules(schema: Schema) -> str:
    """Generate the C table of rules for headers: the sender, id and size of each message."""
    identifiers = {"none": 0, "required": 1, "any": 2}
    rows = [
        f"\t{{ @P@_TYPE_{m.c_name.upper()}, @P@_{m.sender.upper()}, {identifiers[m.id]}, "
        f"{version}, {m.at(version).max_body} }},"
        for m in schema.messages
        for version in m.versions
    ]
    # No message has the number 0, so a row with this number marks the end of the table.
    rows.append("\t{ 0, 0, 0, 0, 0 },")
    return (
        "/* A rule for the header of a message. It applies to all versions from `since` on, up to\n"
        " * the next rule for the same type. */\n"
        "struct @p@_rule {\n\tuint16_t type;\n\tuint8_t sender;\n"
        "\tuint8_t id; /* 0: must be zero, 1: must not be zero, 2: any */\n\tuint32_t since;\n"
        "\tuint32_t max_body;\n};\n\n"
        "static const struct @p@_rule @p@_rules[] = {\n" + "\n".join(rows) + "\n};"
    )
