"""The model of a daemon, which computes the expected answers from the bytes that were sent.

The model cannot know when a command exits, so it learns this from the order of the answers. The
daemon handles frames one after another, so the order of answers is the order of its decisions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from microvm.wire import codec
from microvm.wire.codec import ErrorCode

from .. import strategies
from ..frames import Event, FrameReader, agreed
from ..report import Disagreement, agree
from .commands import FEW, command_of
from .running import Running

OF_COMMAND = codec.ExecOutput | codec.ExecResponse | codec.ExecStdinCredit | codec.ExecStdinClosed


class Model:
    """The state of a daemon, as far as its host can know it.

    :ivar is_init: True if the daemon is PID 1 and has cgroups, so that a `hello` kills all
        processes.
    :ivar keeps: True if the next `hello` keeps the processes that commands have left behind.
    :ivar strays: True if processes of finished commands may still run and hold their pipes.
    :ivar versions: The agreed version of each `hello` whose answer was not read yet.
    """

    def __init__(self, versions: deque[int], *, is_init: bool) -> None:
        self.is_init = is_init
        self.reader = FrameReader()
        self.frames_seen = self.frames_refused = 0
        self.execs = 0
        self.last_id = 0
        self.running: Running | None = None
        self.keeps = self.strays = False
        self.status: codec.Status | None = None
        self.versions = versions
        self._events: list[Event] = []
        self._answers: list[codec.Message] = []

    def filler(self, data: bytes) -> bytes | None:
        """Return the bytes that complete the last frame of `data`, so that a `hello` can follow.

        Return None if `data` must not be sent, because it would stop the daemon or run an unknown
        command.
        """
        reader = self.reader.fork()
        events = list(reader.feed(data))
        filler = b""
        while missing := reader.missing():
            events += reader.feed(bytes(missing))
            filler += bytes(missing)
        taken = (each.outcome for each in events if not isinstance(each.outcome, codec.DecodeError))
        return filler if all(map(strategies.is_safe, taken)) else None

    def feed(self, data: bytes) -> None:
        """Record bytes that were sent."""
        for event in self.reader.feed(data):
            self._events.append(event)
            if isinstance(event.outcome, codec.Hello):
                self.versions.append(agreed(event.outcome))

    def check(self, answers: Sequence[codec.Message], last: codec.Message | None = None) -> None:
        """Compare the answers since the last check with the expected answers.

        :param last: The expected last message of the stream; None if the stream continues.
        """
        self._answers = list(answers)
        events, self._events = self._events, []
        for event in events:
            if isinstance(event.outcome, codec.DecodeError):
                self._refused(event, ErrorCode(event.outcome.fault))
            else:
                self.frames_seen += 1
                self._handle(event, event.outcome)
        if last:
            self._expect(last)
        while self._answers:
            first = self._answers[0]
            agree(isinstance(first, OF_COMMAND) and not last, "unasked answer", first)
            self._take()

    def runs_alone(self) -> bool:
        """Return whether the process of the running command is certainly the only process."""
        if self._events or self.strays or self.running is None:
            return False
        return not (self.running.command.leaves or self.running.command.concurrent)

    def missing(self) -> str:
        """Return a description of the next message that the daemon must send; empty if none."""
        return self.running.missing() if self.running else ""

    def ends_all(self) -> bool:
        """Return whether the daemon's exit kills all processes that it has started."""
        if self.strays or self.running is None:
            return not self.strays
        command = self.running.command
        is_torn = command.lasts and not command.escapes and not self.running.kills
        return not command.leaves or is_torn

    def _handle(self, event: Event, message: codec.Message) -> None:
        match message:
            case codec.Hello(nonce=nonce):
                self._expect(codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce))
                self._leave()
                self.last_id = 0
                self.strays = self.strays and (self.keeps or not self.is_init)
                self.keeps = False
            case codec.Ping(token=token):
                self._expect(codec.Pong(token))
            case codec.StatusRequest():
                self._check_status(event)
            case codec.ExecRequest():
                self._begin(event, message)
            case codec.Keep() if self.running and not self._ends_first(self.running):
                self._refused(event, ErrorCode.BUSY)
            case codec.Keep():
                self.keeps = True
            case codec.Resume():
                self.keeps = False
            case codec.Shutdown():
                pass
            case _ if event.id > self.last_id:
                self._refused(event, ErrorCode.UNKNOWN_ID)
            case codec.ExecStdin(data=data) if self._is_refused(event, len(data)):
                self._refused(event, ErrorCode.OVER_CREDIT)
            case _ if self.running and event.id == self.running.id:
                self.running.record(message)

    def _is_refused(self, event: Event, size: int) -> bool:
        """Return whether the daemon refused input, because it had not given the credit yet."""
        running = self.running
        if not running or event.id != running.id or size <= running.credit:
            return False
        credit = running.credit
        for answer in self._answers:
            match answer:
                case codec.ExecStdinCredit():
                    credit += answer.amount
                case codec.Error(id=running.id, code=ErrorCode.OVER_CREDIT):
                    return size > credit
                case codec.ExecOutput() | codec.ExecStdinClosed():
                    pass
                case codec.ExecResponse():
                    return False
                case _:
                    break
        agree(size <= credit, "input taken beyond its credit", f"{size} bytes for {running}")
        return False

    def _begin(self, event: Event, request: codec.ExecRequest) -> None:
        if request.id <= self.last_id:
            self._refused(event, ErrorCode.STALE_ID)
            return
        self.last_id = request.id
        if self.running and not self._ends_first(self.running):
            self._refused(event, ErrorCode.BUSY)
            return
        self.keeps = False
        command = command_of(request)
        if command.failure:
            self._expect(codec.ExecFailed(request.id, *command.failure))
            return
        self.execs += 1
        is_limited = self.is_init and request.max_processes == FEW
        self.running = Running(
            request.id,
            command,
            (command.limited or 0) if is_limited else command.status,
            dict(zip(codec.Stream, (request.stdout_credit, request.stderr_credit), strict=True)),
            fed=request.rows > 0 or request.stdin_from is codec.StdinKind.HOST,
            sizes={(request.rows, request.columns)} if request.rows else set(),
        )

    def _ends_first(self, running: Running) -> bool:
        """Return whether the next answer, apart from output, is the end of this command."""
        while self._answers and isinstance(self._answers[0], OF_COMMAND):
            self._take()
            if self.running is not running:
                return True
        return False

    def _take(self) -> codec.Message:
        """Remove and return the next answer. Check it if it is about the running command."""
        answer = self._answers.pop(0)
        if isinstance(answer, OF_COMMAND):
            if self.running is None or self.running.id != answer.id:
                raise Disagreement("answer about no command", f"{answer}, not {self.running}")
            match answer:
                case codec.ExecOutput():
                    self.running.check_output(answer)
                case codec.ExecStdinCredit():
                    self.running.grant(answer.amount)
                case codec.ExecStdinClosed():
                    self.running.close_input()
                case _:
                    self.running.end(answer)
                    self._leave()
        return answer

    def _leave(self) -> None:
        """Forget the running command, but record whether it may have left processes behind."""
        running, self.running = self.running, None
        if running and running.command.leaves:
            reached = self.is_init or not running.command.escapes
            self.strays |= not (running.command.lasts and running.torn and reached)

    def _next(self, wanted: object) -> codec.Message:
        while self._answers:
            answer = self._take()
            if not isinstance(answer, OF_COMMAND):
                return answer
        raise Disagreement("no answer", f"for {wanted}")

    def _expect(self, answer: codec.Message) -> None:
        came = self._next(answer)
        agree(came == answer, f"wrong answer for {type(answer).__name__}", f"{came} for {answer}")

    def _refused(self, event: Event, code: ErrorCode) -> None:
        self.frames_refused += 1
        where, number = 0, 0
        if isinstance(event.outcome, codec.DecodeError):
            where, number = event.outcome.offset, event.outcome.field_number
        self._expect(codec.Error(event.id, code, event.type, where, number))

    def _check_status(self, event: Event) -> None:
        came = self._next("status")
        if not isinstance(came, codec.Status):
            raise Disagreement("wrong answer for Status", came)
        known = replace(
            came,
            frames_seen=self.frames_seen,
            frames_refused=self.frames_refused,
            execs=self.execs,
            bytes_dropped=event.dropped,
        )
        agree(came == known, "wrong counters", f"{came} for {known}")
        self.status = came
