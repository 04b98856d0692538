"""The client of QMP, by which a QEMU is managed: its version, its answers, and its events."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TypeVar, cast

from qemu.qmp import ExecuteError, QMPClient, QMPError, Runstate
from qemu.qmp.error import ProtocolError
from qemu.qmp.message import Message
from qemu.qmp.models import Greeting

from microvm.errors import MicroVMError, QemuError, TemplateError
from microvm.log import DEBUG, Area, Limit
from microvm.qemu.command_line import QmpRequest
from microvm.qemu.exit import is_about_limit
from microvm.qemu.logged_lines import LINE_SIZE, sanitised

_logger = Area("qemu")

#: The oldest QEMU that is served: Debian 12's.
MINIMUM_VERSION = (7, 2)

_STATUS_TIMEOUT = 5.0
_LENT = 9  # the command line has those before

# The most that a QEMU says, which may be in other hands: the longest line, in bytes, where 525 were
# measured; and the events that somebody listens to, of which there were at most 21.
_LINE_LIMIT = 64 << 10
_EVENT_LIMIT = 64

_T = TypeVar("_T")


class Client(QMPClient):
    """A client of one QEMU; what both say is logged, up to a limit.

    It keeps the same few things, whatever QEMU says, and however much.

    :ivar version: QEMU's, its major and minor number; (0, 0) before `greet`.
    :ivar shutdown_reason: why the guest was shut down, by the first event; None if it was not.
    :ivar write_error: why a disk did not take a write, and the guest was stopped, in the host's
        words; empty while that is not so.
    :ivar garbled: whether it has said what is no QMP, after which nobody listens to it.
    """

    def __init__(self) -> None:
        super().__init__(readbuflen=_LINE_LIMIT)
        # Its own listener would keep every event for ever.
        self.events.event_filter = lambda _: False
        self.version = (0, 0)
        self.shutdown_reason: str | None = None
        self.write_error = ""
        self.garbled = False
        self._troubled = asyncio.Event()
        self._port: socket.socket
        self._pid: int
        self._limit: Limit
        self._asked: Sequence[QmpRequest] = ()
        self._refusal: MicroVMError | None = None

    async def greet(self, port: socket.socket, pid: int, asked: Sequence[QmpRequest]) -> None:
        """Connect over a port, and learn the version, and how QEMU has answered.

        :param pid: the process that QEMU is.
        :param asked: what it has been asked before; the first of it are its capabilities.
        :raises TemplateError: it says that it cannot do what it was asked.
        :raises QemuError: it is too old, or as `request`.
        :raises QMPError: what answers is no QEMU, or ends.
        """
        self._port = port
        self._asked = asked
        self._pid = pid  # its `name` would have a logger for each, for ever
        self._limit = Limit(_logger, f"QMP of process {pid}")
        with suppress(AssertionError):  # what it says of an end right after the last answer
            await self.connect(port)
        self.version = _checked(cast(Greeting, self.greeting).QMP.version)
        if self._refusal is not None:
            raise self._refusal

    async def request(self, command: str, arguments: dict[str, object]) -> None:
        """Have QEMU do something with a saved guest.

        :raises TemplateError: it says that it cannot.
        :raises QemuError: it says so for want of something that it may not have here and now.
        """
        try:
            await self.execute(command, arguments)
        except ExecuteError as error:
            raise _refusal(command, str(error)) from error

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

    async def trouble(self) -> None:
        """Wait until QEMU has stopped its guest, for whatever reason, since this was called last.

        It returns as well when QEMU is `garbled`.
        """
        await self._troubled.wait()
        self._troubled.clear()

    async def wait_closed(self) -> None:
        """Wait until all that QEMU has sent is read."""
        while self.runstate is Runstate.RUNNING:
            await self.runstate_changed()

    async def close(self) -> None:
        """Let go of the port; idempotent."""
        with suppress(QMPError, OSError, EOFError):
            if self.runstate is not Runstate.IDLE:
                await self.disconnect()

    async def _negotiate(self) -> None:
        """Take the answers to what was asked, which are the first."""
        for request in self._asked:
            self._log("->", Message(request.message))
            answer = await self._recv()
            while "event" in answer:
                await self._event_dispatch(answer)
                answer = await self._recv()
            if "return" in answer:
                continue
            said = field(answer, str, "error", "desc")
            if not request.command.startswith("migrate"):
                raise QMPError(f"it refuses {request.command}: {_safe(said)}")
            self._refusal = self._refusal or _refusal(request.command, said)

    async def _readline(self) -> bytes:
        line = await super()._readline()
        if not line.endswith(b"\n"):
            raise EOFError  # it has ended while it said something
        return line

    async def _bh_recv_message(self) -> None:
        try:
            await super()._bh_recv_message()
        except (EOFError, OSError):
            raise
        except Exception as error:  # of JSON too deep, in no encoding, without end; of no event
            self.garbled = True
            self._troubled.set()
            raise ProtocolError("what QEMU says is no QMP") from error

    async def _event_dispatch(self, msg: Message) -> None:
        kind = msg["event"]
        if kind == "SHUTDOWN" and self.shutdown_reason is None:
            self.shutdown_reason = field(msg, str, "data", "reason")
        elif kind == "BLOCK_IO_ERROR" and field(msg, str, "data", "action") == "stop":
            # Of those that a guest goes on after, many come.
            self.write_error = self.write_error or _safe(field(msg, str, "data", "reason"))
            self._troubled.set()
        elif kind == "STOP":
            self._troubled.set()
        await super()._event_dispatch(msg)
        if any(len(listener.history) > _EVENT_LIMIT for listener in self._listeners):
            raise ProtocolError("QEMU floods us with events")

    def _cb_outbound(self, msg: Message) -> Message:
        return self._log("->", msg)

    def _cb_inbound(self, msg: Message) -> Message:
        return self._log("<-", msg)

    def _log(self, way: str, message: Message) -> Message:
        # The base class has a logger of its own for this.
        if _logger.listens(DEBUG) and self._limit.allows():
            text = sanitised(bytes(message)).rstrip()
            _logger.debug("QMP of process %d %s %s", self._pid, way, text)
        return message


def field(answer: object, kind: type[_T], *names: str) -> _T:
    """Return a field of an answer or event, by the names that lead there.

    :raises QMPError: there is none of that kind.
    """
    for name in names:
        answer = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(answer, kind):
        raise QMPError(f"QEMU says nothing of {'.'.join(names)}")
    return answer


def _refusal(command: str, said: str) -> MicroVMError:
    kind = QemuError if is_about_limit(said) else TemplateError
    return kind(f"QEMU refuses {command}: {_safe(said)}")


def words(error: Exception) -> str:
    """Return what an error says, which may be in QEMU's words: short, and safe to print."""
    return _safe(str(error))


def _safe(text: str) -> str:
    return sanitised(text.encode(errors="replace")[:LINE_SIZE])


def _checked(version: Mapping[str, object]) -> tuple[int, int]:
    found = field(version, int, "qemu", "major"), field(version, int, "qemu", "minor")
    if found < MINIMUM_VERSION:
        shown = ["{}.{}".format(*pair) for pair in (found, MINIMUM_VERSION)]
        raise QemuError(f"QEMU {shown[0]} is too old", hint=f"at least {shown[1]} is needed")
    return found
