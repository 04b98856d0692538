"""The backend `c`: one header of C99 that decodes in place and encodes into a buffer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from microvm_proto.backends.c import (
    declare,
    decode,
    elements,
    encode,
    header,
    receiver,
    runtime,
    table,
)
from microvm_proto.backends.c.text import comment
from microvm_proto.digest import wire_digest
from microvm_proto.faults import FAULTS
from microvm_proto.schema import Output, Schema

STYLES = ("inline", "table")
MOST_INLINE = 25
"""The messages up to which the style is `inline`, unless the schema says which."""


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Write the header, in which every name starts with the schema's.

    Templates have `@p@` for that name, and `@P@` for it in capitals.
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
            "The two ends; a message's sender is one of them, or both.",
            [(end, number, "") for number, end in enumerate(schema.ends, 1)] + [("both", 3, "")],
        ),
        declare.enum(
            name,
            "fault",
            "The faults of a malformed frame; 0 stands for none.",
            faults,
        ),
        declare.enum(name, "type", "The messages.", types),
        declare.names("fault", "enum @p@_fault fault", _named(faults)),
        declare.names(
            "message", "uint16_t type", ((f"type_{m.c_name}", m.name) for m in schema.messages)
        ),
        *(declare.schema_enum(name, enum) for enum in schema.enums),
        *(declare.flags(name, flags) for flags in schema.flags),
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
        receiver.receiver(schema) if framing.given else "",
        "#endif",
    ]
    text = "\n\n".join(part.strip("\n") for part in parts if part) + "\n"
    text = text.replace("@prefix@", str(schema.prefix.size))
    return {output.path.name: text.replace("@P@", name.upper()).replace("@p@", name)}


def _named(values: Iterable[tuple[str, int, str]]) -> Iterator[tuple[str, str]]:
    """Yield the constants of an enum, each with its name without the kind before it."""
    return ((constant, constant.partition("_")[2]) for constant, *_ in values)


def _inline(schema: Schema) -> Iterator[str]:
    """Write what decodes and encodes the messages of a schema, as functions for each of them."""
    framing = schema.framing
    yield declare.rules(schema)
    yield header.check(framing)
    for message in schema.messages:
        yield decode.decode_message(schema.name, message)
    yield decode.decode_any(schema)
    yield runtime.CHECKS
    for message in schema.messages:
        yield encode.check(schema.name, message, framing)
        yield encode.encode_message(schema.name, message, framing)


def _top(schema: Schema) -> str:
    state = "and only a receiver keeps" if schema.framing.given else "or keeps"
    about = (
        f"The wire protocol of {schema.name}, version {schema.version}. Generated from "
        f"{schema.source} by `microvm-proto gen`. C99 and C++11, or later; of libraries it needs "
        f"string.h. Nothing in it allocates {state} state. Every value that is decoded has been "
        "checked against its bounds, and slices point into the frame."
    )
    return f"""{comment(about)}#ifndef @P@_PROTOCOL_H
#define @P@_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define @P@_VERSION {schema.version}u
#define @P@_SCHEMA_DIGEST 0x{wire_digest(schema):016x}ULL"""
