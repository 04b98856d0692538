"""The one taxonomy of malformed frames, shared by every decoder that is generated.

Codes are wire numbers where a protocol reports them; those from 64 on are a protocol's own.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_OWN_CODE = 64


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a frame can be malformed; `offset` says where a decoder reports it."""

    name: str
    number: int
    doc: str
    offset: str


# Decoders check the header in this order, then the fields in theirs.
FAULTS = (
    Fault("unknown_type", 1, "No message has this type.", "4"),
    Fault("bad_direction", 2, "The other side sends this message.", "4"),
    Fault("reserved_flags", 3, "The header's flags are not 0.", "6"),
    Fault("bad_id", 4, "The id is 0 where one is needed, or not 0 where none is.", "8"),
    Fault("body_too_long", 5, "The body is longer than any body of this type.", "0"),
    Fault("truncated", 6, "A field, or its length, ends beyond the body.", "its first byte"),
    Fault("too_long", 7, "A variable-length value is above its bound.", "its length prefix"),
    Fault("too_many", 8, "A list has more items than its bound.", "its count"),
    Fault(
        "total_too_long",
        9,
        "A list's items, with their prefixes, are longer than its bound.",
        "the prefix of the item that goes beyond",
    ),
    Fault("unknown_value", 10, "A value that a closed enum or a constant does not have.", "it"),
    Fault("embedded_nul", 11, "A NUL byte where none may be.", "the NUL"),
    Fault("trailing_bytes", 12, "The body goes on after its last field.", "the first of them"),
)
