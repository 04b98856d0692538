"""The backend `markdown`: a specification from which the protocol can be implemented."""

from __future__ import annotations

from microvm_proto.backends.markdown import types
from microvm_proto.backends.markdown.types import table
from microvm_proto.digest import wire_digest
from microvm_proto.faults import CHECKS, FAULTS
from microvm_proto.schema import HEADER_SIZE, Message, Output, Schema


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Write the specification, which is one file."""
    parts = [
        f"# The protocol of {schema.name}, version {schema.version}",
        f"Generated from `{schema.source}` by `microvm-proto gen`; {_digests(schema)}.",
        schema.doc,
        _FRAMING.format(header=HEADER_SIZE) + _longest(schema),
        types.section(schema),
        _faults(),
        _VERSIONS,
        *(f"## {section.title}\n\n{section.text}" for section in schema.sections),
        _constants(schema),
        "## Messages",
        _overview(schema),
        *(_message(message) for message in schema.messages),
        *types.declarations(schema),
    ]
    return {output.path.name: "\n\n".join(part for part in parts if part) + "\n"}


def _faults() -> str:
    codes = {fault.name: str(fault.number) for fault in FAULTS}
    rows = [
        (
            check.of,
            check.rule,
            f"`{check.fault}`" if check.fault else "",
            codes.get(check.fault, ""),
            check.offset,
        )
        for check in CHECKS
    ]
    head = ("of", "what is checked", "if not", "code", "offset reported")
    return f"{_MALFORMED}\n\n{table(head, rows)}"


def _digests(schema: Schema) -> str:
    older = schema.versions[-2::-1]
    said = [f"that of version {n} was `{wire_digest(schema.at(n)):016x}`" for n in older]
    return ";\n".join([f"schema digest `{schema.digest:016x}`", *said])


def _longest(schema: Schema) -> str:
    """Write a sentence about the longest frame of each end."""
    sizes = ((end, HEADER_SIZE + schema.max_body_from(end)) for end in schema.ends)
    longest = " and ".join(f"{size} bytes from the {end}" for end, size in sizes)
    return f"The longest frame has {longest}."


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


def _message(message: Message) -> str:
    about = f"Type {message.number}, sent by {message.sender}, id {message.id}"
    about += f", since version {message.since}" if message.since > 1 else ""
    frozen = "; the layout is frozen" if message.frozen else ""
    text = f"### {message.name}\n\n{about}{frozen}. {message.doc}"
    if not message.fields:
        return f"{text}\n\nThe body is empty."
    rows = [
        (
            str(field.number),
            "…" if field.offset is None else str(HEADER_SIZE + field.offset),
            f"`{field.name}`",
            types.type_of(field),
            field.doc + (types.since(field) if message.is_later(field) else ""),
        )
        for field in message.fields
    ]
    return f"{text}\n\n{table(('#', 'offset', 'field', 'type', 'meaning'), rows)}"


_FRAMING = """## Framing

Everything is a frame: a header of {header} bytes and a body. All integers are little-endian and
unaligned.

| offset | field | type | meaning |
|---|---|---|---|
| 0 | `body_length` | `u32` | bytes after the header |
| 4 | `type` | `u16` | which message |
| 6 | `flags` | `u16` | reserved, 0 |
| 8 | `id` | `u32` | what the message is about; 0 where it has none |

`body_length` is checked against the longest body of its type before any of the body is buffered.
There is neither a magic number nor a checksum per frame: the transport is reliable, and a body may
contain anything. """

_MALFORMED = """## Malformed frames

A decoder checks a header as soon as its 12 bytes are there, and a body when all of it is: its
fields one after the other, each by its type, then its end. It checks in the order of this table,
and reports the first fault alone: its code, the offset from the start of the frame, and the number
of the field, counted from 1; 0 stands for the header and for what is left behind the last field."""

_VERSIONS = """## Versions

A side that speaks a version speaks every older one, too. Two sides speak the lower of their
versions, and then nothing that came later is on the wire: what came later among messages is an
unknown type, among the values of a closed enum an unknown value. Fields are only added, at the
end but before a tail; one that came later is not in the body, nor counted in the longest that it
can be, and the reader takes the value that is given for it. A writer does not send what the version
cannot carry: it refuses. Fields are numbered in the order in which they came, so that a tail keeps
its number. A message whose layout is frozen is the same in every version."""
