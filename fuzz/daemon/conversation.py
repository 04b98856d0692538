"""A conversation with a daemon: what comes is as the model says, and it lives on as it was."""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from signal import SIGCONT, SIGSTOP

from tests.support.connection import READ_SIZE, Connection, Lost, Target, unread
from tests.support.daemon import DaemonProcess
from tests.support.polling import Deadline
from tests.support.processes import Process, children, leads_group

from microvm.wire import codec

from ..disagreement import agree
from ..frames import HEADER, pieces
from .model import Model

PAUSE = 0.02
"""Seconds that a command is given; whether it takes less or more, the model follows."""

_MEMORY = 2 << 20
_MEMORY_OF_PROCESS = 1 << 23
"""The bytes that may become resident after the first frames: nothing is allocated, but buffers
have pages that are seldom used; the sanitizers have their own."""

_SETTLING = 10.0
"""Seconds in which pipes of processes that have been killed are closed."""


class DaemonConversation:
    """A target with its model; after a failure the next example meets a new target.

    :ivar target: the one that is there, if any.
    :ivar targets: how many have been started.
    :ivar examples: how many have passed.
    :ivar frames: how many daemons have confirmed by their counters.
    :ivar sent: what was sent in this example.
    :ivar model: the model of the target that was started last.
    """

    def __init__(self, make: Callable[[], Target]) -> None:
        """Take a function that starts a target."""
        self._make = make
        self.target: Target | None = None
        # No strategy draws any as large, and no file of the corpus has the same.
        self._nonces = itertools.count((1 + secrets.randbits(31)) << 32)
        self.model: Model
        self.targets = self.examples = self.frames = 0
        self.sent = self._rest = b""

    def begin(self) -> None:
        """Start an example; every one meets the same state, on a new target as later."""
        self.sent = self._rest = b""
        if self.target is None:
            self._start()
        self.greet()

    def _start(self) -> None:
        self.target = self._make()
        self._connection = Connection(self.target)
        self._known = 0
        self.targets += 1
        self.model = Model(self._connection.versions, is_init=self.target.is_init)
        # Every page of its buffers is resident from now on.
        self._say(codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, 0))
        longest = codec.MAX_BODY
        self._write(HEADER.pack(longest, codec.ExecRequest.TYPE, 0, 1) + bytes(longest))
        self.greet()
        self._run_true()
        self._baseline = self._status()

    def send(self, data: bytes, cuts: Sequence[int] = (), held: int = 0) -> bool:
        """Send what was held back and some bytes, cut in these places, but for the last `held`.

        :return: whether they were sent; what would end the daemon, or run what is unknown, is not.
        """
        before, data = len(self._rest), self._rest + data
        end = max(before, len(data) - held)
        if None in (self.model.filler(data), self.model.filler(data[:end])):
            return False
        self._rest = data[end:]
        self.sent += data[:end]
        self._write(*pieces(data[:end], [before + cut for cut in cuts if before + cut < end]))
        return True

    def say(self, message: codec.Message, held: int = 0) -> None:
        """Send a message, if it may be sent, but for its last bytes."""
        self.send(message.encode(), held=held)

    def release(self) -> None:
        """Send what was held back."""
        if self._rest:
            self.send(b"")
        self._rest = b""

    def make_ready(self) -> None:
        """Bring the daemon into a known state, in which a frame may begin."""
        self.release()
        if self.model.reader.listens():
            self.sync()
        else:
            self.greet()

    def greet(self) -> None:
        """Start afresh, in whatever state the daemon is: behind what completes its last frame."""
        self.release()
        filler = self.model.filler(b"")
        agree(filler is not None, "unsafe filler")
        # The newest child with a group of its own, as its orphans have not: before it there may be
        # one that could not be started and has not quite ended.
        leaders = [each for each in self._children() if leads_group(each.pid)]
        command = leaders[-1:] if self.model.runs_alone() else []
        nonce = next(self._nonces)
        hello = codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce).encode()
        self.sent += (filler or b"") + hello
        self._write(filler or b"", hello)
        ready = codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce)
        self._await(lambda answer: answer == ready)
        agree(not any(each.exists() for each in command), "ready before the end", command)

    def sync(self) -> None:
        """Check all that has come by now, unless the daemon waits for a hello or a frame's rest."""
        self.release()
        if self.model.reader.listens():
            token = next(self._nonces)
            self._say(codec.Ping(token))
            self._await(lambda answer: answer == codec.Pong(token))

    def settle(self) -> None:
        """Wait until the command in flight has done all that it must do by itself."""
        self.sync()
        while self.model.reader.listens() and (missing := self.model.missing()):
            try:
                self._connection.exchange([], bool)
            except Lost as error:
                raise Lost(f"{missing} does not come", f"{self.model.running}; {error}") from None
            self._check()

    def pause(self, seconds: float = PAUSE) -> None:
        """Give a command time to say something."""
        until = time.monotonic() + seconds
        self._connection.exchange([], lambda _: time.monotonic() >= until, interval=seconds)

    def look_away(self, read_size: int) -> None:
        """Read nothing until no more comes, at most for half a second; then so much at a time."""
        assert self.target
        self._connection.read_size = read_size
        until = time.monotonic() + 0.5
        before, here = -1, 0
        while before < here and time.monotonic() < until:
            time.sleep(PAUSE / 4)
            before, here = here, unread(self.target.stream)

    def check_status(self) -> None:
        """See that the daemon holds no more than at first, while nothing is in flight.

        What commands have left behind by right is ended for that; what they have not left is not.
        """
        if self.model.strays and self.model.is_init:
            if self.model.keeps:
                self.greet()
            self.greet()
        deadline = Deadline(_SETTLING)
        while more := self._more(status := self._status()):
            what = f"{more} not as at first"
            agree(not deadline.passed(), what, f"{status}, then {self._baseline}")
            if self.model.strays:
                for child in self._children():
                    child.kill()
            self.pause(PAUSE / 2)
        self.model.strays = False

    def _more(self, status: codec.Status) -> str:
        """Describe what a daemon has more of than at first."""
        most = _MEMORY if self.model.is_init else _MEMORY_OF_PROCESS
        has_more = {
            "descriptors": status.descriptors != self._baseline.descriptors,
            "zombies": status.zombies,
            "memory": status.memory > self._baseline.memory + most,
            # A hello has the daemon let go of their pipes, so that these do not tell of them.
            "children": self._children(),
        }
        return next((name for name, more in has_more.items() if more), "")

    def _children(self) -> list[Process]:
        """Return the children of a daemon that is a process; in a guest a hello has ended them."""
        pids = children(self.target.pid) if isinstance(self.target, DaemonProcess) else []
        return [Process.of(pid) for pid in pids]

    def finish(self) -> None:
        """End an example: the daemon answers, and is as it was."""
        self.greet()
        self.sync()
        self._run_true()
        self.check_status()
        self.examples += 1

    def end(self, way: str, last_words: bytes) -> None:
        """End a daemon that is a process, and look at what it leaves.

        :param way: "shutdown" by a frame, while it listens; or by the end of the "whole" stream, or
            of the "half" that leads to it, so that it can say goodbye.
        :param last_words: what is said before the stream ends, nothing that runs a command.
        """
        self.sync()
        daemon = self.target
        assert isinstance(daemon, DaemonProcess), "this is for processes only"
        left = daemon.descendants()
        # The daemon does not wait long for a host that leaves so much unread.
        is_unread = self.model.running and self.model.running.command.endless
        if way == "shutdown":
            self._say(codec.Shutdown())
            self._read_to_end(codec.GoodbyeReason.SHUTDOWN)
        elif way == "whole" or is_unread:
            self.send(last_words)
        else:
            stream = daemon.stream
            self._connection.exchange([], lambda _: not unread(stream, theirs=True), interval=PAUSE)
            daemon.process.send_signal(SIGSTOP)  # so that it meets these and the end at once
            self.send(last_words)
            stream.shutdown(socket.SHUT_WR)
            daemon.process.send_signal(SIGCONT)
            self._read_to_end(codec.GoodbyeReason.BROKEN)
        self._assert_clean_exit(daemon, left)

    def close(self) -> None:
        """End the target."""
        target, self.target = self.target, None
        if target is not None:
            target.close()

    def _read_to_end(self, reason: codec.GoodbyeReason) -> None:
        """Read to the end of the stream, which a goodbye is before."""
        try:
            self._connection.exchange([], lambda _: False)
        except Lost as error:
            agree(error.ended, "no end of the stream", error)
        self._check(codec.Goodbye(reason))

    def _assert_clean_exit(self, daemon: DaemonProcess, left: Sequence[Process]) -> None:
        """See that the daemon ends well, and what it should with it; start another."""
        must_end = left if self.model.ends_all() else []
        daemon.stream.close()
        status, report = daemon.wait(), daemon.report()
        try:
            agree(status == 0, "wrong status of the daemon", report)
            agree(not daemon.words(), "words of the daemon", report)
            deadline = Deadline(_SETTLING)
            while any(each.is_alive() for each in must_end):
                agree(not deadline.passed(), "a child that outlives the daemon", must_end)
                os.sched_yield()
        finally:
            for each in left:
                each.kill()
            self.close()
        self._start()

    def _run_true(self) -> None:
        id_, name, null = self.model.last_id + 1, b"true", codec.StdinKind.NULL
        self._say(codec.ExecRequest(id_, name, b"", (name,), (), 0, 0, b"", null, 0, 0, 0, 0))
        self.settle()
        agree(self.model.running is None, "true does not end", self.model.running)

    def _status(self) -> codec.Status:
        """Ask for its counters, which confirm the frames that were sent until then."""
        self._say(codec.StatusRequest())
        self._await(lambda answer: isinstance(answer, codec.Status))
        assert self.model.status
        known = self.model.frames_seen + self.model.frames_refused
        self.frames += known - self._known
        self._known = known
        return self.model.status

    def _say(self, message: codec.Message) -> None:
        self._write(message.encode())

    def _write(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.model.feed(piece)
        self._connection.exchange(pieces, lambda _: True)

    def _await(self, is_last: Callable[[codec.Message], bool]) -> None:
        self._connection.exchange([], lambda answers: any(map(is_last, answers)))
        self._check()

    def _check(self, last: codec.Message | None = None) -> None:
        self._connection.read_size = READ_SIZE
        self.model.check(self._connection.take(), last)
