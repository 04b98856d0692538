"""The client of a supervisor: code that blocks, and imports next to nothing.

`microvm exec` is to take no longer than its command and Python's start.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from select import POLLIN, POLLRDHUP, poll

from microvm.supervisor import wire
from microvm.supervisor.machine_directory import SOCKET, MachineDirectory
from microvm.supervisor.runtime_directory import RuntimeDirectory
from microvm.system.process import is_stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Self

    from microvm.errors import MachineError, MicroVMError

_CONNECT_TIMEOUT = 10.0  # in seconds
_SEND_TIMEOUT = 10.0  # the maximum number of seconds to send a line

# How long a supervisor may be silent until it is pinged, in ms, and for how many pings in a row. We
# count, as what stops both of us at the same time stops no clock.
_INTERVAL = 5000
_MOST_PINGS = 12
# number of silent intervals after which we no longer wait for a supervisor that a signal has
# stopped
_LOOKS = 2
_PAUSE = 0.02  # between two attempts to connect, in seconds
_CHUNK = 1 << 16


class BlockingConnection:
    """A connection to a supervisor; use it as a context manager.

    :ivar name: of the machine.
    :ivar socket: it blocks.
    :ivar at_end: whether the supervisor has closed it, in the place of a reply.
    """

    def __init__(self, name: str, connected: socket.socket) -> None:
        """Take over what is connected."""
        self.name = name
        self.socket = connected
        self.at_end = False
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(
        self,
        call: str,
        descriptors: Sequence[int] = (),
        on_line: Callable[[dict[str, Any]], object] = bool,
        **request: object,
    ) -> Any:
        """Send a request, and return what its reply says.

        :param descriptors: these are passed on.
        :param on_line: called with each line before the reply.
        :raises MicroVMError: whatever the supervisor says, or that it does not answer.
        """
        self.send({"wire": wire.WIRE, "call": call, **request}, descriptors)
        return self.reply(on_line)

    def send(self, value: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a line, and descriptors with it.

        If the supervisor has exited, this raises nothing, and `reply` raises the error.

        :raises UsageError: the line is too long.
        :raises GuestUnresponsive: the supervisor does not read the line in time.
        """
        try:
            line = wire.encode(value)
        except ValueError as error:
            from microvm.errors import UsageError

            raise UsageError(f"this cannot be sent to a machine: {error}") from None
        self.socket.settimeout(_SEND_TIMEOUT)
        try:
            sent = socket.send_fds(self.socket, [line], list(descriptors)) if descriptors else 0
            self.socket.sendall(line[sent:])
        except (BrokenPipeError, ConnectionResetError):
            pass
        except TimeoutError:
            raise silent(self.name, self._pid()) from None
        finally:
            self.socket.settimeout(None)

    def reply(
        self,
        on_line: Callable[[dict[str, Any]], object] = bool,
        readable: dict[int, Callable[[], object]] | None = None,
        *,
        most_pings: int = _MOST_PINGS,
    ) -> Any:
        """Wait for the reply, and return what it says.

        :param on_line: called with each line before it.
        :param most_pings: for how many pings in a row there may be no answer.
        :param readable: by descriptor, what is called when that can be read; it may take one out.
        :raises MicroVMError: as `ask`.
        """
        readable = readable or {}
        silences = 0
        while True:
            waiting = poll()
            waiting.register(self.socket, POLLIN)
            for descriptor in readable:
                waiting.register(descriptor, POLLIN)
            ready = [descriptor for descriptor, _ in waiting.poll(_INTERVAL)]
            for descriptor in ready:
                if descriptor in readable:
                    readable[descriptor]()
            if self.socket.fileno() not in ready:
                silences += not ready
                if silences > most_pings or (silences >= _LOOKS and is_stopped(self._pid())):
                    raise silent(self.name, self._pid())
                if not ready:
                    self.send({"ping": silences})
                continue
            silences = 0
            for line in self._lines():
                if "error" in line:
                    raise _error(line["error"])
                if "result" in line:
                    return line["result"]
                on_line(line)

    def _pid(self) -> int:
        data = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(data[:4], sys.byteorder)

    def kill(self) -> None:
        """Kill the supervisor, which does not answer, and wait for its end."""
        process = os.pidfd_open(self._pid())
        try:
            waiting = poll()
            waiting.register(self.socket, POLLRDHUP)
            if not waiting.poll(0):  # or the number may be another's already
                signal.pidfd_send_signal(process, signal.SIGKILL)
                waiting.poll(_CONNECT_TIMEOUT * 1000)
        finally:
            os.close(process)

    def _lines(self) -> list[dict[str, Any]]:
        """Return the lines that have come.

        :raises MicroVMError: there will be no more.
        """
        try:
            data = self.socket.recv(_CHUNK)
        except ConnectionResetError:
            data = b""
        if not data:
            self.at_end = True
            raise ended(self.name)
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        try:
            if len(rest) > wire.LIMIT:
                raise ValueError("it has no end")
            return [wire.decode(bytes(line)) for line in lines]
        except ValueError as error:
            from microvm.errors import MicroVMError

            message = f"the supervisor of {self.name} says what is no line of ours: {error}"
            raise MicroVMError(message) from None


def connect(name: str, *, beginning: bool = False) -> BlockingConnection:
    """Connect to the supervisor of the machine that has this name.

    :param beginning: or alone begins so.
    :raises MicroVMError: there is none, or it is gone; says why.
    """
    with RuntimeDirectory() as runtime, runtime.open(name, beginning=beginning) as directory:
        return connect_to(directory)


def connect_to(
    directory: MachineDirectory, timeout: float = _CONNECT_TIMEOUT
) -> BlockingConnection:
    """Connect to the supervisor of a machine; wait for one that only just begins, or ends.

    :param timeout: how long, in seconds.
    :raises MicroVMError: it is gone; says why.
    """
    deadline = time.monotonic() + timeout
    while True:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(timeout)
            connected.connect(directory.path(SOCKET))
            connected.settimeout(None)
            return BlockingConnection(directory.name, connected)
        except OSError as error:
            connected.close()
            if not directory.lives():
                raise directory.error() from None
            if isinstance(error, TimeoutError) or time.monotonic() > deadline:
                raise silent(directory.name) from None
            # Where many have come at once, there is no room to wait in: that is a BlockingIOError.
            if not isinstance(error, FileNotFoundError | ConnectionRefusedError | BlockingIOError):
                raise
            time.sleep(_PAUSE)
        except BaseException:
            connected.close()
            raise


def ended(name: str) -> MachineError:
    """Return the error for a supervisor that has ended in the middle of a conversation."""
    from microvm.errors import GuestDied

    with RuntimeDirectory() as runtime:
        try:
            directory = runtime.of(name)
        except OSError:
            return GuestDied(f"machine {name} was stopped")
        with directory:
            return directory.error()


def silent(name: str, process: int = 0) -> MachineError:
    """Return the error for a supervisor that does not answer.

    :param process: the process id of the supervisor; 0 if it is not known.
    """
    from microvm.errors import GuestUnresponsive

    if is_stopped(process):
        return GuestUnresponsive(
            f"the supervisor of {name} does not answer: a signal has stopped process {process}",
            hint=f"`kill -CONT {process}` resumes it, `microvm stop {name}` ends the machine",
        )
    return GuestUnresponsive(
        f"the supervisor of {name} does not answer",
        hint=f"`microvm inspect {name}` shows its process, `microvm stop {name}` ends the machine",
    )


def _error(value: object) -> MicroVMError:
    from microvm.supervisor.error_json import from_json

    return from_json(value)
