"""Generate the Python code that depends on the framing: checksums, COBS, and the decoder."""

from __future__ import annotations

import re

from microvm_proto.backends.python import runtime
from microvm_proto.backends.python.naming import header_names
from microvm_proto.framing import Framing
from microvm_proto.schema import Schema
from microvm_proto.variants import variant


def seal(schema: Schema) -> str:
    """Generate the Python functions that add and verify a frame's checksum and COBS encoding."""
    older = (
        f"    if version < {since}:\n        return 0x{seed:X}\n"
        for seed, since in schema.older_seeds
    )
    seed = f"{''.join(older)}    return 0x{schema.seed:X}"
    return variant(_SEAL, schema.framing).replace("@seed@", seed)


def sealed(framing: Framing, header_and_body: str) -> str:
    """Return the Python expression that adds the checksum and the COBS encoding to a frame."""
    if framing.check_size:
        return f"_sealed({header_and_body}, version)"
    return f"_stuffed({header_and_body})" if framing.kind == "cobs" else header_and_body


def decoder(framing: Framing) -> str:
    """Generate the Python decoder, which finds frames in received bytes."""
    code = _DECODER if framing.resynchronises else runtime.DECODER
    for name in ("init", "version", "refused"):
        code = code.replace(f"@{name}@\n", getattr(runtime, name.upper()).lstrip("\n"))
    code = variant(code, framing)
    names = header_names(framing)
    if not framing.id:
        code = re.sub(r"@header@ = (\S.*\))", r"@header@ = (*\1, 0)", code)
        names.append("id_")
    accepted = ["number", *["sequence"] * framing.sequence]
    values = {
        "header": ", ".join(names),
        "accepted": ", ".join(accepted),
        "accept": ", ".join(f"{name}: int" for name in accepted),
        **{f"{name}_at": str(framing.offset(name)) for name in ("type", "flags", "id")},
    }
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], code)


_SEAL = """
@if crc16
def _crc(data: bytes) -> int:
    return binascii.crc_hqx(data, 0xFFFF)


@end
@if crc32c
def _crc_of_byte(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


_CRCS = tuple(map(_crc_of_byte, range(256)))


def _crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRCS[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@end
@if cobs
_CODES = tuple(bytes([code]) for code in range(1, 256))


def _stuffed(frame: bytes) -> bytes:
    parts = []
    at = 0
    while True:
        zero = frame.find(0, at, at + 254)
        run = frame[at : at + 254 if zero < 0 else zero]
        parts.append(_CODES[len(run)])
        parts.append(run)
        at += len(run)
        if zero >= 0:
            at += 1
        elif at == len(frame):
            return b"".join((*parts, b"\\0"))


def _unstuffed(data: bytes, most: int) -> bytes | None:
    # Decodes COBS; returns None if the data ends too early. If more than `most` bytes are decoded,
    # returns only `most` + 1 of them, so that the caller sees that the frame is too long.
    parts = []
    at, end = 0, len(data)
    while at < end:
        code = data[at]
        parts.append(data[at + 1 : at + code])
        at += code
        if code < 0xFF and at < end:
            parts.append(b"\\0")
    bare = b"".join(parts)
    return None if at > end and len(bare) <= most else bare[: most + 1]


@end
@if check
def _seed(version: int) -> int:
    # Returns the number with which checksums are XORed. It identifies the schema and version, so
    # that a decoder rejects frames of a sender that has another schema.
@seed@


def _seed_of(frame: bytes) -> int:
    # Returns the number with which the sender has XORed the checksum of the frame.
    return _crc(frame[:-CHECK_SIZE]) ^ int.from_bytes(frame[-CHECK_SIZE:], "little")


@end
def _sealed(frame: bytes, version: int) -> bytes:
@if check
    frame += (_crc(frame) ^ _seed(version)).to_bytes(CHECK_SIZE, "little")
@end
@if cobs
    return _stuffed(frame)
@else
    return frame
@end
"""

_DECODER = '''
@if sequence
class Encoder:
    """An encoder of the messages that one side sends. It numbers the frames."""

    def __init__(self, version: int = VERSION) -> None:
        """Create an encoder for the version that both sides agreed on."""
        self.version = version
        self._sequence = 0

    def encode(self, message: Message) -> bytes:
        """Encode the message as the next frame.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        frame = message.encode(self.version, self._sequence)
        self._sequence = (self._sequence + 1) & 0xFF
        return frame


@end
class Decoder:
    """A decoder of the frames that one side sends. After a bad frame it continues with the next.

@if datagram
    Pass each datagram to :meth:`receive_data`, then call :meth:`next_message` once. Counters never
    decrease. Byte counts are those on the wire.
@else
    Pass each chunk of bytes to :meth:`receive_data`, then call :meth:`next_message` until it
    returns None. A chunk may begin and end anywhere. The decoder stores at most one frame in
    addition to the last chunk. Counters never decrease. Byte counts are those on the wire.
@end

    :ivar frames: Number of messages that were decoded.
    :ivar bad: Number of bad frames. A run of bytes that contains no frame counts as one.
@if check
    :ivar foreign: Number of bad frames whose wrong checksum is correct for the same seed as that of
        the frame before. This happens if the sender has another schema, but hardly ever if frames
        are damaged in transit.
@end
    :ivar skipped: Number of bytes that were rejected.
@if sequence
    :ivar lost: Number of frames that are missing between the received sequence numbers.
@end
    :ivar error: Error of the last frame or bytes that were rejected, or None.
    """

@init@
        self.frames = self.bad = self.skipped = 0
        self.error: DecodeError | None = None
@if check
        self.foreign = 0
        self._seed = _seed(version)
@end
@if sequence
        self.lost = 0
        self._next: int | None = None
@end
@if datagram
        self._frame: bytes | None = None
@else
        self._data = bytearray()
        self._at = 0
@end
@if cobs
        self._longest = max((rule.max_body for rule in _RULES if sender in rule.senders), default=0)
        self._longest += HEADER_SIZE + CHECK_SIZE
        self._beyond = 0
@end
@if stream
        self._searching = False
@end

@version@

@if datagram
    def receive_data(self, data: bytes) -> None:
        """Set the datagram to decode. Its message may refer to `data` without a copy."""
        self._frame = data if type(data) is bytes else bytes(data)

    def next_message(self) -> Message | None:
        """Return the message of the last datagram, or None if the datagram is invalid.

        A second call for the same datagram returns None. A tail is a view of the received bytes.
        All other values are copies.
        """
        frame, self._frame = self._frame, None
        return None if frame is None else self._decoded(frame, len(frame))
@end
@if cobs stream
    def receive_data(self, data: bytes) -> None:
        """Add the next bytes of the stream."""
@if cobs
        if self._beyond:
            end = data.find(0)
            self._beyond += len(data) if end < 0 else end
            data = b"" if end < 0 else data[end:]
@end
        del self._data[: self._at]
        self._data += data
        self._at = 0

    def next_message(self) -> Message | None:
        """Return the next complete message, or None if more bytes are needed.

        A tail is a view of the bytes of its frame. All other values are copies.
        """
@end
@if cobs
        while (end := self._data.find(0, self._at)) >= 0:
            stuffed = bytes(self._data[self._at : end])
            self._at = end + 1
            if stuffed:
                size = len(stuffed) + 1 + self._beyond
                self._beyond = 0
                frame = _unstuffed(stuffed, self._longest)
                if frame is None:
                    self._refuse(DecodeError(Fault.BAD_STUFFING, 0), size)
                elif (message := self._decoded(frame, size)) is not None:
                    return message
        # If a frame is too long, keep only as many bytes of it as are needed to reject it.
        most = self._longest + self._longest // 254 + 3
        self._beyond += max(0, len(self._data) - self._at - most)
        del self._data[self._at + most :]
        return None
@end
@if stream
        while self._at + HEADER_SIZE <= len(self._data):
            @header@ = _HEADER.unpack_from(self._data, self._at)
            rule = self._own.get(number)
            if rule is None or flags or id_ not in rule.ids or length > rule.max_body:
                self._skip(self._refused(length, number, flags, id_))
                continue
            end = HEADER_SIZE + length
            size = end + CHECK_SIZE
            if self._at + size > len(self._data):
                break
            frame = bytes(self._data[self._at : self._at + size])
            is_own = (seed := _seed_of(frame)) == _seed(self.version)
            if not is_own and not self._is_foreign(seed):
                self._skip(DecodeError(Fault.BAD_CHECK, end))
                continue
            # The checksum proves where the frame ends, so continue there even if the frame is bad.
            self._at += size
            self._searching = False
            try:
                if not is_own:
                    raise DecodeError(Fault.BAD_CHECK, end)
                message = rule.decode(id_, frame, HEADER_SIZE, end)
            except DecodeError as error:
                self._refuse(error, size)
            else:
                self._accept(@accepted@)
                return message
        return None

    def _skip(self, error: DecodeError) -> None:
        # No frame begins at the current byte, so try the next byte.
        self._at += 1
        if not self._searching:
            self.bad += 1
            self.error = error
        self.skipped += 1
        self._searching = True
@else

    def _decoded(self, frame: bytes, size: int) -> Message | None:
        end = len(frame) - CHECK_SIZE
        try:
            if end < HEADER_SIZE:
                raise DecodeError(Fault.TRUNCATED, len(frame))
            @header@ = _HEADER.unpack_from(frame)
            rule = self._own.get(number)
            if rule is None or id_ not in rule.ids or end - HEADER_SIZE > rule.max_body:
                raise self._refused(number, id_)
@if check
            if (seed := _seed_of(frame)) != _seed(self.version):
                self._is_foreign(seed)
                raise DecodeError(Fault.BAD_CHECK, end)
@end
            message = rule.decode(id_, frame, HEADER_SIZE, end)
        except DecodeError as error:
            self._refuse(error, size)
            return None
        self._accept(@accepted@)
        return message
@end

    def _refuse(self, error: DecodeError, size: int) -> None:
        self.bad += 1
        self.skipped += size
        self.error = error

    def _accept(self, @accept@) -> None:
        self.frames += 1
@if check
        self._seed = _seed(self.version)
@end
@if sequence
        gap = (sequence - self._next) & 0xFF if self._next is not None else 0
        # If the number is lower than expected, the datagram is late, so no frame counts as lost.
        if gap < 128:
            self.lost += gap
            self._next = sequence + 1
@end
@if check

    def _is_foreign(self, seed: int) -> bool:
        again = self._seed == seed
        self._seed = seed
        self.foreign += again
        return again
@end

@refused@
'''
