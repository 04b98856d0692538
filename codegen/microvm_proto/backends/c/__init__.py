"""Generate a C99 header with an encoder and a decoder for every message of a schema.

The decoder does not copy: the decoded values point into the received frame. The encoder writes into
a buffer that the caller provides.
"""

from __future__ import annotations

from collections.abc import Iterator

from microvm_proto.backends.c import (
    declare,
    decode,
    elements,
    encode,
    header,
    receiver,
    runtime,
    states,
    table,
)
from microvm_proto.backends.c.text import comment
from microvm_proto.digest import wire_digest
from microvm_proto.faults import FAULTS
from microvm_proto.schema import Output, Schema

STYLES = ("inline", "table")
MOST_INLINE = 25
"""Maximum number of messages for which the style `inline` is the default; above it, `table` is."""


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Generate the C header. Every identifier in it starts with the name of the schema.

    In the templates of the header, `@p@` stands for the name of the schema, and `@P@` for that name
    in capitals.
    """
    name, framing = schema.name, schema.framing
    faults = [("fault_none", 0, ""), *((f"fault_{f.name}", f.number, f.doc) for f in FAULTS)]
    types = [(f"type_{m.c_name}", m.number, m.doc) for m in schema.messages] or [
        ("type_none", 0, "")
    ]
    style = output.style or ("table" if len(schema.messages) > MOST_INLINE else "inline")
    parts = [
        _top(schema),
        declare.constants(schema),
        declare.enum(
            name,
            "end",
            "The two ends of a connection. The sender of a message is one of them, or both.",
            [(end, number, "") for number, end in enumerate(schema.ends, 1)] + [("both", 3, "")],
        ),
        declare.enum(
            name,
            "fault",
            "Reasons for which a frame is rejected; 0 means that it is valid.",
            faults,
        ),
        declare.enum(name, "type", "The types of messages.", types),
        declare.names(
            "fault", "enum @p@_fault fault", ((name, name.partition("_")[2]) for name, *_ in faults)
        ),
        declare.names(
            "message", "uint16_t type", ((f"type_{m.c_name}", m.name) for m in schema.messages)
        ),
        *(declare.enumerated(name, kind) for kind in schema.enumerated),
        declare.sizes(schema),
        runtime.TYPES.replace("@header@", header.struct(framing)),
        *(declare.struct(name, struct) for struct in schema.structs_in_order),
        *(declare.struct(name, message) for message in schema.messages),
        declare.union(schema),
        runtime.CURSOR.replace("@put_header@", header.put(framing)),
        *runtime.of_types(schema),
        *elements.functions(schema),
        receiver.seal(schema) if framing.given else "",
        *(table.parts(schema) if style == "table" else _inline(schema)),
        *states.parts(schema, style),
        receiver.receiver(schema) if framing.given else "",
        "#endif",
    ]
    text = "\n\n".join(part.strip("\n") for part in parts if part) + "\n"
    text = text.replace("@prefix@", str(schema.prefix.size))
    return {output.path.name: text.replace("@P@", name.upper()).replace("@p@", name)}


def _inline(schema: Schema) -> Iterator[str]:
    """Generate the C functions of the style `inline`: a decoder and an encoder for each message."""
    yield declare.rules(schema)
    yield header.check(schema.framing)
    for message in schema.messages:
        yield decode.decode_message(message)
    yield decode.decode_any(schema)
    yield runtime.CHECKS
    for message in schema.messages:
        yield encode.check(schema, message)
        yield encode.encode_message(schema, message)


def _top(schema: Schema) -> str:
    state = "Only a receiver keeps state" if schema.framing.given else "It keeps no state"
    about = (
        f"The wire protocol of {schema.name}, version {schema.version}. Generated from "
        f"{schema.source} by `microvm-proto gen`. This header needs C99 or C++11, or later, and "
        f"string.h. It allocates no memory. {state}. Decoders check every value against its "
        "bounds. Decoded slices point into the frame, so keep the frame while you use them."
    )
    return f"""{comment(about)}#ifndef @P@_PROTOCOL_H
#define @P@_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define @P@_VERSION {schema.version}u
#define @P@_SCHEMA_DIGEST 0x{wire_digest(schema):016x}ULL"""
