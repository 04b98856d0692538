"""A QEMU with the baseline's guest in it. Everything here blocks."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from microvm.bench.contender import STREAM_SIZE
from microvm.errors import MachineError, QemuError
from microvm.qemu.command_line import descriptor_path

READY_TIMEOUT = 60.0
"""Seconds from QEMU's start to the guest's first answer."""

_TIMEOUT = 30.0
_POLL = 0.001
_CHUNK = 1 << 20
_BLOCK = bytes(1 << 16)
_CAPABILITIES = [{"capability": "x-ignore-shared", "state": True}]


class BaselineQemu:
    """A QEMU that is up when the constructor returns; it ends with `stop`, or when we die.

    :param command: QEMU with its arguments, but for those of its monitor and its port.
    :param device: the virtio-serial controller.
    :param files: the descriptors among the arguments.
    :param state: a descriptor of the state to restore; None boots the guest.
    :raises MachineError: it does not come up.
    """

    def __init__(
        self, command: Sequence[str], *, device: str, files: Sequence[int], state: int | None = None
    ) -> None:
        with ExitStack() as ours, ExitStack() as theirs:
            (self._port, port), (monitor, qmp) = (socket.socketpair() for _ in range(2))
            for our_end, their_end in ((self._port, port), (monitor, qmp)):
                ours.enter_context(our_end)
                theirs.enter_context(their_end)
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
            ours.pop_all()
        self._monitor = _Monitor(monitor)
        try:
            if state is not None:
                self._restore(state)
            self._port.settimeout(READY_TIMEOUT)
            self.request(b"p")
            self._port.settimeout(_TIMEOUT)
        except (OSError, ValueError, MachineError) as error:
            why = self.stop() or error
            raise MachineError(f"the baseline's guest does not come up: {why}") from error
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    def request(self, request: bytes, data_size: int = 0) -> None:
        """Send a request, and wait for the end of its answer.

        :param data_size: how many bytes come before the end of the answer.
        :raises MachineError: the guest has ended.
        """
        self._port.sendall(request)
        left = data_size + 1
        while left > 0:
            received = len(self._port.recv(_CHUNK))
            if not received:
                raise MachineError("the baseline's guest has ended")
            left -= received

    def feed(self) -> None:
        """Send the guest `STREAM_SIZE` bytes.

        :raises MachineError: the guest has ended.
        """
        self._port.sendall(b"i")
        for _ in range(STREAM_SIZE // len(_BLOCK)):
            self._port.sendall(_BLOCK)
        self.request(b"")

    def save(self, state: int) -> None:
        """Save the guest, whose memory is a file, and end QEMU.

        :param state: the descriptor to save to, one of `files`.
        :raises QemuError: QEMU refuses, or fails.
        """
        self._monitor("migrate-set-capabilities", capabilities=_CAPABILITIES)
        self._monitor("stop")
        self._monitor("migrate", uri=f"file:{descriptor_path(state)}")
        while (status := self._monitor("query-migrate").get("status")) != "completed":
            if status == "failed":
                raise QemuError("QEMU does not save the baseline's guest")
            time.sleep(_POLL)
        self.stop()

    def _restore(self, state: int) -> None:
        self._monitor("migrate-set-capabilities", capabilities=_CAPABILITIES)
        self._monitor("migrate-incoming", uri=f"file:{descriptor_path(state)}")
        while self._monitor("query-status")["status"] == "inmigrate":
            time.sleep(_POLL)
        self._monitor("cont")

    def stop(self) -> str:
        """End QEMU, and return what it has written to its stderr; idempotent."""
        if self._process.returncode is not None:
            return ""
        self._process.kill()
        _, output = self._process.communicate()
        self._port.close()
        self._monitor.close()
        return str(output, errors="replace").strip()


class _Monitor:
    """A QMP connection, as simple as it can be."""

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
        """Close the connection."""
        self._replies.close()
        self._connection.close()
