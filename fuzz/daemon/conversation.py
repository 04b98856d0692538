"""A conversation with a daemon, which compares its answers with the model after each message."""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from signal import SIGCONT, SIGSTOP

from tests.support.connection import READ_SIZE, HostConnection, Lost, Target, unread
from tests.support.daemon import DaemonProcess
from tests.support.polling import PollDeadline
from tests.support.processes import ObservedProcess, children, leads_group

from microvm.wire import codec

from ..frames import HEADER, pieces
from ..report import agree
from . import commands
from .model import Model

PAUSE = 0.02
"""Number of seconds to wait for a command. The model allows that it takes less or more time."""

_MEMORY = 2 << 20
_MEMORY_OF_PROCESS = 1 << 23
"""Maximum growth of the resident memory after the first frames, in bytes. The daemon allocates no
memory, but its buffers and the sanitizers have pages that are first used later."""

_FLOODED = 60.0  # maximum number of seconds until all output that the model requires has arrived

_SETTLING = 10.0  # maximum number of seconds until the pipes of killed processes are closed


def request_of(id_: int, argv: tuple[bytes, ...], *, beside: bool = False) -> codec.ExecRequest:
    """Return a request for a command without input and output."""
    null = codec.StdinKind.NULL
    request = codec.ExecRequest(id_, argv[0], b"", argv, (), 0, 0, b"", null, 0, 0, 0, 0)
    return replace(request, beside=beside)


class DaemonConversation:
    """A daemon under test with its model. After a failure, the next example gets a new daemon.

    :ivar targets: Number of daemons that were started.
    :ivar examples: Number of examples that have passed.
    :ivar frames: Number of frames that the daemons have confirmed by their counters.
    """

    def __init__(self, make: Callable[[], Target]) -> None:
        self._make = make
        self.target: Target | None = None
        # These nonces are larger than the nonces of strategies and of the corpus.
        self._nonces = itertools.count((1 + secrets.randbits(31)) << 32)
        self.model: Model
        self.targets = self.examples = self.frames = 0
        self.sent = self._rest = b""

    def begin(self) -> None:
        """Start an example. Each example begins in the same state of the daemon."""
        self.sent = self._rest = b""
        if self.target is None:
            self._start()
        self.greet()

    def _start(self) -> None:
        self.target = self._make()
        self._connection = HostConnection(self.target)
        self._known = 0
        self.targets += 1
        self.model = Model(self._connection.versions, is_init=self.target.is_init)
        # The longest frame fills the daemon's buffer for frames. So the kernel provides all pages
        # of this buffer now, and the memory of the daemon does not grow later.
        self._say(codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, 0))
        longest = codec.MAX_BODY
        self._write(HEADER.pack(longest, codec.ExecRequest.TYPE, 0, 1) + bytes(longest))
        self.greet()
        if self.target.is_init:
            self._use_all_slots()
        self._run_true()
        self._baseline = self._status()

    def send(self, data: bytes, cuts: Sequence[int] = (), held: int = 0) -> bool:
        """Send bytes after those that were held back before.

        :param cuts: Positions at which the bytes are split into writes.
        :param held: Number of bytes at the end that are held back, and sent before the next ones.
        :return: True if they were sent; False if they would stop the daemon or run an unknown
            command.
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
        """Send a message, if it is safe, without its last `held` bytes."""
        self.send(message.encode(), held=held)

    def release(self) -> None:
        """Send the bytes that were held back."""
        if self._rest:
            self.send(b"")
        self._rest = b""

    def make_ready(self) -> None:
        """Bring the daemon to a frame boundary."""
        self.release()
        if self.model.reader.listens():
            self.sync()
        else:
            self.greet()

    def greet(self) -> None:
        """Start a new session: complete the daemon's current frame, and send a `hello`."""
        self.release()
        filler = self.model.filler(b"")
        agree(filler is not None, "unsafe filler")
        # Each command is a child of the daemon that leads a process group; orphans lead none. An
        # older leader may be a child that could not execute its command, and is about to exit. So
        # take only the newest leaders.
        leaders = [each for each in self._children() if leads_group(each.pid)]
        running = leaders[max(0, len(leaders) - self.model.processes()) :]
        nonce = next(self._nonces)
        hello = codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce).encode()
        self.sent += (filler or b"") + hello
        self._write(filler or b"", hello)
        ready = codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce)
        self._await(lambda answer: answer == ready)
        agree(not any(each.exists() for each in running), "ready before the end", running)

    def sync(self) -> None:
        """Check all answers so far, if the daemon is at a frame boundary."""
        self.release()
        if self.model.reader.listens():
            token = next(self._nonces)
            self._say(codec.Ping(token))
            self._await(lambda answer: answer == codec.Pong(token))

    def settle(self) -> None:
        """Wait until the daemon has sent all messages about commands that the model requires."""
        self.sync()
        deadline = PollDeadline(_FLOODED)
        while self.model.reader.listens() and (missing := self.model.missing()):
            agree(not deadline.passed(), f"{missing} does not come in a flood", self.model.running)
            try:
                self._connection.exchange([], bool)
            except Lost as error:
                raise Lost(f"{missing} does not come", f"{self.model.running}; {error}") from None
            self._check()

    def pause(self, seconds: float = PAUSE) -> None:
        """Wait, so that a command can write something."""
        until = time.monotonic() + seconds
        self._connection.exchange([], lambda _: time.monotonic() >= until, interval=seconds)

    def look_away(self, read_size: int) -> None:
        """Stop reading until the socket's buffer is full, or for half a second."""
        assert self.target
        self._connection.read_size = read_size
        until = time.monotonic() + 0.5
        before, here = -1, 0
        while before < here and time.monotonic() < until:
            time.sleep(PAUSE / 4)
            before, here = here, unread(self.target.stream)

    def check_status(self) -> None:
        """Check that the daemon holds no more resources than at first, while no command runs.

        Processes that commands may have left behind are killed first.
        """
        if self.model.strays and self.model.is_init:
            if self.model.keeps:
                self.greet()
            self.greet()
        deadline = PollDeadline(_SETTLING)
        while more := self._more(status := self._status()):
            what = f"{more} not as at first"
            agree(not deadline.passed(), what, f"{status}, then {self._baseline}")
            if self.model.strays:
                for child in self._children():
                    child.kill()
            self.pause(PAUSE / 2)
        self.model.strays = False

    def _more(self, status: codec.Status) -> str:
        """Return a resource of which the daemon holds more than at first; empty if none."""
        most = _MEMORY if self.model.is_init else _MEMORY_OF_PROCESS
        has_more = {
            "descriptors": status.descriptors != self._baseline.descriptors,
            "zombies": status.zombies,
            "memory": status.memory > self._baseline.memory + most,
            # After a hello, the daemon has closed the pipes of children, so count these themselves.
            "children": self._children(),
        }
        return next((name for name, more in has_more.items() if more), "")

    def _children(self) -> list[ObservedProcess]:
        """Return the children of a daemon that is a process; none in a guest."""
        pids = children(self.target.pid) if isinstance(self.target, DaemonProcess) else []
        return [ObservedProcess.of(pid) for pid in pids]

    def finish(self) -> None:
        """Finish an example: check that the daemon answers, and holds no more than at first."""
        self.greet()
        self.sync()
        self._run_true()
        self.check_status()
        self.examples += 1

    def end(self, way: str, last_words: bytes) -> None:
        """Stop a daemon that is a process, and check the processes that it leaves.

        :param way: "shutdown" to send this message; "whole" to close the stream; "half" to close
            only the direction to the daemon, so that it can send `goodbye`.
        :param last_words: Bytes that are sent before the stream is closed. They must not run a
            command.
        """
        self.sync()
        daemon = self.target
        assert isinstance(daemon, DaemonProcess), "this is for processes only"
        left = daemon.descendants()
        # If so much output is unread, the daemon does not wait long enough to send a goodbye.
        is_unread = any(each.command.endless for each in self.model.running.values())
        if way == "shutdown":
            self._say(codec.Shutdown())
            self._read_to_end(codec.GoodbyeReason.SHUTDOWN)
        elif way == "whole" or is_unread:
            self.send(last_words)
        else:
            stream = daemon.stream
            self._connection.exchange([], lambda _: not unread(stream, theirs=True), interval=PAUSE)
            # Stop the daemon, so that it reads these bytes and the end of file together.
            daemon.process.send_signal(SIGSTOP)
            self.send(last_words)
            stream.shutdown(socket.SHUT_WR)
            daemon.process.send_signal(SIGCONT)
            self._read_to_end(codec.GoodbyeReason.BROKEN)
        self._assert_clean_exit(daemon, left)

    def close(self) -> None:
        target, self.target = self.target, None
        if target is not None:
            target.close()

    def _read_to_end(self, reason: codec.GoodbyeReason) -> None:
        """Read to the end of the stream, and check that the last message is a `goodbye`."""
        try:
            self._connection.exchange([], lambda _: False)
        except Lost as error:
            agree(error.ended, "no end of the stream", error)
        self._check(codec.Goodbye(reason))

    def _assert_clean_exit(self, daemon: DaemonProcess, left: Sequence[ObservedProcess]) -> None:
        """Check that the daemon exits without errors and children, and start another one."""
        must_end = left if self.model.ends_all() else []
        daemon.stream.close()
        status, report = daemon.wait(), daemon.report()
        try:
            agree(status == 0, "wrong status of the daemon", report)
            agree(not daemon.words(), "words of the daemon", report)
            deadline = PollDeadline(_SETTLING)
            while any(each.is_alive() for each in must_end):
                agree(not deadline.passed(), "a child that outlives the daemon", must_end)
                os.sched_yield()
        finally:
            for each in left:
                each.kill()
            self.close()
        self._start()

    def _use_all_slots(self) -> None:
        """Run the maximum number of commands at once, so the daemon creates all its cgroups."""
        for number in range(1, codec.MAX_COMMANDS + 1):
            id_ = self.model.last_id + number
            self._say(request_of(id_, commands.LASTING[0].argv, beside=True))
        self.sync()
        agree(len(self.model.running) == codec.MAX_COMMANDS, "fewer commands than there are slots")
        self.greet()

    def _run_true(self) -> None:
        self._say(request_of(self.model.last_id + 1, (b"true",)))
        self.settle()
        agree(not self.model.running, "true does not end", self.model.running)

    def _status(self) -> codec.Status:
        """Request and return the daemon's counters, which confirm the frames so far."""
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
