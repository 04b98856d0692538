"""The keeper: the process that connects the host to the worker, and executes no code of cells."""

from __future__ import annotations

import os
import select
import signal
import socket

from interpreter.codec import MAX_FRAME, MalformedFrame, decode, encode
from interpreter.links import HostLink, InterruptMark, WorkerLink, accepted_host, unread
from interpreter.processes import (
    boot_ticks,
    deaths_by_memory,
    has_exited,
    interrupt_started,
    kill_all,
    kill_started,
)
from interpreter.tables import (
    DEATH_BROKEN,
    DEATH_EXITED,
    DEATH_KILLED,
    DEATH_OUT_OF_MEMORY,
    DEATH_SIGNALLED,
    DIGEST,
    INTERPRETER,
    MAX_TEXT,
)
from interpreter.wakeups import Wakeups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FROM_HOST, FROM_GUEST = INTERPRETER["host"], INTERPRETER["guest"]

OF_KEEPER = frozenset(("ready", "output", "died"))
"""The messages of the guest that the worker must not send."""

OF_THREADS = frozenset(("piece", "display", "ask"))
"""The messages that a thread of an earlier cell can send at any time."""

TEXTS = {"piece": 1, "display": 4, "result": 7, "value": 1}
"""For each message with a text, the index of this field. The field before it is the offset."""


class Keeper:
    """The keeper of one worker.

    :ivar is_single: True if the keeper serves one host, and exits when this host disconnects.
    :ivar pipes: For each pipe of the worker's output, the number of the stream.
    :ivar worker: Process id of the worker; 0 after its death.
    :ivar requests: Number of requests so far.
    :ivar since: Time at which the running request began, as `boot_ticks` returns it.
    :ivar deaths_by_memory: The result of the function of this name when the request began.
    :ivar credit: Number of bytes that the host allows the guest to send.
    :ivar offset: Number of bytes of the incomplete text that the worker has sent.
    :ivar question: Number of the worker's question that waits for an answer; 0 without one.
    :ivar held: Packet of the worker that cannot be sent yet, with the number of bytes that take
        credit, and the state that follows.
    :ivar owed: For each pipe, the number of bytes that must be sent before the answer.
    :ivar killed_as: The reason for which the keeper has killed the worker; 0 if it has not.
    :ivar death: The ending and the status in the message `died`; None while the worker lives.
    """

    def __init__(
        self,
        listener: socket.socket,
        worker: int,
        link: WorkerLink,
        pipes: dict[int, int],
        mark: InterruptMark,
        is_single: bool,
    ) -> None:
        self.listener = listener
        self.worker = worker
        self.link = link
        self.pipes = pipes
        self.mark = mark
        self.wakeups = Wakeups()
        self.is_single = is_single
        self.host: HostLink | None = None
        self.state = "idle"
        self.requests = 0
        self.since = 0
        self.credit = 0
        self.offset = 0
        self.question = 0
        self.held: tuple[bytes, int, str] | None = None
        self.owed: dict[int, int] = {}
        self.killed_as = 0
        self.death: tuple[int, int] | None = None
        self.deaths_by_memory = deaths_by_memory()
        self.poll = select.poll()
        self.polls: dict[tuple[Any, ...], select.poll] = {}
        self.conditions: tuple[Any, ...] = ()
        self.wakeup, waker = os.pipe()
        listener.setblocking(False)
        for fd in (self.wakeup, waker, *pipes):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Serve hosts until the worker has exited and a host has been notified."""
        while self.state != "finished" or self.host:
            self.watch()
            pause = self.wakeups.send(self.worker if self.is_busy() else 0)
            ready = dict(self.poll.poll(CLOSE_TIMEOUT if self.state == "finished" else pause))
            if self.state == "finished" and not ready:
                return
            if self.wakeup in ready:
                self.reap()
            for fd in list(self.pipes):
                if fd in ready:
                    self.forward_output(fd)
            if self.link.fd in ready:
                self.link.flush()
                self.receive_from_worker(ready)
            if self.host and self.host.fd in ready:
                self.serve_host(self.host)
            if self.listener.fileno() in ready:
                self.accept()
            self.send_held()
            if self.death:
                self.conclude()

    def is_busy(self) -> bool:
        """Return True if the worker executes a request."""
        return bool(self.worker) and self.state not in ("idle", "finished")

    def takes_output(self) -> bool:
        """Return True if output can be sent now, or dropped because its request is abandoned."""
        host = self.host
        if host:
            return self.state == "running" and not host.unsent and self.credit > 0
        return self.is_busy()

    def watch(self) -> None:
        """Choose the events to wait for.

        The worker's socket is registered before the pipes, so the kernel looks at it first. If the
        kernel finds an answer there, it also finds the output that was written before the answer.
        """
        host = self.host
        is_free = not (host and host.unsent)
        conditions = (
            host.fd if host else -1,
            is_free,
            self.link.is_open and is_free and self.held is None,
            bool(self.link.queue),
            self.takes_output(),
            host is None and not self.is_busy(),
            tuple(self.pipes),
        )
        if conditions == self.conditions:
            return
        self.conditions = conditions
        if conditions in self.polls:
            self.poll = self.polls[conditions]
            return
        _, _, takes_packets, has_queue, takes_output, accepts, _ = conditions
        self.poll = self.polls[conditions] = select.poll()
        self.poll.register(self.wakeup, select.POLLIN)
        if takes_packets or has_queue:
            events = (select.POLLIN if takes_packets else 0) | (select.POLLOUT if has_queue else 0)
            self.poll.register(self.link.fd, events)
        for fd in self.pipes if takes_output else ():
            self.poll.register(fd, select.POLLIN)
        if accepts:
            self.poll.register(self.listener, select.POLLIN)
        if host:
            self.poll.register(host.fd, select.POLLIN | (0 if is_free else select.POLLOUT))

    def accept(self) -> None:
        """Accept the connection of a host, but refuse a process that a cell has started."""
        self.host = accepted_host(self.listener)
        if not self.host:
            return
        if self.is_single:
            os.unlink(self.listener.getsockname())
        self.credit = self.offset = self.question = 0
        self.owed = {}
        self.state = "idle"
        if not self.death:
            self.host.send(encode("ready", DIGEST))

    def serve_host(self, host: HostLink) -> None:
        """Execute the messages that have arrived from the host."""
        host.flush()
        try:
            for frame in host.receive():
                self.execute(frame)
        except (EOFError, MalformedFrame):
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection to the host, and end the request that it has sent.

        If the keeper serves a single host, it then exits.
        """
        if self.host:
            self.host.close()
        self.host = None
        self.send_held()
        if self.is_single:
            self.state = "finished"
        elif self.is_busy():
            self.interrupt()
            kill_started(os.getpid(), self.worker, self.since)

    def execute(self, frame: bytes) -> None:
        """Execute a message of the host.

        :raises MalformedFrame: The message is malformed or out of order.
        """
        name, values = decode(frame, "host")
        steps = FROM_HOST[self.state]
        if name not in steps:
            raise MalformedFrame("out of order")
        following = steps[name]
        if following is None or (self.death and name != "credit"):
            return
        if name == "credit":
            self.credit = min(self.credit + values[0], 0xFFFFFFFF)
        elif name == "interrupt":
            self.interrupt()
        elif name == "kill_started":
            kill_started(os.getpid(), self.worker, self.since)
        elif name == "kill":
            self.kill_worker(DEATH_KILLED)
        elif name != "answer" or values[0] == self.question:
            if following != self.state:
                self.requests += 1
                self.since = boot_ticks()
                self.deaths_by_memory = deaths_by_memory()
                self.offset = 0
            self.question = 0
            self.state = following
            if not self.link.send(frame):
                self.kill_worker(DEATH_BROKEN)

    def interrupt(self) -> None:
        """Interrupt the running request."""
        self.mark.set(self.requests)
        interrupt_started(os.getpid(), self.worker, self.since)
        self.wakeups.begin()

    def kill_worker(self, reason: int) -> None:
        """Kill the worker. The message `died` will contain the reason."""
        if self.worker:
            self.killed_as = self.killed_as or reason
            kill_all(os.getpid(), self.worker)

    def forward_output(self, fd: int) -> None:
        """Send output from a pipe to the host, or drop it if there is no host."""
        size = MAX_OUTPUT
        if not self.takes_output():
            return
        if self.host:
            size = min(size, self.credit)
        try:
            data = os.read(fd, size)
        except BlockingIOError:
            return
        if not data:
            os.close(fd)
            del self.pipes[fd]
            self.owed.pop(fd, None)
            return
        if fd in self.owed:
            self.owed[fd] -= len(data)
            if self.owed[fd] <= 0:
                del self.owed[fd]
        if self.host:
            self.credit -= len(data)
            self.host.send(encode("output", self.pipes[fd], data))

    def receive_from_worker(self, ready: dict[int, int]) -> bool:
        """Read a packet of the worker and hold it. Return False if there was none.

        :param ready: The events that `poll` has found at the same time.
        """
        if self.held:
            return True
        if not self.link.is_open:
            return False
        try:
            packet = self.link.receive()
            if packet is None:
                return False
            name, values = decode(packet, "guest")
            following = self.follow(name, values)
        except (EOFError, MalformedFrame) as error:
            self.link.is_open = False
            if isinstance(error, MalformedFrame) or not has_exited(self.worker):
                self.kill_worker(DEATH_BROKEN)
            return False
        if following:
            size = len(values[TEXTS[name]]) if name in ("piece", "display") else 0
            self.held = packet, size, following
            if following == "idle":
                self.find_owed(ready)
        return True

    def follow(self, name: str, values: list[Any]) -> str:
        """Return the state after a message of the worker, or "" if the message must be dropped.

        :raises MalformedFrame: The message is out of order.
        """
        following: str | None = FROM_GUEST[self.state].get(name)
        if following is None and name in OF_THREADS:
            return ""
        if following is None or name in OF_KEEPER:
            raise MalformedFrame("out of order")
        if name in TEXTS:
            offset, text = values[TEXTS[name] - 1], values[TEXTS[name]]
            if offset not in (0, self.offset):
                if name in OF_THREADS:
                    return ""
                raise MalformedFrame("a text with a gap")
            if offset + len(text) > MAX_TEXT and following == "idle":
                raise MalformedFrame("a text that is too long")
            self.offset = offset + len(text) if name == "piece" else 0
        elif name == "ask":
            self.question = values[0]
        return following

    def find_owed(self, ready: dict[int, int]) -> None:
        """Count the output that was written before the held answer, so that it is sent first.

        If `poll` has checked a pipe and found no output, the pipe contains none of this output.
        """
        for fd in self.pipes if self.state == "running" else ():
            if fd in ready or not self.conditions[4]:
                size = unread(fd)
                if size:
                    self.owed[fd] = size

    def send_held(self) -> None:
        """Send the packet that is held, if the host has given credit and no output is owed."""
        if not self.held:
            return
        packet, size, following = self.held
        if self.host:
            if size > self.credit or (following == "idle" and self.owed):
                return
            self.credit -= size
            self.host.send(packet)
        self.state = following
        self.held = None

    def reap(self) -> None:
        """Read the status of each child process that has exited."""
        os.read(self.wakeup, MAX_FRAME)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.worker:
                self.note_death(status)

    def note_death(self, status: int) -> None:
        """Note how the worker died, and kill every process that it has started."""
        kill_all(os.getpid(), self.worker)
        self.worker = 0
        if os.WIFEXITED(status):
            self.death = DEATH_EXITED, os.WEXITSTATUS(status)
        else:
            number = os.WTERMSIG(status)
            ending = DEATH_SIGNALLED
            if number == signal.SIGKILL:
                by_memory = deaths_by_memory() > self.deaths_by_memory
                ending = self.killed_as or (DEATH_OUT_OF_MEMORY if by_memory else ending)
            self.death = ending, number
        self.find_owed(dict.fromkeys(self.pipes, 0))

    def conclude(self) -> None:
        """Send the worker's remaining messages and output, and then the message `died`."""
        while self.receive_from_worker({}):
            self.send_held()
            if self.held:
                return
        if self.host and self.death and not (self.owed or self.host.unsent):
            self.host.send(encode("died", *self.death))
            self.host.end()
            self.state = "finished"


CLOSE_TIMEOUT = 5000
"""Maximum number of milliseconds to wait until the host closes the connection.

If the keeper closed it first, while messages of the host still arrive, the host might not receive
the last message of the keeper.
"""

MAX_OUTPUT = MAX_FRAME - 16
"""Maximum number of bytes in an `output`."""
