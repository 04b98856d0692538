"""A conversation with a daemon: what comes is as the model says, and it lives on as it was."""

from __future__ import annotations

import itertools
import os
import secrets
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.support.target import PLENTY, Child, Lost, Process, Target, exchange, unread

from microvm.wire import codec

from ..frames import frame
from ..strategies import Part
from .model import Model
from .running import agree

PAUSE = 0.02
"""Seconds that a command is given; whether it takes less or more, the model follows."""


_MEMORY = 1 << 20
_MEMORY_OF_PROCESS = 1 << 23
"""What may become resident after the first frames: the daemon allocates nothing, but its buffers
have pages that are seldom used; the sanitizers have their own."""

_BLINK = 0.5
"""Seconds for which nothing is read, at most."""

_SETTLING = 10.0
"""Seconds in which pipes of processes that have been killed are closed."""


class Conversation:
    """A target with its model; after a failure the next example meets a new target.

    :ivar targets: how many have been started.
    :ivar examples: how many have passed.
    :ivar counts: frames that daemons have confirmed by their counters, by type; 0 for malformed.
    :ivar sent: what was sent in this example.
    :ivar peak: the most memory that a daemon has had beyond what it had at first, in bytes.
    :ivar model: of the target that is there.
    """

    def __init__(self, make: Callable[[], Target]) -> None:
        """Take a function that starts a target."""
        self._make = make
        self._target: Target | None = None
        # No strategy draws any as large, and no file of the corpus has the same.
        self._nonces = itertools.count((1 + secrets.randbits(31)) << 32)
        self._decoder = codec.Decoder("guest")
        self._answers: list[codec.Message] = []
        self._baseline: codec.Status | None = None
        self._known: Counter[int] = Counter()
        self._read_size = PLENTY
        self.model = Model()
        self.targets = 0
        self.examples = 0
        self.counts: Counter[int] = Counter()
        self.sent: list[Part] = []
        self.peak = 0

    @property
    def confirmed(self) -> int:
        """How many frames daemons have confirmed."""
        return self.counts.total()

    def begin(self) -> None:
        """Start an example; every one meets the same state, on a new target as later."""
        self._read_size = PLENTY
        if self._target is None:
            self._start()
        self.sent = []
        self.greet()

    def _start(self) -> None:
        self._target = self._make()
        self.targets += 1
        self._decoder = codec.Decoder("guest")
        self._answers = []
        self._baseline = None
        self._known = Counter()
        self.model = Model(is_init=self._target.is_init)
        # Every page of its buffers is resident from now on.
        largest = frame(codec.ExecRequest.TYPE, bytes(codec.MAX_BODY), id_=1)
        self._say(codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, 0))
        self._write([largest])
        self.greet()
        self._run_true()
        self._baseline = self._status()

    def send(self, parts: Sequence[Part], cuts: Sequence[int] = ()) -> bool:
        """Send some bytes, cut in these places.

        :return: whether they were sent; what would end the daemon, or run what is unknown, is not.
        """
        data = b"".join(part.data for part in parts)
        if self.model.filler(data) is None:
            return False
        self.sent += parts
        ends = [*cuts, len(data)]
        self._write([data[a:b] for a, b in zip([0, *cuts], ends, strict=True) if a < b])
        return True

    def greet(self) -> None:
        """Start afresh, in whatever state the daemon is: behind what completes its last frame."""
        filler = self.model.filler(b"")
        agree(filler is not None, "unsafe filler")
        command = self._command()
        nonce = next(self._nonces)
        hello = codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce).encode()
        self.sent += [Part("filler", filler or b""), Part("hello", hello)]
        self._write([filler or b"", hello])
        ready = codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce)
        self._await(lambda answer: answer == ready)
        agree(not any(child.is_there() for child in command), "ready before the end", command)

    def _command(self) -> list[Child]:
        """Return the process of the command in flight, where it is known which that is."""
        running = self.model.running if self.model.is_sure() else None
        if not isinstance(self._target, Process) or running is None or self.model.strays:
            return []
        if running.command.leaves or running.command.concurrent:
            return []
        # Before it may stand one that could not be started and has not quite ended.
        return self._target.children()[-1:]

    def sync(self) -> None:
        """Check all that has come by now, unless the daemon waits for a hello or a frame's rest."""
        if self.model.reader.listens():
            token = next(self._nonces)
            self._say(codec.Ping(token))
            self._await(lambda answer: answer == codec.Pong(token))

    def settle(self) -> None:
        """Wait until the command in flight has done all that it must do by itself."""
        self.sync()
        while self.model.reader.listens() and (debt := self.model.owes()):
            try:
                self._exchange([], bool)
            except Lost as error:
                raise Lost(f"{debt} does not come", f"{self.model.running}; {error}") from None
            self._check()

    def pause(self, seconds: float = PAUSE) -> None:
        """Give a command time to say something."""
        until = time.monotonic() + seconds
        self._exchange([], lambda _: time.monotonic() >= until, patience=seconds)

    def look_away(self, read_size: int) -> None:
        """Read nothing until no more comes, and then to the next check so much at a time."""
        assert self._target
        self._read_size = read_size
        until = time.monotonic() + _BLINK
        before, here = -1, 0
        while before < here and time.monotonic() < until:
            select.select([], [], [], PAUSE / 4)
            before, here = here, unread(self._target.stream)

    def check_status(self) -> None:
        """See that the daemon holds no more than at first, while nothing is in flight.

        What commands have left behind by right is ended for that; what they have not left is not.
        """
        if self.model.strays and self.model.is_init:
            self.greet()
        deadline = time.monotonic() + _SETTLING
        while True:
            status = self._status()
            first = self._baseline or status
            self.peak = max(self.peak, status.memory - first.memory)
            # A hello has the daemon let go of their pipes, so that these do not tell of them.
            left = isinstance(self._target, Process) and self._target.children()
            more = self._more(status, first) or ("children" if left else "")
            if not more:
                self.model.strays = False
                return
            what = f"{more} not as at first"
            agree(time.monotonic() < deadline, what, f"{status}, then {first}")
            if self._target and self.model.strays:
                self._target.end_strays()
            self.pause(PAUSE / 2)

    def finish(self) -> None:
        """End an example: the daemon answers, and is as it was."""
        self.greet()
        self.sync()
        self._run_true()
        self.check_status()
        self.examples += 1

    def hang_up(self, data: bytes, *, half: bool) -> None:
        """End a daemon that is a process by the end of its stream, and look at what it leaves.

        :param data: the last words, no more than a part of a frame.
        :param half: only the way to it ends, so that it can say goodbye.
        """
        self.sync()
        target = self._process()
        family = target.family()
        # The daemon does not wait long for a host that leaves so much unread.
        half = half and not (self.model.running and self.model.running.command.endless)
        if self.send([Part("last words", data)]) and half:
            target.stream.shutdown(socket.SHUT_WR)
            self._part(codec.Goodbye(codec.GoodbyeReason.BROKEN))
        self._assert_clean_exit(target, family)

    def shut_down(self) -> None:
        """End a daemon that is a process by a frame."""
        self.sync()
        if self.model.reader.listens():
            target = self._process()
            family = target.family()
            self._say(codec.Shutdown())
            self._part(codec.Goodbye(codec.GoodbyeReason.SHUTDOWN))
            self._assert_clean_exit(target, family)

    def close(self) -> None:
        """End the target."""
        target, self._target = self._target, None
        if target is not None:
            target.close()

    def _process(self) -> Process:
        assert isinstance(self._target, Process), "this is for processes only"
        return self._target

    def _part(self, goodbye: codec.Goodbye) -> None:
        """Read to the end of the stream."""
        try:
            self._exchange([], lambda _: False)
        except Lost as error:
            agree(error.ended, "no end of the stream", error)
        self._check(goodbye)

    def _assert_clean_exit(self, target: Process, family: Sequence[Child]) -> None:
        """See that the daemon ends well, and what it should with it; start another."""
        must_end = family if self._ends_all() else []
        target.stream.close()
        status = target.wait()
        report = target.report()
        try:
            agree(status == 0, "wrong status of the daemon", report)
            agree(not target.words(), "words of the daemon", report)
            deadline = time.monotonic() + _SETTLING
            while any(child.runs() for child in must_end):
                agree(time.monotonic() < deadline, "a child that outlives the daemon", must_end)
                os.sched_yield()
        finally:
            for child in family:
                child.kill()
            self.close()
        self._start()

    def _ends_all(self) -> bool:
        """Whether everything that has been started is in the group of the command in flight."""
        running = self.model.running
        if self.model.strays or running is None:
            return not self.model.strays
        command = running.command
        return not command.leaves or (command.lasts and not command.escapes and not running.kills)

    def _run_true(self) -> None:
        self._say(
            codec.ExecRequest(
                self.model.last_id + 1,
                b"true",
                b"",
                (b"true",),
                (),
                0,
                0,
                b"",
                codec.StdinKind.NULL,
                0,
                0,
                0,
                0,
            )
        )
        self.settle()
        agree(self.model.running is None, "true does not end", self.model.running)

    def _status(self) -> codec.Status:
        """Ask for its counters, which confirm the frames that were sent until then."""
        self._say(codec.StatusRequest())
        self._await(lambda answer: isinstance(answer, codec.Status))
        assert self.model.status
        known = self.model.counts + Counter({0: self.model.frames_refused})
        self.counts += known - self._known
        self._known = known
        return self.model.status

    def _say(self, message: codec.Message) -> None:
        self._write([message.encode()])

    def _write(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self.model.feed(piece)
        self._exchange(pieces, lambda _: True)

    def _await(self, is_last: Callable[[codec.Message], bool]) -> None:
        looked = 0

        def enough(answers: list[codec.Message]) -> bool:
            nonlocal looked
            new, looked = answers[looked:], len(answers)
            return any(map(is_last, new))

        self._exchange([], enough)
        self._check()

    def _check(self, last: codec.Message | None = None) -> None:
        answers, self._answers = self._answers, []
        self._read_size = PLENTY
        self.model.check(answers, last)

    def _exchange(
        self,
        pieces: Sequence[bytes],
        enough: Callable[[list[codec.Message]], bool],
        *,
        patience: float = 1.0,
    ) -> None:
        assert self._target
        exchange(
            self._target,
            self._decoder,
            pieces,
            enough,
            patience=patience,
            answers=self._answers,
            read_size=self._read_size,
            versions=self.model.versions,
        )

    def _more(self, status: codec.Status, first: codec.Status) -> str:
        """Of what a daemon has more than at first."""
        if status.descriptors != first.descriptors:
            return "descriptors"
        if status.zombies:
            return "zombies"
        most = _MEMORY if self.model.is_init else _MEMORY_OF_PROCESS
        return "memory" if status.memory > first.memory + most else ""
