"""Generate a specification in Markdown that is sufficient to implement the protocol."""

from __future__ import annotations

from microvm_proto.backends.markdown import conversations, framing, types
from microvm_proto.backends.markdown.framing import MEANINGS
from microvm_proto.backends.markdown.types import table
from microvm_proto.digest import wire_digest
from microvm_proto.faults import CHECKS, FAULTS
from microvm_proto.framing import Framing
from microvm_proto.schema import Message, Output, Schema
from microvm_proto.variants import variant


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Generate the Markdown file of the specification."""
    parts = [
        f"# The protocol of {schema.name}, version {schema.version}",
        f"Generated from `{schema.source}` by `microvm-proto gen`; {_digests(schema)}.",
        schema.doc,
        framing.section(schema),
        types.section(schema),
        _faults(schema.framing),
        _VERSIONS,
        *(f"## {section.title}\n\n{section.text}" for section in schema.sections),
        *map(conversations.section, schema.conversations),
        _constants(schema),
        "## Messages",
        _overview(schema),
        *(_message(message, schema.framing) for message in schema.messages),
        *types.declarations(schema),
    ]
    return {output.path.name: "\n\n".join(part for part in parts if part) + "\n"}


def _faults(framing: Framing) -> str:
    codes = {fault.name: str(fault.number) for fault in FAULTS}
    offsets = {name: str(framing.offset(name)) for name in MEANINGS}
    rows = [
        (
            check.subject,
            check.condition,
            f"`{check.fault}`" if check.fault else "",
            codes.get(check.fault, ""),
            offsets.get(check.offset, check.offset),
        )
        for check in CHECKS
        if not check.only or not framing.features.isdisjoint(check.only.split())
    ]
    head = ("checked object", "rule", "fault", "code", "reported offset")
    malformed = variant(_MALFORMED, framing).replace("@header@", str(framing.header_size))
    return f"{malformed.rstrip()}\n\n{table(head, rows)}"


def _digests(schema: Schema) -> str:
    older = schema.versions[-2::-1]
    earlier = [f"that of version {n} was `{wire_digest(schema.at(n)):016x}`" for n in older]
    return ";\n".join([f"schema digest `{schema.digest:016x}`", *earlier])


def _constants(schema: Schema) -> str:
    if not schema.constants:
        return ""
    rows = [
        (
            f"`{constant.name}`",
            f"`{constant.value}`" if isinstance(constant.value, str) else f"{constant.value:#x}",
            constant.doc,
        )
        for constant in schema.constants
    ]
    return f"## Constants\n\n{table(('name', 'value', 'meaning'), rows)}"


def _overview(schema: Schema) -> str:
    return table(
        ("type", "name", "sender", "id", "body, bytes", "purpose"),
        (
            (
                str(m.number),
                f"[`{m.name}`](#{m.name})",
                m.sender,
                m.id,
                f"{m.min_body}" if m.min_body == m.max_body else f"{m.min_body} to {m.max_body}",
                m.doc,
            )
            for m in schema.messages
        ),
    )


def _message(message: Message, framing: Framing) -> str:
    about = f"Type {message.number}, sent by {message.sender}, id {message.id}"
    about += f", since version {message.since}" if message.since > 1 else ""
    frozen = "; the layout is frozen" if message.frozen else ""
    text = f"### {message.name}\n\n{about}{frozen}. {message.doc}"
    if not message.fields:
        return f"{text}\n\nThe body is empty."
    rows = [
        (
            str(field.number),
            "…" if field.offset is None else str(framing.header_size + field.offset),
            f"`{field.name}`",
            types.type_of(field),
            field.doc + (types.since(field) if message.is_later(field) else ""),
        )
        for field in message.fields
    ]
    return f"{text}\n\n{table(('#', 'offset', 'field', 'type', 'meaning'), rows)}"


_MALFORMED = """## Malformed frames

@if stream
A decoder checks a header as soon as it has received all @header@ bytes of it, and a body as soon as
it has received all of that. In a body it checks each field in turn by the rules of its type, then
the end of the body.
@else
A decoder first checks the header of a frame, then its body. In a body it checks each field in turn
by the rules of its type, then the end of the body.
@end
It applies the rules in the order of this table, and reports only the first fault: its code, its
offset from the start of the frame, and the number of the field, counted from 1. The number is 0 for
a fault in the header, and for bytes behind the last field.
@if cobs
Offsets refer to the frame before its encoding with COBS.
@end
"""

_VERSIONS = """## Versions

A side that supports a version supports every older version too. Both sides use the lower of their
highest versions. Then neither sends anything that a later version added. A decoder reports a
message that was added later as `unknown_type`, and a value of a closed enum or a bit of closed
flags that was added later as `unknown_value`.

A new version can add fields to a message only at its end, or before its tail. In older versions
these fields are not in the body, and do not count towards its maximum size. A decoder then uses the
value that is given for the field. An encoder rejects a message that the version cannot represent.
Fields are numbered in the order in which they were added, so a tail keeps its number. A message
whose layout is frozen is the same in every version."""
