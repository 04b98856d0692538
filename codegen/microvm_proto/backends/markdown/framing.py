"""Generate the section of a specification on frames: their layout, checksum and counters."""

from __future__ import annotations

from microvm_proto.backends.markdown.types import table
from microvm_proto.framing import CHECKS
from microvm_proto.schema import Schema
from microvm_proto.variants import variant


def section(schema: Schema) -> str:
    """Generate the section of the specification that describes frames."""
    framing = schema.framing
    meanings = dict(MEANINGS)
    if framing.check_size:
        meanings["body_length"] += ", without the checksum"
    rows = [
        (str(each.offset), f"`{each.name}`", f"`u{8 * each.size}`", meanings[each.name])
        for each in framing.header
    ]
    values = {
        "header": str(framing.header_size),
        "check": str(framing.check_size),
        "crc": CHECKS[framing.check].doc,
        "seeds": _seeds(schema),
        "fields": table(("offset", "field", "type", "meaning"), rows),
        "longest": _longest(schema),
    }
    text = variant(_FRAMING, framing)
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text.rstrip("\n")


def _seeds(schema: Schema) -> str:
    """Return the seeds, each with its first version, as text. Checksums are XORed with a seed."""
    each = (
        f"`{seed:#x}`{f' since version {since}' if since > 1 else ''}"
        for since, seed in schema.seeds
    )
    return ", ".join(each)


def _longest(schema: Schema) -> str:
    """Return a sentence that says how long the longest frame of each side of the protocol is."""
    sizes = ((end, schema.framing.wire_size(schema.max_body_from(end))) for end in schema.ends)
    longest = " and ".join(f"{size} bytes from the {end}" for end, size in sizes)
    where = " on the wire" if schema.framing.kind == "cobs" else ""
    return f"The longest frame has {longest}{where}."


MEANINGS = {
    "body_length": "number of bytes after the header",
    "type": "type of the message",
    "flags": "reserved; must be 0",
    "id": "id of the object that the message is about; 0 if the message has no id",
    "sequence": "sequence number of the frame, from 0 on, modulo 256; each end has its own",
}
"""The meaning of each field in the header of a frame."""

_FRAMING = """## Framing

@if check
Both ends send only frames. A frame has a header of @header@ bytes, a body, and a checksum of
@check@ bytes. All integers are little-endian and unaligned.
@else
Both ends send only frames. A frame has a header of @header@ bytes and a body. All integers are
little-endian and unaligned.
@end

@fields@

@if none stream
@if stream
A receiver checks `body_length` against the maximum for the type before it buffers any of the body.
@end
@end
@if cobs
On the wire a frame is encoded with COBS (Consistent Overhead Byte Stuffing). An encoded frame
contains no zero byte, and a zero byte follows it; further zero bytes have no effect. An encoded
frame consists of runs. The first byte of a run is the length of the run, this byte included. Then
follow bytes of the frame, none of which is zero. After each run that is shorter than 255 bytes and
is not the last run, the frame has a zero byte. An encoder uses as few runs as possible. If a run
extends beyond the end of the encoded frame, a decoder reports `bad_stuffing`. A sender may also
send zero bytes before a frame. Then the frame is not lost if the end of the previous frame was
damaged.

@end
@if datagram
Each datagram is one frame.

@end
@if check
The checksum of header and body is XORed with the seed of the version that both ends use:
@seeds@. A seed is derived from the parts of the schema that give the bytes their meaning, names
included. If the schemas of two ends differ in these parts, each rejects the frames of the other.
The checksum is
@crc@.

@end
@if cobs datagram check
A receiver skips everything that it rejects. It counts:

- valid frames
@if stream
- bad frames. A run of bytes that contains no frame counts as one bad frame. If the header or the
  checksum is wrong, the end of the frame is unknown, so a receiver looks for the next frame from
  the next byte on
@else
- bad frames, which it rejects
@end
@if check
- foreign frames: a bad frame is foreign if its checksum is correct for another seed, the last frame
  with a wrong checksum was correct for that seed too, and no valid frame came between the two. A
  sender with another schema causes foreign frames
@end
@if sequence
- lost frames: those whose sequence numbers are missing. If a number is more than 127 ahead, it
  belongs to an older frame that arrived out of order, and does not change this counter
@end
- bytes on the wire of everything that is bad

@end
@if none
@if stream
Frames have neither a magic number nor a checksum, because the transport must be reliable. A body
may contain any bytes. @longest@
@else
Frames have no checksum, so a damaged frame can be mistaken for another message.
@longest@
@end
@else
@longest@
@end
"""
