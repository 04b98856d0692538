"""The connection of a client to a supervisor, with blocking calls, for the command line.

This module imports very little, because `microvm exec` should take no longer than its command and
the start of Python.
"""

from __future__ import annotations

import os
import socket
import time
from select import POLLIN

from microvm.supervisor import lazy
from microvm.supervisor.client import protocol
from microvm.supervisor.machine_directory import SOCKET, MachineDirectory
from microvm.supervisor.runtime_directory import RuntimeDirectory
from microvm.system import platform
from microvm.system.descriptors import wait_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Self

# maximum number of seconds to connect, to send a line, and to wait for a killed supervisor
_CONNECT_TIMEOUT = 10.0
_SEND_TIMEOUT = 10.0
_KILL_TIMEOUT = 10.0

_INTERVAL = 5.0  # seconds of a supervisor's silence before it gets a ping

_STOPPED_SILENCES = 2  # intervals of silence before we check whether SIGSTOP stopped the supervisor
_PAUSE = 0.02  # seconds between two attempts to connect to a supervisor
_CHUNK = 1 << 16


def _ignore(_name: str, _value: object) -> None:
    pass


class BlockingConnection:
    """A client's connection to a supervisor. Use it as a context manager.

    :ivar at_end: True if the supervisor closed the connection instead of replying.
    :ivar max_pings: number of pings in a row that may stay unanswered.
    """

    def __init__(self, name: str, connected: socket.socket) -> None:
        """Use a socket that is connected to the supervisor of machine `name`; owns the socket."""
        self.name = name
        self.socket = connected
        self.at_end = False
        self.max_pings = protocol.MAX_PINGS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(
        self,
        call: str,
        descriptors: Sequence[int] = (),
        on_event: Callable[[str, Any], object] = _ignore,
        **fields: object,
    ) -> Any:
        """Send the supervisor a request named `call`, and return the result in its reply.

        :raises MicroVMError: the request failed, or the supervisor does not answer.
        """
        self.send(protocol.request(call=call, **fields), descriptors)
        return self.reply(on_event)

    def send(self, line: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send a line to the supervisor, and descriptors with it.

        If the supervisor has exited, this raises nothing, and `reply` raises the error.

        :raises GuestUnresponsive: the supervisor does not read the line in time.
        """
        self.socket.settimeout(_SEND_TIMEOUT)
        try:
            sent = socket.send_fds(self.socket, [line], list(descriptors)) if descriptors else 0
            self.socket.sendall(line[sent:])
        except (BrokenPipeError, ConnectionResetError):
            pass
        except TimeoutError:
            raise lazy.failures.silent(self.name, self._pid()) from None
        finally:
            self.socket.settimeout(None)

    def reply(
        self,
        on_event: Callable[[str, Any], object] = _ignore,
        readable: dict[int, Callable[[], object]] | None = None,
        *,
        until: str = "result",
    ) -> Any:
        """Wait for the supervisor's reply, and return its result. Meanwhile, handle other events.

        :param on_event: called with the name and the value of each event before the reply.
        :param readable: a function for each further descriptor, called when the descriptor is
            readable. The function may remove its own entry.
        :param until: the name of an event whose value is returned, instead of that of the reply.
        """
        readable = readable or {}
        received = protocol.ClientProtocol(self.name)
        while True:
            ready = wait_ready(dict.fromkeys((self.socket.fileno(), *readable), POLLIN), _INTERVAL)
            for descriptor in ready:
                if descriptor in readable:
                    readable[descriptor]()
            if not ready:
                received.max_pings = self.max_pings
                ping, pid = received.ping(), self._pid()
                may_be_stopped = received.silences >= _STOPPED_SILENCES
                if ping is None or (may_be_stopped and lazy.process.is_stopped(pid)):
                    raise lazy.failures.silent(self.name, pid)
                self.send(ping)
            elif self.socket.fileno() in ready:
                for name, value in received.receive(self._received()):
                    if name == until:
                        return value
                    if name == "error":
                        raise value
                    if name == "end":
                        self.at_end = True
                        raise lazy.failures.ended(self.name)
                    on_event(name, value)

    def _received(self) -> bytes:
        try:
            return self.socket.recv(_CHUNK)
        except ConnectionResetError:
            return b""

    def _pid(self) -> int:
        return platform.peer(self.socket)[0]

    def kill(self) -> None:
        """Kill a supervisor that does not answer any more, and wait until it has exited."""
        process = platform.open_process(self._pid())
        hangup = {self.socket.fileno(): platform.hangup_event()}
        try:
            # If the socket is closed, the process id may belong to another process by now.
            if not wait_ready(hangup, 0):
                platform.kill_process(process)
                wait_ready(hangup, _KILL_TIMEOUT)
        finally:
            os.close(process)


def connect(name: str, *, beginning: bool = False) -> BlockingConnection:
    """Connect to the supervisor of machine `name`; `beginning` permits an abbreviated name.

    :raises MicroVMError: there is no such machine, or it has ended; the message has the reason.
    """
    with RuntimeDirectory() as runtime, runtime.open(name, beginning=beginning) as directory:
        return connect_to(directory)


def connect_to(
    directory: MachineDirectory, timeout: float = _CONNECT_TIMEOUT
) -> BlockingConnection:
    """Connect to a machine's supervisor. If it is starting or ending, try for `timeout` seconds.

    :raises MicroVMError: the machine has ended; the message has the reason.
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
            if not directory.is_alive():
                raise directory.error() from None
            if isinstance(error, TimeoutError) or time.monotonic() > deadline:
                raise lazy.failures.silent(directory.name) from None
            # These errors mean that the supervisor is starting or ending, or that too many clients
            # connect at once. So try again.
            if not isinstance(error, FileNotFoundError | ConnectionRefusedError | BlockingIOError):
                raise
            time.sleep(_PAUSE)
        except BaseException:
            connected.close()
            raise
