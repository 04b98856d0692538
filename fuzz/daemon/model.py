"""The model of a daemon, which computes the expected answers from the bytes that were sent.

The tables of the schema decide whether a message is in order, and the model knows the contents of
the answers. The model cannot know when a command exits, so it learns this from the order of the
answers. The daemon handles frames one after another, so the order of answers is the order of its
decisions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from tests.support.side_copy import SideCopy

from microvm.wire import codec
from microvm.wire.codec import ErrorCode
from microvm_proto.conversation_rules import MessageOrder

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
    :ivar running: Models of the running commands, by the ids of their requests.
    :ivar keeps: True if the next `hello` keeps the processes that commands have left behind.
    :ivar strays: True if processes of finished commands may still run and hold their pipes.
    :ivar versions: The agreed version of each `hello` whose answer was not read yet.
    """

    def __init__(self, versions: deque[int], *, is_init: bool) -> None:
        self.is_init = is_init
        self.reader = FrameReader()
        self.frames_seen = self.frames_refused = 0
        self.execs = 0
        self.running: dict[int, Running] = {}
        self.keeps = self.strays = False
        self.status: codec.Status | None = None
        self.versions = versions
        self._copy = SideCopy("guest")
        self._events: list[Event] = []
        self._answers: list[codec.Message] = []

    @property
    def last_id(self) -> int:
        """The highest id of a request since the last `hello`; 0 if there was none."""
        return self._copy.last_id

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
            self.frames_seen += not isinstance(event.outcome, codec.DecodeError)
            self._handle(event)
        if last:
            self._expect(last)
        while self._answers:
            first = self._answers[0]
            agree(isinstance(first, OF_COMMAND) and not last, "unasked answer", first)
            self._take(first)

    def fits(self, request: codec.ExecRequest) -> bool:
        """Return whether the command of this request may start beside the running commands."""
        if not self.running:
            return True
        all_beside = request.beside and all(each.beside for each in self.running.values())
        return all_beside and len(self.running) < codec.MAX_COMMANDS

    def processes(self) -> int:
        """Return the number of processes of the running commands; 0 if the number is unknown."""
        if self._events or self.strays:
            return 0
        commands = [running.command for running in self.running.values()]
        if any(command.leaves or command.concurrent for command in commands):
            return 0
        return len(commands)

    def missing(self) -> str:
        """Return a description of the next message that the daemon must send; empty if none."""
        return next(filter(None, (each.missing() for each in self.running.values())), "")

    def ends_all(self) -> bool:
        """Return whether the daemon's exit kills all processes that it has started."""
        return not self.strays and all(each.ends_all() for each in self.running.values())

    def _handle(self, event: Event) -> None:
        message = event.outcome
        self._take_earlier(message)
        verdict = self._copy.handle(event)
        if self._copy.owed:
            self._refuse(event, verdict)
            return
        if verdict is MessageOrder.IGNORED:
            return
        match message:
            case codec.Hello(nonce=nonce):
                self._expect(codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce))
                for id_ in list(self.running):
                    self._leave(id_)
                self.strays = self.strays and (self.keeps or not self.is_init)
                self.keeps = False
            case codec.Ping(token=token):
                self._expect(codec.Pong(token))
            case codec.StatusRequest():
                self._check_status(event)
            case codec.ExecRequest():
                self._begin(message)
            case codec.Keep():
                self.keeps = True
            case codec.Resume():
                self.keeps = False
            case codec.Shutdown() | codec.DecodeError():
                pass
            case _ if running := self.running.get(event.id):
                running.record(message)

    def _take_earlier(self, message: codec.Message | codec.DecodeError) -> None:
        """Check the answers that the daemon must have sent before it read a message.

        A command can exit, and the daemon can give credit, at any time. The effect of the message
        may depend on such an event. Then the order of the answers shows whether the event happened
        before the daemon read the message. Check no more answers than necessary, because the
        message may have caused the later ones.
        """
        match message:
            case codec.Hello() | codec.Keep():
                self._take_until(lambda: not self.running)
            case codec.ExecRequest():
                self._take_until(lambda: self.fits(message))
            case codec.ExecStdin(id=id_) if running := self.running.get(id_):
                self._take_credit(running, len(message.data))

    def _take_credit(self, running: Running, size: int) -> None:
        """Check the answers that the daemon must have sent before it read `size` bytes of input.

        Either these answers give enough credit for the input, or the command has ended before.
        """
        earlier = self._earlier()
        about = [each for each in earlier if each.id == running.id]
        # Credit for input has no effect on output, so check the answers with credit first, even if
        # output precedes them.
        for answer in about:
            if running.credit >= size:
                return
            if isinstance(answer, codec.ExecStdinCredit):
                self._take(answer)
        ended = any(isinstance(each, codec.ExecResponse) for each in about)
        if running.credit < size and ended:
            self._take_until(lambda: running.id not in self.running)

    def _earlier(self) -> list[Any]:
        """Return the unchecked answers that precede the first one that is not about a command."""
        return [*takewhile(lambda each: isinstance(each, OF_COMMAND), self._answers)]

    def _take_until(self, is_over: Callable[[], bool]) -> None:
        """Check answers until `is_over` returns True, or until an answer is not about a command."""
        for answer in self._earlier():
            if is_over():
                return
            self._take(answer)

    def _begin(self, request: codec.ExecRequest) -> None:
        self.keeps = False
        command = command_of(request)
        if command.failure:
            self._expect(codec.ExecFailed(request.id, *command.failure))
            return
        self.execs += 1
        is_limited = self.is_init and request.max_processes == FEW
        self.running[request.id] = Running(
            request.id,
            command,
            (command.limited or 0) if is_limited else command.status,
            dict(zip(codec.Stream, (request.stdout_credit, request.stderr_credit), strict=True)),
            fed=request.rows > 0 or request.stdin_from is codec.StdinKind.HOST,
            sizes={(request.rows, request.columns)} if request.rows else set(),
            beside=request.beside,
            joined=request.joined,
        )

    def _take(self, answer: codec.Message) -> None:
        """Check an answer against the model, and remove it from the unchecked answers."""
        self._answers.remove(answer)
        verdict, why = self._copy.follow("guest", answer)
        agree(
            verdict is not MessageOrder.OUT_OF_ORDER, "an answer out of order", f"{answer}: {why}"
        )
        running = self.running.get(getattr(answer, "id", 0))
        if not running:
            return
        match answer:
            case codec.ExecOutput():
                running.check_output(answer)
            case codec.ExecStdinCredit():
                running.grant(answer.amount)
            case codec.ExecStdinClosed():
                running.close_input()
            case codec.ExecResponse():
                running.end(answer)
                self._leave(running.id)

    def _leave(self, id_: int) -> None:
        """Remove a command that has ended. Record whether it may have left processes behind."""
        running = self.running.pop(id_)
        if running.command.leaves:
            reached = self.is_init or not running.command.escapes
            self.strays |= not (running.command.lasts and running.torn and reached)

    def _next(self, wanted: object) -> codec.Message:
        while self._answers:
            answer = self._answers[0]
            self._take(answer)
            if not isinstance(answer, OF_COMMAND):
                return answer
        raise Disagreement("no answer", f"for {wanted}")

    def _expect(self, answer: codec.Message) -> None:
        came = self._next(answer)
        agree(came == answer, f"wrong answer for {type(answer).__name__}", f"{came} for {answer}")

    def _refuse(self, event: Event, verdict: MessageOrder) -> None:
        self.frames_refused += 1
        where = number = 0
        match event.outcome:
            case codec.DecodeError() as error:
                code, where, number = ErrorCode(error.fault), error.offset, error.field_number
            case codec.ExecRequest() if verdict is MessageOrder.OUT_OF_ORDER:
                code = ErrorCode.STALE_ID
            case codec.ExecRequest() | codec.Keep():
                code = ErrorCode.BUSY
            case codec.ExecStdin(id=id_) if id_ <= self.last_id:
                code = ErrorCode.OVER_CREDIT
            case _:
                code = ErrorCode.UNKNOWN_ID
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
