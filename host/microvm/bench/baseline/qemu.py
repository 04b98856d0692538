"""A machine of the benchmark's baseline: a QEMU process with a minimal guest."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from microvm.bench import STREAM_SIZE
from microvm.errors import MachineError, QemuError
from microvm.qemu.command_line import descriptor_path

READY_TIMEOUT = 60.0
"""Maximum number of seconds from the start of QEMU to the first answer of the guest."""

_TIMEOUT = 30.0
_POLL = 0.001
_CHUNK = 1 << 20
_BLOCK = bytes(1 << 16)
_CAPABILITIES = [{"capability": "x-ignore-shared", "state": True}]


class BaselineMachine:
    """A QEMU process whose guest is ready, with the methods of a `LibraryMachine`.

    QEMU exits at `stop`, or when this process exits.

    All methods block, also the event loop, because a switch to a thread would be measured, too.

    :param command: Command line of QEMU, without the options for its monitor and its port.
    :param device: Name and properties of the virtio-serial controller, for QEMU's option `-device`.
    :param files: File descriptors to which the command line refers.
    :param state: Descriptor of a saved state to restore; None to boot the guest.
    """

    def __init__(
        self, command: Sequence[str], *, device: str, files: Sequence[int], state: int | None = None
    ) -> None:
        with ExitStack() as own_sockets, ExitStack() as qemu_sockets:
            (self._port, port), (monitor, qmp) = (socket.socketpair() for _ in range(2))
            for own, inherited in ((self._port, port), (monitor, qmp)):
                own_sockets.enter_context(own)
                qemu_sockets.enter_context(inherited)
            self._process = subprocess.Popen(
                [
                    *command,
                    *("-chardev", f"socket,id=qmp,fd={qmp.fileno()}"),
                    *("-mon", "chardev=qmp,mode=control", "-device", device),
                    *("-chardev", f"socket,id=port,fd={port.fileno()}"),
                    *("-device", "virtserialport,chardev=port,name=baseline"),
                    *(() if state is None else ("-incoming", "defer")),
                ],
                pass_fds=(*files, qmp.fileno(), port.fileno()),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            own_sockets.pop_all()
        self._monitor = _Monitor(monitor)
        try:
            if state is not None:
                self._restore(state)
            self._port.settimeout(READY_TIMEOUT)
            self._request(b"p")
            self._port.settimeout(_TIMEOUT)
        except (OSError, ValueError, MachineError) as error:
            why = self.kill() or error
            raise MachineError(f"the guest of the baseline does not start: {why}") from error
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ping(self) -> None:
        self._request(b"p")

    async def run_true(self) -> None:
        self._request(b"x")

    async def run_python(self) -> None:
        """Run `python3 -c pass` in the guest. If it lacks Python, only the attempt is measured."""
        self._request(b"y")

    async def read_stream(self) -> None:
        self._request(b"o", STREAM_SIZE)

    async def write_stream(self) -> None:
        self._port.sendall(b"i")
        for _ in range(STREAM_SIZE // len(_BLOCK)):
            self._port.sendall(_BLOCK)
        self._request(b"")

    def _request(self, request: bytes, data_size: int = 0) -> None:
        """Send a request to the guest, and wait for `data_size` bytes and a final letter."""
        self._port.sendall(request)
        left = data_size + 1
        while left > 0:
            received = len(self._port.recv(_CHUNK))
            if not received:
                raise MachineError("the guest of the baseline has stopped")
            left -= received

    def save(self, state: int) -> None:
        """Save the state of the guest's CPUs and devices to the open file `state`, and stop QEMU.

        The guest's memory need not be saved, because QEMU keeps it in a file.
        """
        self._monitor("migrate-set-capabilities", capabilities=_CAPABILITIES)
        self._monitor("stop")
        self._monitor("migrate", uri=f"file:{descriptor_path(state)}")
        while (status := self._monitor("query-migrate").get("status")) != "completed":
            if status == "failed":
                raise QemuError("QEMU cannot save the guest of the baseline")
            time.sleep(_POLL)
        self.kill()

    def _restore(self, state: int) -> None:
        self._monitor("migrate-set-capabilities", capabilities=_CAPABILITIES)
        self._monitor("migrate-incoming", uri=f"file:{descriptor_path(state)}")
        while self._monitor("query-status")["status"] == "inmigrate":
            time.sleep(_POLL)
        self._monitor("cont")

    async def stop(self) -> None:
        self.kill()

    def kill(self) -> str:
        """Kill QEMU, and return what it wrote to standard error; idempotent."""
        if self._process.returncode is not None:
            return ""
        self._process.kill()
        _, output = self._process.communicate()
        self._port.close()
        self._monitor.close()
        return str(output, errors="replace").strip()


class _Monitor:
    """A minimal connection to QEMU's monitor, with the protocol QMP."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_TIMEOUT)
        self._connection = connection
        self._replies = connection.makefile("r")
        self._greeted = False

    def __call__(self, command: str, **arguments: Any) -> Any:
        if not self._greeted:
            self._greeted = True
            self._replies.readline()
            self("qmp_capabilities")
        request = json.dumps({"execute": command, "arguments": arguments})
        self._connection.sendall(request.encode())
        while "return" not in (reply := json.loads(self._replies.readline())):
            if "error" in reply:
                raise QemuError(f"QEMU refuses {command}: {reply['error']['desc']}")
        return reply["return"]

    def close(self) -> None:
        """Close the connection to QEMU's monitor."""
        self._replies.close()
        self._connection.close()
