"""Generate test vectors for receivers: damaged streams of frames, and what a receiver must find."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from typing import Any

from microvm_proto.backends.vectors.notation import compact
from microvm_proto.backends.vectors.values import least_bytes
from microvm_proto.frame import write
from microvm_proto.framing import DELIMITER
from microvm_proto.schema import Message, Schema
from microvm_proto.stream import FrameReceiver

FORMAT = [
    "A stream consists of pieces. Give them to a receiver in order; with datagrams, each piece is "
    "one datagram. The receiver must return the messages that are given by name, id and sequence "
    "number. The expected counters at the end are: frames, bad, foreign, skipped, lost.",
    "For a flipped frame, repeat this test for each bit of the frame, from the lowest bit of the "
    "first byte on: invert the bit, and give the pieces before, frame and behind to a new "
    "receiver. The expected counters of all bits are a list of [counters, number of consecutive "
    "bits].",
]

_MOST = 4
"""Maximum number of messages of each side whose bits are inverted; more would test the same."""

_MOST_BEHIND = 16
"""Maximum number of frames that follow a frame in which a bit is inverted.

If the length in the header is damaged, a receiver may wait for as many bytes as the longest frame
has. So many frames must follow that it gets these bytes.
"""

_LONGEST = 64
"""Maximum size in bytes of a frame in which bits are inverted, as sent."""


def streams(schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield test vectors: damaged streams, and the messages and counters expected of a receiver."""
    for end in schema.ends:
        for message in schema.sent_by(end)[:1]:
            for name, pieces in _disturbed(schema, message, end):
                receiver = FrameReceiver(schema, end)
                found = [piece for data in _fed(schema, pieces) for piece in receiver.receive(data)]
                names = {each.number: each.name for each in schema.messages}
                handed = [
                    [names[piece.header("type")], piece.header("id"), piece.header("sequence")]
                    for piece in found
                    if not piece.error
                ]
                yield {
                    "name": f"{name}, by {end}",
                    "sender": end,
                    "pieces": [compact(piece) for piece in pieces],
                    "messages": handed,
                    "counts": list(astuple(receiver.counts)),
                }


def _fed(schema: Schema, pieces: Sequence[bytes]) -> list[bytes]:
    """Return `pieces` as a receiver gets them: each datagram on its own, or joined to a stream."""
    return [*pieces] if schema.framing.kind == "datagram" else [b"".join(pieces)]


def flipped(schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield test vectors: a frame, and a receiver's counters after inverting each of its bits."""
    for end in schema.ends:
        for message in schema.sent_by(end)[:_MOST]:
            before, frame = (_frame(schema, message, number) for number in (0, 1))
            longest = schema.framing.wire_size(schema.max_body_from(end))
            more = longest // len(frame) if schema.framing.kind == "stream" else 0
            if len(frame) > _LONGEST or more > _MOST_BEHIND:
                continue
            behind = [_ahead(schema) + _frame(schema, message, 2 + at) for at in range(1 + more)]
            counts = []
            for bit in range(8 * len(frame)):
                damaged = bytearray(frame)
                damaged[bit // 8] ^= 1 << bit % 8
                receiver = FrameReceiver(schema, end)
                for data in _fed(schema, [before, bytes(damaged), *behind]):
                    for _ in receiver.receive(data):
                        pass
                counts.append(list(astuple(receiver.counts)))
            yield {
                "name": f"{message.name} by {end}",
                "sender": end,
                "before": [compact(before)],
                "frame": compact(frame),
                "behind": [compact(each) for each in behind],
                "counts": [[each, len([*again])] for each, again in itertools.groupby(counts)],
            }


def _ahead(schema: Schema) -> bytes:
    """Return bytes to send after a damaged frame, so that a receiver finds the next frame.

    With COBS, they are a delimiter, because that of the damaged frame may be damaged, too.
    """
    return DELIMITER if schema.framing.kind == "cobs" else b""


def _frame(schema: Schema, message: Message, sequence: int, more: bytes = b"") -> bytes:
    body = _least_body(message) + more
    id_ = 1 if message.id == "required" else 0
    sequence &= 0xFF
    return schema.framing.wire(write(schema, message.number, id_, body, sequence=sequence))


@functools.lru_cache(maxsize=4)  # Hundreds of frames have the same body.
def _least_body(message: Message) -> bytes:
    return b"".join(map(least_bytes, message.fields))


def _disturbed(schema: Schema, message: Message, end: str) -> Iterator[tuple[str, list[bytes]]]:
    right = [_ahead(schema) + _frame(schema, message, number) for number in range(256)]
    cut = right[1][: len(right[1]) // 2]
    yield "nothing wrong", right[:3]
    yield "noise ahead", [b"\xa5\x5a\x01\xff", *right[:2]]
    yield "a truncated frame", [right[0], cut, *right[2:5]]
    yield "an additional byte", [right[0], right[1][:2] + b"\x2a" + right[1][2:], *right[2:5]]
    yield "noise behind", [*right[:2], b"\x01\x02"]
    wrong = [_frame(schema, message, number, b"\0") for number in (1, 2)]
    yield "bodies that are too long", [right[0], *wrong, right[3]]
    other = replace(schema, seeds=((1, schema.seed ^ 0x55),))
    foreign = [_ahead(schema) + _frame(other, message, number) for number in range(1, 4)]
    yield "frames of another schema", [right[0], *foreign, *right[4:6], foreign[0]]
    longest = schema.framing.wire_size(schema.max_body_from(end))
    if longest <= 1 << 12:
        yield "more than the longest frame", [b"\x01" * (longest + 4), *right[:3]]
    yield "missing sequence numbers", [*right[:2], right[7], right[9]]
    yield "sequence numbers that wrap around", [*right[254:], *right[:2]]
    yield "two frames out of order", [right[0], right[2], right[1], right[3]]
    yield "the same frame twice", [right[0], right[0], right[1]]
    for opposite in schema.sent_by(next(each for each in schema.ends if each != end))[:1]:
        if opposite.sender != "both":
            yield "frames of the other end", [right[0], _frame(schema, opposite, 1), right[1]]
