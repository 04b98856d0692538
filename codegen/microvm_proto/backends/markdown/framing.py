"""The section of the specification on frames: their shape, their end, what receivers count."""

from __future__ import annotations

from microvm_proto.backends.markdown.types import table
from microvm_proto.schema import Schema
from microvm_proto.variants import for_framing


def section(schema: Schema) -> str:
    """Write the section on frames."""
    framing = schema.framing
    meanings = dict(MEANINGS)
    if framing.check_size:
        meanings["body_length"] += ", the check not counted"
    rows = [
        (str(each.offset), f"`{each.name}`", f"`u{8 * each.size}`", meanings[each.name])
        for each in framing.header
    ]
    values = {
        "header": str(framing.header_size),
        "check": str(framing.check_size),
        "crc": framing.check_doc,
        "seeds": _seeds(schema),
        "fields": table(("offset", "field", "type", "meaning"), rows),
        "longest": _longest(schema),
    }
    text = for_framing(_FRAMING, framing)
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text.rstrip("\n")


def _seeds(schema: Schema) -> str:
    """Write the seeds and the versions from which on they are."""
    each = (
        f"`{seed:#x}`{f' since version {since}' if since > 1 else ''}"
        for since, seed in schema.seeds
    )
    return ", ".join(each)


def _longest(schema: Schema) -> str:
    """Write a sentence about the longest frame of each end."""
    sizes = ((end, schema.framing.wire_size(schema.max_body_from(end))) for end in schema.ends)
    longest = " and ".join(f"{size} bytes from the {end}" for end, size in sizes)
    where = " on the wire" if schema.framing.kind == "cobs" else ""
    return f"The longest frame has {longest}{where}."


MEANINGS = {
    "body_length": "bytes after the header",
    "type": "which message",
    "flags": "reserved, 0",
    "id": "what the message is about; 0 where it has none",
    "sequence": "the number of the frame, from 0 on and modulo 256, for each end by itself",
}
"""What the fields of a header are."""

_FRAMING = """## Framing

@if check
Everything is a frame: a header of @header@ bytes, a body, and a check of @check@ bytes. All
integers are little-endian and unaligned.
@else
Everything is a frame: a header of @header@ bytes and a body. All integers are little-endian and
unaligned.
@end

@fields@

@if none stream
@if stream
`body_length` is checked against the longest body of its type before any of the body is buffered.
@end
@end
@if cobs
On the wire a frame is stuffed (Consistent Overhead Byte Stuffing), so that it has no zero byte, and
a zero byte ends it; several in a row end one frame. A stuffed frame is made of runs. Each begins
with a byte that is the run's length, itself included, and goes on with that many bytes less one of
the frame, none of them zero; behind each run that is shorter than 255 bytes, and not the last, the
frame has a zero. There are as few runs as there can be. A frame whose runs do not end with it is
refused as `bad_stuffing`. A sender may put zeros before a frame, too: then no damage to the end of
another takes it along.

@end
@if datagram
Each datagram is one frame.

@end
@if check
The check is of header and body, XORed with the seed of the version that both ends speak:
@seeds@. A seed stands for all that gives the bytes a meaning, names
included: where two ends differ in that, each refuses what the other sends. The check is
@crc@.

@end
@if cobs datagram check
What is refused is skipped. A receiver counts

- frames that it hands on;
@if stream
- bad ones: frames that are refused, and bytes in a row that make no frame. When the header or the
  check is wrong nobody knows where the frame ends, and the next may begin with the next byte;
@else
- bad ones, which are refused;
@end
@if check
- foreign ones: bad frames whose check is right for another seed, and so was that of the last frame
  whose check was wrong, with no frame handed on between them. An end with another schema sends
  such;
@end
@if sequence
- lost frames: those whose numbers were left out. A number that is more than 127 ahead is behind
  instead, of a frame that was overtaken; it changes nothing;
@end
- the bytes on the wire of all that is bad.

@end
@if none
@if stream
There is neither a magic number nor a checksum per frame: the transport is reliable, and a body may
contain anything. @longest@
@else
There is no checksum per frame, so that what is damaged on its way can be taken for another message.
@longest@
@end
@else
@longest@
@end
"""
