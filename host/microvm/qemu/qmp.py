"""The client of QMP, by which a QEMU is managed: its version, its answers, and its events."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError, Runstate
from qemu.qmp.message import Message
from qemu.qmp.models import Greeting

from microvm.errors import QemuError, TemplateError
from microvm.log import DEBUG, Area, Limit
from microvm.qemu.exit import is_about_limit

_logger = Area("qemu")

#: The oldest QEMU that is served: Debian 12's.
MINIMUM_VERSION = (7, 2)

_STATUS_TIMEOUT = 5.0
_LENT = 9  # the command line has those before


class Client(QMPClient):
    """A client of one QEMU; what both say is logged, up to a limit.

    :ivar version: QEMU's, its major and minor number; (0, 0) before `greet`.
    """

    def __init__(self) -> None:
        super().__init__()
        # Its own listener keeps every event for ever, and a guest can cause some kinds at will.
        self.events.names = {"SHUTDOWN", "STOP", "BLOCK_IO_ERROR"}
        self.events.event_filter = _is_final
        self.version = (0, 0)
        self._port: socket.socket
        self._pid: int
        self._limit: Limit

    async def greet(self, port: socket.socket, pid: int) -> None:
        """Connect over a port, and learn the version.

        :param pid: the process that QEMU is.
        :raises QemuError: it is too old.
        :raises QMPError: what answers is no QEMU, or ends.
        """
        self._port = port
        self._pid = pid  # its `name` would have a logger for each, for ever
        self._limit = Limit(_logger, f"QMP of process {pid}")
        try:
            await self.connect(port)
        except AssertionError as error:  # what it says of an end right after the greeting
            raise ConnectError("QEMU ended when it had greeted", error) from error
        self.version = _checked(cast(Greeting, self.greeting).QMP.version)

    async def request(self, command: str, arguments: dict[str, object]) -> None:
        """Have QEMU do something with a saved guest.

        :raises TemplateError: it says that it cannot.
        :raises QemuError: it says so for want of something that it may not have here and now.
        """
        try:
            await self.execute(command, arguments)
        except ExecuteError as error:
            kind = QemuError if is_about_limit(str(error)) else TemplateError
            raise kind(f"QEMU refuses {command}: {error}") from error

    async def give(self, name: str, descriptor: int) -> str:
        """Send QEMU a descriptor under a name, and return where a migration finds it.

        :raises TemplateError: it says that it cannot take it.
        :raises QemuError: it says so for want of something that it may not have here and now.
        """
        # It takes only what was sent to it; a space is nothing to QMP.
        socket.send_fds(self._port, [b" "], [descriptor])
        await self.request("getfd", {"fdname": name})
        return f"fd:{name}"

    async def lend(self, descriptor: int) -> str:
        """Send QEMU a descriptor that can be written, and return the path by which it opens it.

        :raises TemplateError, QemuError: as `give`.
        """
        socket.send_fds(self._port, [b" "], [descriptor])
        await self.request("add-fd", {"fdset-id": _LENT})
        return f"/dev/fdset/{_LENT}"

    async def take_back(self) -> None:
        """Have QEMU close what was lent to it, if anything was.

        :raises QMPError: it has ended.
        """
        with suppress(ExecuteError):
            await self.execute("remove-fd", {"fdset-id": _LENT})

    async def status(self) -> object:
        """Return whether the guest runs, and why not, in QEMU's words; None if it says nothing."""
        with suppress(QMPError, TimeoutError):
            async with asyncio.timeout(_STATUS_TIMEOUT):
                answer = await self.execute("query-status")
                return answer.get("status") if isinstance(answer, dict) else None
        return None

    def shutdown_reason(self) -> str | None:
        """Return why the guest was shut down, by the events so far; None if it was not."""
        events: Sequence[Mapping[str, Any]] = self.events.history
        reasons = [event["data"]["reason"] for event in events if event["event"] == "SHUTDOWN"]
        return str(reasons[0]) if reasons else None

    async def wait_closed(self) -> None:
        """Wait until all that QEMU has sent is read."""
        while self.runstate is Runstate.RUNNING:
            await self.runstate_changed()

    async def close(self) -> None:
        """Let go of the port; idempotent."""
        with suppress(QMPError, OSError, EOFError):
            if self.runstate is not Runstate.IDLE:
                await self.disconnect()

    def _cb_outbound(self, msg: Message) -> Message:
        return self._log("->", msg)

    def _cb_inbound(self, msg: Message) -> Message:
        return self._log("<-", msg)

    def _log(self, way: str, message: Message) -> Message:
        # The base class has a logger of its own for this.
        if _logger.listens(DEBUG) and self._limit.allows():
            text = bytes(message).decode().rstrip()
            _logger.debug("QMP of process %d %s %s", self._pid, way, text)
        return message


def _is_final(event: Message) -> bool:
    """Tell whether a disk's error has stopped the guest; of those it goes on after, many come."""
    if event["event"] != "BLOCK_IO_ERROR":
        return True
    return bool(cast(Mapping[str, Any], event["data"])["action"] == "stop")


def disk_error(event: Message) -> str:
    """Return why a disk did not take a write, in the host's words, by a BLOCK_IO_ERROR event."""
    return str(cast(Mapping[str, Any], event["data"])["reason"])


def _checked(version: Mapping[str, Any]) -> tuple[int, int]:
    found = version["qemu"]["major"], version["qemu"]["minor"]
    if found < MINIMUM_VERSION:
        shown = ["{}.{}".format(*pair) for pair in (found, MINIMUM_VERSION)]
        raise QemuError(f"QEMU {shown[0]} is too old", hint=f"at least {shown[1]} is needed")
    return found
