"""The faults that a frame can have, and the checks that find them, which all decoders share.

A protocol can send the number of a fault as an error code. Its own error codes begin at 64.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_OWN_CODE = 64


@dataclass(frozen=True, slots=True)
class FrameFault:
    """A reason for which every decoder refuses a frame, such as a wrong type."""

    name: str
    number: int
    doc: str


FAULTS = (
    FrameFault("unknown_type", 1, "No message has this type."),
    FrameFault("bad_direction", 2, "Only the other side may send this message."),
    FrameFault("reserved_flags", 3, "The header's flags are not 0."),
    FrameFault(
        "bad_id", 4, "The id is 0 but the message needs one, or not 0 but the message has none."
    ),
    FrameFault("body_too_long", 5, "The body is longer than this message's maximum."),
    FrameFault("truncated", 6, "A field, or the length of a field, extends beyond the body."),
    FrameFault("too_long", 7, "A value of variable length is longer than its bound."),
    FrameFault("too_many", 8, "A list has more items than its bound."),
    FrameFault(
        "total_too_long", 9, "The items of a list, with their lengths, exceed its total bound."
    ),
    FrameFault("unknown_value", 10, "A value is not among those that its field allows."),
    FrameFault("embedded_nul", 11, "A value that must not contain a NUL byte contains one."),
    FrameFault("trailing_bytes", 12, "The body continues after its last field."),
    FrameFault("not_utf8", 13, "Text is not valid UTF-8."),
    FrameFault("not_finite", 14, "A float that must be finite is a NaN or an infinity."),
    FrameFault("bad_check", 15, "The frame's check is wrong."),
    FrameFault("bad_stuffing", 16, "The bytes between two delimiters are not a stuffed frame."),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for valid frames, and the fault that decoders report if a frame breaks the rule.

    :ivar subject: Subject of the rule: the header, a field of a certain type, or the end of the
        body. Empty if it is that of the previous rule.
    :ivar offset: Description of the offset that is reported, or the name of the header field at
        that offset.
    :ivar only: Features of a framing, separated by spaces. The rule applies only to framings that
        have one of them; if empty, to all.
    """

    subject: str
    condition: str
    fault: str
    offset: str
    only: str = ""


# Decoders check these rules in this order: the header, each field by its type, the end of the body.
# If a frame has several faults, the order decides which of them is reported.
CHECKS = (
    Rule("a stuffed frame", "the last run ends at its end", "bad_stuffing", "0", only="cobs"),
    Rule("a frame", "it has a header and a check", "truncated", "its end", only="cobs datagram"),
    Rule("the header", "a message has this type", "unknown_type", "type"),
    Rule("", "this side may send the message", "bad_direction", "type"),
    Rule("", "the flags are 0", "reserved_flags", "flags", only="flags"),
    Rule("", "the id is 0, or is not 0, as the message requires", "bad_id", "id", only="id"),
    Rule("", "the body does not exceed the message's maximum", "body_too_long", "body_length"),
    Rule("the check", "it is the check of this frame", "bad_check", "the check", only="check"),
    Rule("a number", "the body contains all of its bytes", "truncated", "its first byte"),
    Rule(
        "",
        "a `bool` is 0 or 1, a closed enum has a named value, closed flags have only named bits, "
        "and a field with one valid value has this value",
        "unknown_value",
        "its first byte",
    ),
    Rule("", "a float is finite, if the field requires it", "not_finite", "its first byte"),
    Rule("an array of `u8`", "the body contains all of its bytes", "truncated", "its first byte"),
    Rule("another array, a struct", "the checks of its elements or fields, in order", "", ""),
    Rule("`bytes`, `text`", "the body contains the length", "truncated", "the length"),
    Rule("", "the length is within the bound", "too_long", "the length"),
    Rule("", "the body contains that many bytes", "truncated", "after the length"),
    Rule("", "none of them is NUL, if the field forbids it", "embedded_nul", "the first NUL"),
    Rule("", "text is UTF-8", "not_utf8", "the first invalid sequence"),
    Rule("a list", "the body contains the count", "truncated", "the count"),
    Rule("", "the count is within the bound", "too_many", "the count"),
    Rule("each item of a list", "the checks of the item's type", "", ""),
    Rule("", "all `bytes` up to this one are within the total", "total_too_long", "its length"),
    Rule("a `tail`", "the rest of the body is within the bound", "too_long", "its first byte"),
    Rule("the end", "no bytes are left", "trailing_bytes", "the first byte left"),
)
