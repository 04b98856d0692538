"""The faults that a frame can have, and the checks that find them. All decoders share both.

A protocol may send a fault's number as an error code. Protocols define their own codes from 64 on.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_OWN_CODE = 64


@dataclass(frozen=True, slots=True)
class Fault:
    """A reason for which decoders refuse a frame."""

    name: str
    number: int
    doc: str


FAULTS = (
    Fault("unknown_type", 1, "No message has this type."),
    Fault("bad_direction", 2, "Only the other side may send this message."),
    Fault("reserved_flags", 3, "The header's flags are not 0."),
    Fault("bad_id", 4, "The id is 0 but the message needs one, or not 0 but the message has none."),
    Fault("body_too_long", 5, "The body is longer than this message's maximum."),
    Fault("truncated", 6, "A field, or the length of a field, extends beyond the body."),
    Fault("too_long", 7, "A value of variable length is longer than its bound."),
    Fault("too_many", 8, "A list has more items than its bound."),
    Fault("total_too_long", 9, "The items of a list, with their lengths, exceed its total bound."),
    Fault("unknown_value", 10, "A value is not among those that its field allows."),
    Fault("embedded_nul", 11, "A value that must not contain a NUL byte contains one."),
    Fault("trailing_bytes", 12, "The body continues after its last field."),
    Fault("not_utf8", 13, "Text is not valid UTF-8."),
    Fault("not_finite", 14, "A float that must be finite is a NaN or an infinity."),
    Fault("bad_check", 15, "The frame's check is wrong."),
    Fault("bad_stuffing", 16, "The bytes between two delimiters are not a stuffed frame."),
)


@dataclass(frozen=True, slots=True)
class Check:
    """A check that decoders make.

    :ivar of: Subject of the check: the header, a field of a certain type, or the end of the body.
        Empty for the subject of the previous check.
    :ivar rule: Condition that must hold.
    :ivar fault: Name of the fault that is reported otherwise.
    :ivar offset: Description of the reported offset, or the name of the header field there.
    :ivar only: Framing features, separated by spaces; the check is made if the framing has one of
        them. Empty for every framing.
    """

    of: str
    rule: str
    fault: str
    offset: str
    only: str = ""


# Decoders make the checks in this order: the header, each field by its type, the end of the body.
# If a frame has several faults, the order decides which of them is reported.
CHECKS = (
    Check("a stuffed frame", "the last run ends at its end", "bad_stuffing", "0", only="cobs"),
    Check("a frame", "it has a header and a check", "truncated", "its end", only="cobs datagram"),
    Check("the header", "a message has this type", "unknown_type", "type"),
    Check("", "this side may send the message", "bad_direction", "type"),
    Check("", "the flags are 0", "reserved_flags", "flags", only="flags"),
    Check("", "the id is 0, or is not 0, as the message requires", "bad_id", "id", only="id"),
    Check("", "the body does not exceed the message's maximum", "body_too_long", "body_length"),
    Check("the check", "it is the check of this frame", "bad_check", "the check", only="check"),
    Check("a number", "the body contains all of its bytes", "truncated", "its first byte"),
    Check(
        "",
        "a `bool` is 0 or 1, a closed enum has a named value, closed flags have only named bits, "
        "and a field with one valid value has this value",
        "unknown_value",
        "its first byte",
    ),
    Check("", "a float is finite, if the field requires it", "not_finite", "its first byte"),
    Check("an array of `u8`", "the body contains all of its bytes", "truncated", "its first byte"),
    Check("another array, a struct", "the checks of its elements or fields, in order", "", ""),
    Check("`bytes`, `text`", "the body contains the length", "truncated", "the length"),
    Check("", "the length is within the bound", "too_long", "the length"),
    Check("", "the body contains that many bytes", "truncated", "after the length"),
    Check("", "none of them is NUL, if the field forbids it", "embedded_nul", "the first NUL"),
    Check("", "text is UTF-8", "not_utf8", "the first invalid sequence"),
    Check("a list", "the body contains the count", "truncated", "the count"),
    Check("", "the count is within the bound", "too_many", "the count"),
    Check("each item of a list", "the checks of the item's type", "", ""),
    Check("", "all `bytes` up to this one are within the total", "total_too_long", "its length"),
    Check("a `tail`", "the rest of the body is within the bound", "too_long", "its first byte"),
    Check("the end", "no bytes are left", "trailing_bytes", "the first byte left"),
)
