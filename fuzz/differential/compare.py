"""A comparison of the Python decoder and the C decoder on the same bytes in the same pieces.

Both write a log with an entry for each frame: type, id, error code, offset, field, and the number
of bytes dropped before it. The entry of a valid frame also contains its message, encoded again.
`decoder/replay.c` writes the log of the C decoder; this module writes the log of the Python
decoder.

A case is a pair of bytes and cuts. An example of Hypothesis yields many cases by mutation.
"""

from __future__ import annotations

import itertools
import random
import struct
import subprocess
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from subprocess import PIPE
from typing import TypeAlias

from tests.support.mutations import change
from tests.support.side_copy import fits

from microvm.wire import codec
from microvm.wire.codec import ErrorCode
from microvm.wire.state import (
    COMMAND_HOST,
    COMMAND_HOST_IGNORED,
    SESSION_GUEST,
    SESSION_HOST,
    SESSION_HOST_IGNORED,
    SESSION_IDS,
    CommandState,
    SessionState,
)

from ..decoder.build import build
from ..frames import HEADER, Event, FrameReader, pieces
from ..report import Disagreement, explained, keep
from ..search import interrupted
from ..strategies import Example

ENTRY = struct.Struct("<QHIHIB")
END = struct.Struct("<QIII")

VARIANTS = 100
"""Number of mutations of an example. An example that is longer than `LARGE` has two."""

LARGE = 2000

SIZES = struct.Struct("<II")

_DEADLINE = 300.0
"""Maximum number of seconds for the cases of an example. They usually take less than one."""

_Failure: TypeAlias = tuple[Example, str, str]
"""A case on which the decoders disagree, the side that sends it, and the difference."""


class Pair:
    """Both decoders. The C decoder runs in another process, because an input may crash it.

    :ivar cases: Number of compared cases.
    :ivar frames: Number of frames in them that the C decoder has accepted or refused.
    """

    def __init__(self, folder: Path) -> None:
        flags = "-O2 -fsanitize=undefined -fno-sanitize-recover=undefined"
        self._binary = build(folder / "logs", "gcc", flags, Path(__file__).with_name("logs.c"))
        self.cases = self.frames = 0

    def check(self, cases: Sequence[Example]) -> None:
        """Decode each case as bytes of a host and as bytes of a guest, and compare the logs."""
        if failure := self._differing(cases):
            case, sender, why = self._smaller(failure)
            path = keep(case.data, f"python and c disagree on a {sender}")
            shown = explained(case.data, sender)
            raise Disagreement(why, f"{case}, of a {sender}\n{path.name}\n{shown}")

    def _differing(self, cases: Sequence[Example]) -> _Failure | None:
        logs = self._logs_in_c(cases)
        for case, sender in itertools.product(cases, ("host", "guest")):
            try:
                with interrupted(_DEADLINE, TimeoutError("the decoder does not finish")):
                    log_of = of_host if sender == "host" else of_guest
                    python = log_of(case.data, case.cuts)
            except Exception as error:
                return case, sender, f"Python breaks: {error!r}"
            c = next(logs, None)
            if c is None:
                return case, sender, "C breaks, or does not end"
            if python != c:
                at = next(n for n, (a, b) in enumerate(zip_longest(python, c)) if a != b)
                why = f"the logs of Python and C, {len(python)} and {len(c)} bytes, part at {at}"
                return case, sender, why
        self.cases += len(cases)
        return None

    def _logs_in_c(self, cases: Sequence[Example]) -> Iterator[bytes]:
        """Yield the C decoder's two logs of each case, for a host and for a guest."""
        given = b""
        for case in cases:
            sizes = SIZES.pack(len(case.data), len(case.cuts))
            given += sizes + array("I", case.cuts).tobytes() + case.data
        try:
            said = subprocess.run(
                self._binary, input=given, stdout=PIPE, check=False, timeout=_DEADLINE
            ).stdout
        except subprocess.TimeoutExpired as error:
            said = error.stdout or b""
        at = 0
        while at < len(said):
            frames, size = SIZES.unpack_from(said, at)
            at += SIZES.size + size
            self.frames += frames
            yield said[at - size : at]

    def _smaller(self, failure: _Failure, seconds: float = 10.0) -> _Failure:
        """Reduce a failing case by removing halves, quarters, and so on down to single bytes."""
        until = time.monotonic() + seconds
        size = len(failure[0].data) // 2
        while size:
            at = 0
            while at < len((case := failure[0]).data) and time.monotonic() < until:
                data = case.data[:at] + case.data[at + size :]
                cuts = [cut for cut in case.cuts if cut < len(data)]
                still = self._differing([Example(data, cuts)])
                failure = still or failure
                at += 0 if still else size
            size //= 2
        return failure


def of_guest(data: bytes, cuts: Sequence[int]) -> bytes:
    """Return the log of a guest's bytes, up to the first malformed frame."""
    decoder = codec.Decoder("guest")
    log = bytearray()
    at = 0
    for number, piece in enumerate(pieces(data, cuts)):
        decoder.receive_data(piece)
        if number % 2 and number < len(cuts):
            continue  # also test a decoder that receives several pieces before it decodes
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
    """Return the log of a host's bytes."""
    reader, guest = FrameReader(), _Guest()
    for piece in pieces(data, cuts):
        for event in reader.feed(piece):
            guest.take(event, reader.version)
    end = END.pack(reader.dropped, len(reader.rest), guest.seen, guest.refused)
    return bytes(guest.log) + end


@dataclass(slots=True)
class _Running:
    """A command that the session counts as running, although no process runs.

    :ivar beside: True if the command's request has the flag `beside`, so that others may run at the
        same time.
    :ivar credit: Number of bytes of input that the host may still send.
    :ivar frames: Number of frames until the command ends.
    """

    beside: bool
    credit: int
    frames_left: int


class _Guest:
    """The expected log of guest/session.c, according to the generated tables of the protocol."""

    def __init__(self) -> None:
        self.log = bytearray()
        self.seen = self.refused = 0
        self._state = SessionState.NEW
        self._last_id = 0
        self._running: dict[int, _Running] = {}

    def take(self, event: Event, version: int) -> None:
        outcome, id_ = event.outcome, event.id
        if isinstance(outcome, codec.DecodeError):
            verdict = (int(outcome.fault), outcome.offset, outcome.field_number)
            self._state = SESSION_GUEST[self._state][codec.Error]["malformed"]
        else:
            self.seen += 1
            if (code := self._consider(outcome, id_)) is None:
                return
            verdict = (code, 0, 0)
        self.log += ENTRY.pack(event.dropped, event.type, id_, *verdict)
        if verdict[0] or isinstance(outcome, codec.DecodeError):
            self.refused += 1
        else:
            self.log += outcome.encode(version)
            if isinstance(outcome, codec.Hello):
                self._state = SESSION_GUEST[self._state][codec.Ready]["own_nonce"]
            elif isinstance(outcome, codec.ExecRequest):
                credit, frames = id_ % 8 * 16, 1 + id_ % 100  # as in fuzz/decoder/replay.c
                self._running[id_] = _Running(outcome.beside, credit, frames)
        for running in self._running.values():
            running.frames_left -= 1
        self._running = {i: each for i, each in self._running.items() if each.frames_left}

    def _consider(self, message: codec.Message, id_: int) -> int | None:
        """Return the error with which a message is refused, 0, or None if it is ignored."""
        kind = type(message)
        following = SESSION_HOST[self._state].get(kind, {})
        step = following.get("") or (None if self._running else following.get("free"))
        if not step and kind in SESSION_HOST_IGNORED[self._state]:
            return None
        if id_:
            return self._consider_command(message, id_)
        if not step:
            return ErrorCode.BUSY
        self._state = step
        if isinstance(message, codec.Hello):
            self._last_id = 0
            self._running = {}
        return 0

    def _consider_command(self, message: codec.Message, id_: int) -> int | None:
        kind = type(message)
        state = CommandState.RUNNING if id_ in self._running else CommandState.ENDED
        if id_ > self._last_id:
            state = CommandState.NEW
        allowed = "host" in SESSION_IDS[self._state]
        if allowed and kind in COMMAND_HOST_IGNORED[state]:
            return None
        if not allowed or kind not in COMMAND_HOST[state]:
            return ErrorCode.UNKNOWN_ID if state is CommandState.NEW else ErrorCode.STALE_ID
        match message:
            case codec.ExecRequest():
                self._last_id = id_
                beside = {id_: each.beside for id_, each in self._running.items()}
                if not fits(message, beside):
                    return ErrorCode.BUSY
            case codec.ExecStdin(data=data):
                if len(data) > self._running[id_].credit:
                    return ErrorCode.OVER_CREDIT
                self._running[id_].credit -= len(data)
        return 0


def cases(example: Example) -> list[Example]:
    """Return an example and mutations of it, each with cuts. The result is deterministic."""
    made = [example]
    rng = random.Random(example.data)
    for _ in range(VARIANTS if len(example.data) <= LARGE else 2):
        changed = bytearray(example.data)
        for _ in range(rng.randrange(4)):
            change(changed, rng)
        size = len(changed)
        at = {rng.randrange(1, size) for _ in range(rng.randrange(5))} if size > 1 else ()
        made.append(Example(bytes(changed), sorted(at)))
    return made
