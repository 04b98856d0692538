"""What a daemon must answer: a model of it that reads the same bytes with the host's codec.

It knows everything but when a command ends. That it learns from the order of the answers: the
daemon handles one frame after the other, so an answer that comes before another was decided before.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from microvm import codec
from microvm.codec import Ending, ErrorCode

from . import strategies
from .strategies import HEADER, Command

OF_COMMAND = (
    codec.ExecOutput,
    codec.ExecResponse,
    codec.ExecStdinCredit,
    codec.ExecStdinClosed,
)

HELLO_START = codec.Hello(0, 0, 0, 0).encode()[:20]


class Disagreement(AssertionError):
    """The daemon did not do what the model says."""


@dataclass(frozen=True)
class Event:
    """A frame that a decoder took or refused.

    :ivar dropped: bytes skipped before it, since the stream began.
    """

    type: int
    id: int
    outcome: codec.Message | codec.DecodeError
    dropped: int


class Reader:
    """Cuts the host's bytes into frames as the daemon does; see guest/stream.c."""

    def __init__(self) -> None:
        """Begin in search of a hello."""
        self.dropped = 0
        self._version = codec.VERSION
        self._seeking = True
        self._bytes = b""

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes, yield the frames that they complete."""
        self._bytes += data
        at = 0
        while True:
            if self._seeking:
                found = self._seek(at)
                self.dropped += found - at
                at = found
            length = self._frame_size(at)
            if self._seeking or length is None or len(self._bytes) - at < length:
                break
            _, type_, _, id_ = HEADER.unpack_from(self._bytes, at)
            outcome = _decode(self._bytes[at : at + length], self._version)
            assert outcome is not None, "a whole frame is a message or malformed"
            if isinstance(outcome, codec.Hello):
                self._version = agreed(outcome)
            yield Event(type_, id_, outcome, self.dropped)
            if isinstance(outcome, codec.DecodeError):
                self._seeking = True
            else:
                at += length
        self._bytes = self._bytes[at:]

    def missing(self) -> int:
        """Return how many bytes the frame lacks that has begun; 0 where the next may begin."""
        if self._seeking or not self._bytes:
            return 0
        size = self._frame_size(0)
        return (codec.HEADER_SIZE if size is None else size) - len(self._bytes)

    def _seek(self, at: int) -> int:
        found = self._bytes.find(HELLO_START, at)
        if found >= 0:
            self._seeking = False
            return found
        for start in range(max(at, len(self._bytes) - len(HELLO_START) + 1), len(self._bytes)):
            if HELLO_START.startswith(self._bytes[start:]):
                return start
        return len(self._bytes)

    def _frame_size(self, at: int) -> int | None:
        """The size of a frame; its header's when that is wrong, None when that is not there yet."""
        header = self._bytes[at : at + codec.HEADER_SIZE]
        if len(header) < codec.HEADER_SIZE:
            return None
        if isinstance(_decode(header, self._version), codec.DecodeError):
            return codec.HEADER_SIZE
        length: int = HEADER.unpack(header)[0]
        return codec.HEADER_SIZE + length


def agreed(hello: codec.Hello) -> int:
    """The version that a daemon speaks after this."""
    return max(1, min(hello.version, codec.VERSION))


def _decode(data: bytes, version: int) -> codec.Message | codec.DecodeError | None:
    decoder = codec.Decoder("host", version)
    decoder.receive_data(data)
    try:
        return decoder.next_message()
    except codec.DecodeError as error:
        return error


@dataclass
class Running:
    """The command in flight."""

    id: int
    command: Command
    paid: dict[codec.Stream, int]
    fed: bool = False
    terminal: bool = False
    output: dict[codec.Stream, bytes] = field(
        default_factory=lambda: dict.fromkeys(codec.Stream, b"")
    )
    disturbed: bool = False
    input: bytes = b""
    input_ended: bool = False
    input_closed: bool = False

    def feed(self, data: bytes) -> None:
        """Note input that it has been fed."""
        if not self.input_ended:
            self.input += data
            self.input_ended = not data
        # What is typed may be a ^C.
        self.disturbed = self.disturbed or self.terminal

    def _whole(self) -> dict[codec.Stream, bytes]:
        stdout = self.input if self.command.copies and self.fed else self.command.stdout
        return {codec.Stream.STDOUT: stdout, codec.Stream.STDERR: self.command.stderr}

    def take(self, output: codec.ExecOutput) -> None:
        """Check output that has come."""
        got = self.output[output.stream] + bytes(output.data)
        expected = self._whole()[output.stream]
        _agree(len(output.data) > 0, f"output without data for {self.id}")
        # A terminal changes what passes through it.
        right = output.stream == codec.Stream.STDOUT if self.terminal else expected.startswith(got)
        _agree(right, f"{got!r} came for {expected!r}")
        _agree(len(got) <= self.paid[output.stream], f"{len(got)} bytes came unpaid")
        self.output[output.stream] = got

    def end(self, response: codec.ExecResponse) -> None:
        """Check how it has ended."""
        if self.disturbed and response.ending is Ending.SIGNALLED:
            return
        expected = codec.ExecResponse(self.id, Ending.EXITED, self.command.status)
        _agree(response == expected, f"{response} came for {expected}")
        if not self.disturbed and not self.terminal:
            whole = self._whole()
            _agree(self.output == whole, f"{self.output} came for {whole}")
            waits = self.command.copies and self.fed and not self.input_ended
            _agree(not waits, f"{self.id} ended before its input")

    def close_input(self) -> None:
        """Check that it may take no more input."""
        _agree(self.fed and not self.input_closed, f"the input of {self.id} was closed")
        self.input_closed = True


class Model:
    """A daemon's state as far as its host can know it."""

    def __init__(self) -> None:
        """Begin as a daemon that has just started."""
        self.reader = Reader()
        self.frames_seen = 0
        self.frames_refused = 0
        self.execs = 0
        self._last_id = 0
        self._running: Running | None = None
        self._answers: list[codec.Message] = []

    def filler(self, data: bytes) -> bytes | None:
        """Return what completes the last frame of these bytes, so that a hello can follow.

        None when they must not be sent: they would end the daemon or run what is not known.
        """
        reader = copy.copy(self.reader)
        events = list(reader.feed(data))
        filler = b""
        while missing := reader.missing():
            events += reader.feed(bytes(missing))
            filler += bytes(missing)
        for event in events:
            if not isinstance(event.outcome, codec.DecodeError) and not strategies.is_safe(
                event.outcome
            ):
                return None
        return filler

    def may_run(self, data: bytes) -> bool:
        """Whether a command may be in flight when the daemon has read these bytes."""
        events = copy.copy(self.reader).feed(data)
        return any(isinstance(event.outcome, codec.ExecRequest) for event in events)

    def check(self, data: bytes, answers: Sequence[codec.Message]) -> None:
        """Read what was sent, and compare all that has come since the last check.

        :raise Disagreement: the daemon is wrong, or the model.
        """
        self._answers = list(answers)
        for event in self.reader.feed(data):
            if isinstance(event.outcome, codec.DecodeError):
                self._refused(event, ErrorCode(event.outcome.fault))
            else:
                self.frames_seen += 1
                self._handle(event, event.outcome)
        while self._answers:
            _agree(self._is_of_command(self._answers[0]), f"{self._answers[0]} came unasked")
            self._take()

    def _handle(self, event: Event, message: codec.Message) -> None:
        match message:
            case codec.Hello(nonce=nonce):
                self._expect(codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce))
                self._running = None
                self._last_id = 0
            case codec.Ping(token=token):
                self._expect(codec.Pong(token))
            case codec.StatusRequest():
                self._check_status(event)
            case codec.ExecRequest():
                self._begin(event, message)
            case codec.ExecSignal() | codec.ExecKill() | codec.ExecTerminate() | codec.ExecCredit():
                if message.id > self._last_id:
                    self._refused(event, ErrorCode.UNKNOWN_ID)
                elif self._running and message.id == self._running.id:
                    self._affect(self._running, message)
            case codec.ExecStdin() | codec.ExecResize():
                if message.id > self._last_id:
                    self._refused(event, ErrorCode.UNKNOWN_ID)
                elif isinstance(message, codec.ExecStdin):
                    self._feed(event, message)

    def _feed(self, event: Event, message: codec.ExecStdin) -> None:
        """Input is refused until its first credit, and from then on taken."""
        running = self._running
        if running is None or message.id != running.id:
            return
        if message.data and self._is_refused_first(running.id):
            self._refused(event, ErrorCode.OVER_CREDIT)
        else:
            running.feed(bytes(message.data))

    def _is_refused_first(self, id_: int) -> bool:
        for answer in self._answers:
            match answer:
                case codec.Error(id=about, code=ErrorCode.OVER_CREDIT) if about == id_:
                    return True
                case codec.ExecStdinCredit() | codec.ExecResponse() | codec.Ready():
                    return False
        return False

    def _affect(self, running: Running, message: codec.Message) -> None:
        if isinstance(message, codec.ExecCredit):
            running.paid[message.stream] += message.amount
        else:
            running.disturbed = True

    def _begin(self, event: Event, request: codec.ExecRequest) -> None:
        if request.id <= self._last_id:
            self._refused(event, ErrorCode.STALE_ID)
            return
        self._last_id = request.id
        if self._running and not self._ends_first(self._running):
            self._refused(event, ErrorCode.BUSY)
            return
        command = strategies.outcome(request)
        if command.failure:
            self._expect(codec.ExecFailed(request.id, *command.failure))
            return
        self.execs += 1
        paid = [request.stdout_credit, request.stderr_credit]
        self._running = Running(
            request.id,
            command,
            dict(zip(codec.Stream, paid, strict=True)),
            fed=request.rows > 0 or request.stdin_from is codec.StdinKind.HOST,
            terminal=request.rows > 0,
        )

    def _ends_first(self, running: Running) -> bool:
        """Whether the next that came, beside its output, is the end of this command."""
        while self._answers and self._is_of_command(self._answers[0]):
            self._take()
            if self._running is not running:
                return True
        return False

    def _is_of_command(self, answer: codec.Message) -> bool:
        return isinstance(answer, OF_COMMAND)

    def _take(self) -> codec.Message:
        """Take the next answer; what is of the command in flight is checked here."""
        answer = self._answers.pop(0)
        if isinstance(answer, OF_COMMAND):
            if self._running is None or self._running.id != answer.id:
                raise Disagreement(f"{answer} came while {self._running} was in flight")
            match answer:
                case codec.ExecOutput():
                    self._running.take(answer)
                case codec.ExecStdinCredit():
                    _agree(self._running.fed, f"{answer} came for no input")
                case codec.ExecStdinClosed():
                    self._running.close_input()
                case _:
                    self._running.end(answer)
                    self._running = None
        return answer

    def _next(self, wanted: object) -> codec.Message:
        while self._answers:
            answer = self._take()
            if not self._is_of_command(answer):
                return answer
        raise Disagreement(f"nothing came for {wanted}")

    def _expect(self, answer: codec.Message) -> None:
        came = self._next(answer)
        _agree(came == answer, f"{came} came for {answer}")

    def _refused(self, event: Event, code: ErrorCode) -> None:
        self.frames_refused += 1
        where, number = 0, 0
        if isinstance(event.outcome, codec.DecodeError):
            where, number = event.outcome.offset, event.outcome.field_number
        self._expect(codec.Error(event.id, code, event.type, where, number))

    def _check_status(self, event: Event) -> None:
        came = self._next("status")
        if not isinstance(came, codec.Status):
            raise Disagreement(f"{came} came for a status")
        counted = (came.frames_seen, came.frames_refused, came.execs, came.bytes_dropped)
        known = (self.frames_seen, self.frames_refused, self.execs, event.dropped)
        _agree(counted == known, f"seen, refused, execs, dropped: {counted} came for {known}")


def _agree(right: bool, message: str) -> None:
    if not right:
        raise Disagreement(message)
