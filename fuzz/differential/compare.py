"""The Python decoder and the C decoder, fed the same bytes in the same cuts, agree.

What is compared is a log, an entry a frame: type, id, error code, offset and field, how much has
been dropped before it, and of a right frame its message, encoded again. `decoder/replay.c` writes
it for what is shipped in C; here it is written with the codec that is shipped in Python.

A case is one pair of bytes and cuts. An example of Hypothesis yields many: itself, and mutations.
"""

from __future__ import annotations

import ctypes
import random
import struct
import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from hypothesis import strategies as st

from microvm.wire import codec
from microvm.wire.codec import ErrorCode

from .. import messages
from ..decoder.build import build
from ..frames import HEADER, HELLO, Event, Reader, pieces
from ..report import corpus
from ..strategies import Example, change, drawn, examples

ENTRY = struct.Struct("<QHIHIB")
END = struct.Struct("<QIII")

VARIANTS = 100
"""The mutations of an example; of one that is longer than LARGE there are two."""

LARGE = 2000

BATCH = 20
"""The examples between two looks at the clock."""


class _Log(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("data", ctypes.c_uint8 * (16 << 20)))


class Disagreement(AssertionError):
    """The two decoders do not say the same of these bytes."""

    def __init__(self, sender: str, data: bytes, cuts: Sequence[int], why: str) -> None:
        """Take who would have sent these bytes, and in what the two are not the same."""
        super().__init__(sender, data, cuts, why)  # as it is made again in another process
        self.sender = sender
        self.data = data
        self.cuts = cuts
        self.why = why

    def __str__(self) -> str:
        """Say it on a line."""
        cuts = list(self.cuts)[:40]
        return f"{len(self.data)} bytes of a {self.sender}, cut at {cuts}: {self.why}"


def library(folder: Path) -> Path:
    """Build the C decoder as a library.

    :raises FileNotFoundError: gcc is not installed.
    """
    flags = "-O2 -shared -fPIC -fsanitize=undefined -fno-sanitize-recover=undefined"
    return build(folder / "decoders.so", "gcc", flags)


def last_of(library: Path) -> Path:
    """Return the file of the bytes that are read, should they end the process."""
    return library.with_suffix(".last")


class Pair:
    """Both decoders.

    :ivar cases: how many have been compared.
    :ivar frames: that the C decoder has taken or refused in them.
    """

    def __init__(self, library: Path) -> None:
        """Load the C decoder; undefined behaviour ends this process, and leaves its bytes."""
        self._library = ctypes.CDLL(str(library))
        self._library.replay_host.restype = ctypes.c_size_t
        self._library.replay_guest.restype = ctypes.c_size_t
        self._log = _Log()
        self._last = last_of(library)
        self.cases = 0
        self.frames = 0

    def compare(self, data: bytes, cuts: Sequence[int]) -> None:
        """Read bytes as a host's, and as a guest's.

        :raises Disagreement: one of them reads something else.
        """
        self._last.write_bytes(data)
        log, size, count = ctypes.byref(self._log), ctypes.c_size_t(len(data)), len(cuts)
        places = (ctypes.c_uint32 * count)(*cuts)
        self.frames += self._library.replay_host(data, size, places, ctypes.c_size_t(count), log)
        self._agree("host", data, cuts)
        self.frames += self._library.replay_guest(data, size, log)
        self._agree("guest", data, cuts)
        self.cases += 1

    def _agree(self, sender: str, data: bytes, cuts: Sequence[int]) -> None:
        c = ctypes.string_at(ctypes.addressof(self._log) + _Log.data.offset, self._log.size)
        try:
            python = of_host(data, cuts) if sender == "host" else of_guest(data, cuts)
        except Exception as error:
            raise Disagreement(sender, data, cuts, f"Python breaks: {error!r}") from error
        if python != c:
            at = next(n for n, pair in enumerate(zip_longest(python, c)) if len({*pair}) > 1)
            why = f"the logs of Python and C, {len(python)} and {len(c)} bytes, part at {at}"
            raise Disagreement(sender, data, cuts, why)


def of_guest(data: bytes, cuts: Sequence[int]) -> bytes:
    """Write the log of a guest's bytes, up to the first malformed frame."""
    decoder = codec.Decoder("guest")
    log = bytearray()
    at = 0
    for number, piece in enumerate(pieces(data, cuts)):
        decoder.receive_data(piece)
        if number % 2 and number < len(cuts):
            continue  # more may come before anybody asks what it is
        try:
            while message := decoder.next_message():
                log += ENTRY.pack(0, message.TYPE, getattr(message, "id", 0), 0, 0, 0)
                encoded = message.encode()
                log += encoded
                at += len(encoded)
        except codec.DecodeError as error:
            _, type_, _, id_ = HEADER.unpack_from(data, at)
            log += ENTRY.pack(0, type_, id_, error.fault, error.offset, error.field_number)
            break
    return bytes(log)


def of_host(data: bytes, cuts: Sequence[int]) -> bytes:
    """Write the log of a host's bytes."""
    reader, guest = Reader(), _Guest()
    for piece in pieces(data, cuts):
        for event in reader.feed(piece):
            guest.take(event, reader.version)
    end = END.pack(reader.dropped, len(reader.rest), guest.seen, guest.refused)
    return bytes(guest.log) + end


class _Guest:
    """A model of what guest/session.c does with frames, and the log of it."""

    def __init__(self) -> None:
        self.log = bytearray()
        self.seen = self.refused = 0
        self._last_id = self._current = self._credit = self._frames_left = 0

    def take(self, event: Event, version: int) -> None:
        outcome, id_ = event.outcome, event.id
        if isinstance(outcome, codec.DecodeError):
            verdict = (int(outcome.fault), outcome.offset, outcome.field_number)
        else:
            self.seen += 1
            is_request = isinstance(outcome, codec.ExecRequest)
            if id_ and not is_request and id_ <= self._last_id and id_ != self._current:
                return
            verdict = (self._consider(outcome, id_), 0, 0)
        self.log += ENTRY.pack(event.dropped, event.type, id_, *verdict)
        if verdict[0] or isinstance(outcome, codec.DecodeError):
            self.refused += 1
        else:
            self.log += outcome.encode(version)
            if isinstance(outcome, codec.Hello):
                self._frames_left = 0
            elif isinstance(outcome, codec.ExecRequest):
                self._frames_left = 1 + id_ % 5
                self._credit += id_ % 8 * 16
        self._frames_left -= self._frames_left > 0
        if not self._frames_left:
            self._current = self._credit = 0

    def _consider(self, message: codec.Message, id_: int) -> int:
        match message:
            case codec.Hello():
                self._last_id = self._current = self._credit = 0
            case codec.ExecRequest():
                if id_ <= self._last_id:
                    return ErrorCode.STALE_ID
                self._last_id = id_
                if self._current:
                    return ErrorCode.BUSY
                self._current = id_
            case codec.ExecStdin(data=data) if id_ <= self._last_id:
                if len(data) > self._credit:
                    return ErrorCode.OVER_CREDIT
                self._credit -= len(data)
        return ErrorCode.UNKNOWN_ID if id_ > self._last_id else 0


def cases(data: bytes, cuts: Sequence[int] = ()) -> Iterator[tuple[bytes, Sequence[int]]]:
    """Yield an example and changed copies, each with cuts; from the same always the same."""
    yield data, cuts
    rng = random.Random(data)
    for _ in range(VARIANTS if len(data) <= LARGE else 2):
        changed = bytearray(data)
        for _ in range(rng.randrange(4)):
            change(changed, rng)
        size = len(changed)
        at = {rng.randrange(1, size) for _ in range(rng.randrange(5))} if size > 1 else ()
        yield bytes(changed), sorted(at)


_guests = st.lists(messages.FRAMES["guest"], min_size=1, max_size=6).map(
    lambda frames: Example(b"".join(frames), ())
)


def check(pair: Pair, seed: int) -> None:
    """Compare a batch of examples, a host's or a guest's, with all their cases.

    :raises Disagreement: the decoders do.
    """
    for example in drawn(examples(HELLO) | _guests, BATCH, seed):
        for data, cuts in cases(example.data, example.cuts):
            pair.compare(data, cuts)


def replay(pair: Pair) -> None:
    """Compare the corpus: whole, byte by byte where it is short, and what is made of each file.

    :raises Disagreement: the decoders do.
    """
    for path in corpus():
        data = path.read_bytes()
        pair.compare(data, range(1, len(data)) if len(data) < 500 else ())
        for changed, cuts in cases(data):
            pair.compare(changed, cuts)


def smaller(pair: Pair, error: Disagreement, seconds: float = 10.0) -> Disagreement:
    """Leave out what the disagreement does not need: halves, quarters, down to bytes."""
    until = time.monotonic() + seconds
    size = len(error.data) // 2
    while size:
        at = 0
        while at < len(error.data) and time.monotonic() < until:
            data = error.data[:at] + error.data[at + size :]
            try:
                pair.compare(data, [cut for cut in error.cuts if cut < len(data)])
                at += size
            except Disagreement as still:
                error = still
        size //= 2
    return error
