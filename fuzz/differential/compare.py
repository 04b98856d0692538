"""The Python decoder and the C decoder, fed the same bytes in the same cuts, agree.

What is compared is a log, an entry a frame: type, id, error code, offset and field, how much has
been dropped before it, and of a right frame its message, encoded again. `decoder/replay.c` writes
it for what is shipped in C; here it is written with the codec that is shipped in Python.

A case is one pair of bytes and cuts. An example of Hypothesis yields many: itself, and mutations.
"""

from __future__ import annotations

import ctypes
import os
import random
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import hypothesis
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from microvm.wire import codec
from microvm.wire.codec import ErrorCode

from .. import messages
from ..decoder.build import build
from ..frames import HEADER, HELLO, Event, Reader, pieces
from ..outcome import Outcome
from ..report import LAST, corpus, explained, keep
from ..settings import SETTINGS
from ..strategies import change, examples

ENTRY = struct.Struct("<QHIHIB")
END = struct.Struct("<QIII")

VARIANTS = 100
"""The mutations of an example; of one that is longer than LARGE there are two."""

LARGE = 2000


class _Log(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("frames", ctypes.c_uint64),
        ("data", ctypes.c_uint8 * (16 << 20)),
    )


class Disagreement(AssertionError):
    """The two decoders do not say the same of these bytes."""

    def __init__(self, sender: str, data: bytes, cuts: Sequence[int], why: str) -> None:
        """Take who would have sent these bytes, and in what the two are not the same."""
        super().__init__(f"{len(data)} bytes of a {sender}, cut at {list(cuts)[:40]}: {why}")
        self.sender = sender
        self.data = data
        self.cuts = cuts


class Pair:
    """Both decoders.

    :ivar cases: how many have been compared.
    :ivar frames: that the C decoder has taken or refused in them.
    """

    def __init__(self, folder: Path) -> None:
        """Build the C decoder as a library; undefined behaviour ends this process.

        :raises FileNotFoundError: gcc is not installed.
        """
        flags = "-O2 -shared -fPIC -fsanitize=undefined -fno-sanitize-recover=undefined"
        library = ctypes.CDLL(str(build(folder / "decoders.so", "gcc", flags)))
        library.replay_host.restype = library.replay_guest.restype = None
        self._library = library
        self._log = _Log()
        self._last = os.open(last, os.O_WRONLY) if (last := os.environ.get(LAST)) else None
        self.cases = 0
        self.frames = 0

    def compare(self, data: bytes, cuts: Sequence[int]) -> None:
        """Read bytes as a host's, and as a guest's.

        :raises Disagreement: one of them reads something else.
        """
        for sender in ("host", "guest"):
            c = self._by_c(data, cuts if sender == "host" else None)
            try:
                python = of_host(data, cuts) if sender == "host" else of_guest(data, cuts)
            except Exception as error:
                why = f"Python breaks: {error!r}"
                raise Disagreement(sender, data, cuts, why) from error
            if python != c:
                at = next(n for n, pair in enumerate(zip_longest(python, c)) if len({*pair}) > 1)
                why = f"the logs of Python and C, {len(python)} and {len(c)} bytes, part at {at}"
                raise Disagreement(sender, data, cuts, why)
        self.cases += 1

    def _by_c(self, data: bytes, cuts: Sequence[int] | None) -> bytes:
        if self._last is not None:
            os.pwrite(self._last, data, 0)
            os.ftruncate(self._last, len(data))
        size = ctypes.c_size_t(len(data))
        if cuts is None:
            self._library.replay_guest(data, size, ctypes.byref(self._log))
        else:
            at = (ctypes.c_uint32 * len(cuts))(*cuts)
            count = ctypes.c_size_t(len(cuts))
            self._library.replay_host(data, size, at, count, ctypes.byref(self._log))
        self.frames += self._log.frames
        return ctypes.string_at(ctypes.addressof(self._log) + _Log.data.offset, self._log.size)


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
        error = event.outcome
        if isinstance(error, codec.DecodeError):
            self._refuse(event, error.fault, error.offset, error.field_number)
            return
        message, id_ = error, event.id
        self.seen += 1
        is_request = isinstance(message, codec.ExecRequest)
        if id_ and not is_request and id_ <= self._last_id and id_ != self._current:
            return
        if code := self._consider(message, id_):
            self._refuse(event, code)
            return
        self.log += ENTRY.pack(event.dropped, event.type, id_, 0, 0, 0) + message.encode(version)
        self._count_frame()
        if isinstance(message, codec.Hello):
            self._frames_left = 0
        elif is_request:
            self._frames_left = id_ % 5
            self._credit += id_ % 8 * 16
            if not self._frames_left:
                self._current = self._credit = 0

    def _refuse(self, event: Event, code: int, offset: int = 0, field: int = 0) -> None:
        self.refused += 1
        self.log += ENTRY.pack(event.dropped, event.type, event.id, code, offset, field)
        self._count_frame()

    def _count_frame(self) -> None:
        if self._frames_left:
            self._frames_left -= 1
            if not self._frames_left:
                self._current = self._credit = 0

    def _consider(self, message: codec.Message, id_: int) -> ErrorCode | None:
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
                return None
            case codec.ExecStdin(data=data) if id_ <= self._last_id:
                if len(data) > self._credit:
                    return ErrorCode.OVER_CREDIT
                self._credit -= len(data)
        return ErrorCode.UNKNOWN_ID if id_ > self._last_id else None


def cases(data: bytes, cuts: Sequence[int], seed: int) -> Iterator[tuple[bytes, list[int]]]:
    """Yield an example and changed copies, each with cuts; from the same seed always the same."""
    yield data, list(cuts)
    rng = random.Random(seed)
    for _ in range(VARIANTS if len(data) <= LARGE else 2):
        changed = bytearray(data)
        for _ in range(rng.randrange(4)):
            change(changed, rng)
        size = len(changed)
        at = {rng.randrange(1, size) for _ in range(rng.randrange(5))} if size > 1 else ()
        yield bytes(changed), sorted(at)


@st.composite
def _inputs(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """A host's bytes behind a hello, or a guest's."""
    if draw(st.booleans()):
        example = draw(examples())
        return HELLO + example.data, [cut + len(HELLO) for cut in example.cuts]
    return b"".join(draw(st.lists(messages.FRAMES["guest"], min_size=1, max_size=6))), []


def check(pair: Pair, examples: int, seed: int) -> None:
    """Compare so many examples, with all their cases.

    :raises Disagreement: the decoders do.
    """

    @hypothesis.seed(seed)
    @settings(SETTINGS, max_examples=examples, database=None, phases=[Phase.generate])
    @given(given_=_inputs(), number=st.integers(0, 2**32))
    def compare(given_: tuple[bytes, list[int]], number: int) -> None:
        for data, cuts in cases(*given_, number):
            pair.compare(data, cuts)

    compare()


def replay(pair: Pair) -> None:
    """Compare the corpus: whole, byte by byte where it is short, and what is made of each file.

    :raises Disagreement: the decoders do.
    """
    for number, path in enumerate(corpus()):
        data = path.read_bytes()
        every = range(1, len(data)) if len(data) < 500 else ()
        pair.compare(data, every)
        for changed, cuts in cases(data, (), number):
            pair.compare(changed, cuts)


def run(seconds: float, seed: int) -> Outcome:
    """Compare for so long: the corpus first, then examples.

    :raises FileNotFoundError: gcc is not installed.
    """
    found: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder))
        began = time.monotonic()
        rounds = 0
        try:
            replay(pair)
            while time.monotonic() < began + seconds:
                check(pair, 20, hash((seed, rounds)))
                rounds += 1
        except Disagreement as error:
            smallest = smaller(pair, error)
            path = keep(smallest.data, f"python and c disagree on a {smallest.sender}")
            shown = explained(smallest.data, smallest.sender)
            found = (f"{smallest}\n{path.name}\n{shown}",)
        took = time.monotonic() - began
    notes = f"{rounds * 20} examples"
    return Outcome(pair.cases, pair.frames, took, found, notes)


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
