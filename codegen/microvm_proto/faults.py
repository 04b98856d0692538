"""The faults that a frame can have, and the checks that find them; all decoders share them.

Codes are wire numbers where a protocol reports them; those from 64 on are a protocol's own.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_OWN_CODE = 64


@dataclass(frozen=True, slots=True)
class Fault:
    """A way in which a frame can be malformed."""

    name: str
    number: int
    doc: str


FAULTS = (
    Fault("unknown_type", 1, "No message has this type."),
    Fault("bad_direction", 2, "The other side sends this message."),
    Fault("reserved_flags", 3, "The header's flags are not 0."),
    Fault("bad_id", 4, "The id is 0 where one is needed, or not 0 where none is."),
    Fault("body_too_long", 5, "The body is longer than any body of this type."),
    Fault("truncated", 6, "A field, or its length, ends beyond the body."),
    Fault("too_long", 7, "A variable-length value is above its bound."),
    Fault("too_many", 8, "A list has more items than its bound."),
    Fault("total_too_long", 9, "A list's items, with their prefixes, are longer than its bound."),
    Fault("unknown_value", 10, "A value that its field cannot have."),
    Fault("embedded_nul", 11, "A NUL byte where none may be."),
    Fault("trailing_bytes", 12, "The body goes on after its last field."),
    Fault("not_utf8", 13, "Text that is not UTF-8."),
    Fault("not_finite", 14, "A NaN or an infinity where none may be."),
    Fault("bad_check", 15, "The check is not that of the frame."),
    Fault("bad_stuffing", 16, "The bytes between two delimiters are not a stuffed frame."),
)


@dataclass(frozen=True, slots=True)
class Check:
    """A check that decoders make.

    :ivar of: what is checked: the header, a field's type, or the body's end.
    :ivar rule: the condition that must hold.
    :ivar fault: the name of the fault if it does not.
    :ivar offset: the offset that is reported; of the header, the field that is there.
    :ivar only: features of a framing, one of which it takes for the check to be made.
    """

    of: str
    rule: str
    fault: str
    offset: str
    only: str = ""


# Decoders check in this order: the header, each field by its type, the end of the body. What the
# order decides is which of several faults is reported.
CHECKS = (
    Check("a stuffed frame", "its last run ends with it", "bad_stuffing", "0", only="cobs"),
    Check("a frame", "it has a header and a check", "truncated", "its end", only="cobs datagram"),
    Check("the header", "a message has this type", "unknown_type", "type"),
    Check("", "this side sends it", "bad_direction", "type"),
    Check("", "the flags are 0", "reserved_flags", "flags", only="flags"),
    Check("", "the id is 0 or is not, as the message has it", "bad_id", "id", only="id"),
    Check("", "the body is no longer than the message's longest", "body_too_long", "body_length"),
    Check("the check", "it is the frame's", "bad_check", "the check", only="check"),
    Check("a number", "all of its bytes are there", "truncated", "its first byte"),
    Check(
        "",
        "a bool is 0 or 1; a closed enum has the value, closed flags the bits; a constant is right",
        "unknown_value",
        "its first byte",
    ),
    Check("", "a float is finite, where it has to be", "not_finite", "its first byte"),
    Check("an array of `u8`", "all of its bytes are there", "truncated", "its first byte"),
    Check("another array, a struct", "all that is checked of what is in it, in order", "", ""),
    Check("`bytes`, `text`", "the length is there", "truncated", "the length"),
    Check("", "the length is within the bound", "too_long", "the length"),
    Check("", "so many bytes are there", "truncated", "behind the length"),
    Check("", "no NUL is among them, where none may be", "embedded_nul", "the first NUL"),
    Check("", "text is UTF-8", "not_utf8", "the first sequence that is none"),
    Check("a list", "the count is there", "truncated", "the count"),
    Check("", "the count is within the bound", "too_many", "the count"),
    Check("each item of it", "all that is checked of its type", "", ""),
    Check("", "`bytes` up to this one are within the bound in all", "total_too_long", "its length"),
    Check("a `tail`", "what is left is within the bound", "too_long", "its first byte"),
    Check("the end", "nothing is left", "trailing_bytes", "the first byte left"),
)
