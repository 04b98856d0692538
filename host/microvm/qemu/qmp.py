"""The client of the QEMU Machine Protocol (QMP), by which we control a QEMU process."""

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

#: The oldest supported version of QEMU, which Debian 12 contains.
MINIMUM_VERSION = (7, 2)

_FD_SET = 9  # number of a set of descriptors; QEMU's command line uses lower numbers

# A guest may have compromised QEMU, so two limits bound the data of QEMU that we store: the number
# of bytes of a line (the longest measured line has 525), and the number of events that a listener
# has not read yet (21 were measured).
_LINE_LIMIT = 64 << 10
_EVENT_LIMIT = 64

_T = TypeVar("_T")


class Client(QMPClient):
    """A QMP client of one QEMU process. It logs the messages of both sides, up to a limit.

    Its memory is bounded, even if QEMU sends hostile messages.

    :ivar version: Major and minor version of QEMU; (0, 0) before `greet`.
    :ivar shutdown_reason: Reason in the first SHUTDOWN event; None if the guest was not shut down.
    :ivar write_error: Host's error message for a failed write to a disk, after which QEMU paused
        the guest; empty if there was none.
    :ivar garbled: True if QEMU has sent invalid QMP. Then the client no longer reads.
    """

    def __init__(self) -> None:
        super().__init__(readbuflen=_LINE_LIMIT)
        # Ignore all events in the base class's listener, as it keeps events that nobody reads.
        self.events.event_filter = lambda _: False
        self.version = (0, 0)
        self.shutdown_reason: str | None = None
        self.write_error = ""
        self.garbled = False
        self._paused = asyncio.Event()
        self._port: socket.socket
        self._pid: int
        self._limit: Limit
        self._asked: Sequence[QmpRequest] = ()
        self._refusal: MicroVMError | None = None

    async def greet(self, port: socket.socket, pid: int, asked: Sequence[QmpRequest]) -> None:
        """Connect; read QEMU's version, and its answers to the requests `asked`, already sent.

        :param asked: The requests that were already sent. The first one negotiates capabilities.
        :raises QemuError: QEMU is too old, or the host refused it a resource.
        :raises QMPError: The peer is not QEMU, or has exited.
        """
        self._port = port
        self._asked = asked
        # Do not set the attribute `name` of QMPClient, which creates a logger of that name for each
        # client: `logging` would keep all these loggers for ever.
        self._pid = pid
        self._limit = Limit(_logger, f"QMP of process {pid}")
        with suppress(AssertionError):  # raised if QEMU exits right after its last answer
            await self.connect(port)
        self.version = _checked(cast(Greeting, self.greeting).QMP.version)
        if self._refusal is not None:
            raise self._refusal

    async def request(self, command: str, arguments: dict[str, object]) -> None:
        """Send a QMP request that saves or restores a guest, and wait until QEMU has accepted it.

        :raises TemplateError: QEMU refuses the request.
        :raises QemuError: QEMU refuses the request, because the host denies it a resource such as
            memory.
        """
        try:
            await self.execute(command, arguments)
        except ExecuteError as error:
            raise _refusal(command, str(error)) from error

    async def send_descriptor(self, name: str, descriptor: int) -> str:
        """Send a descriptor to QEMU under a name, and return its URI for the request `migrate`."""
        # A descriptor can only be sent together with a byte. We send a space, which QMP ignores.
        socket.send_fds(self._port, [b" "], [descriptor])
        await self.request("getfd", {"fdname": name})
        return f"fd:{name}"

    async def add_descriptor(self, descriptor: int) -> str:
        """Send a writable descriptor to QEMU, and return a path by which QEMU can open it."""
        socket.send_fds(self._port, [b" "], [descriptor])
        await self.request("add-fd", {"fdset-id": _FD_SET})
        return f"/dev/fdset/{_FD_SET}"

    async def remove_descriptors(self) -> None:
        """Let QEMU close the descriptors that `add_descriptor` has sent to it, if there are any."""
        with suppress(ExecuteError):
            await self.execute("remove-fd", {"fdset-id": _FD_SET})

    async def run_state(self) -> str:
        """Return QEMU's status of the guest, such as `running`."""
        return field(await self.execute("query-status"), str, "status")

    async def wait_paused(self) -> None:
        """Wait until QEMU has paused its guest or sent invalid QMP since the last call."""
        await self._paused.wait()
        self._paused.clear()

    async def wait_closed(self) -> None:
        """Wait until QEMU has closed the connection and all its messages are read."""
        while self.runstate is Runstate.RUNNING:
            await self.runstate_changed()

    async def close(self) -> None:
        """Disconnect from QEMU. Further calls do nothing."""
        with suppress(QMPError, OSError, EOFError):
            if self.runstate is not Runstate.IDLE:
                await self.disconnect()

    async def _negotiate(self) -> None:
        """Read QEMU's answers to our first requests, which also negotiate the capabilities."""
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
                raise QMPError(f"QEMU refuses {request.command}: {safe(said)}")
            self._refusal = self._refusal or _refusal(request.command, said)

    async def _readline(self) -> bytes:
        line = await super()._readline()
        if not line.endswith(b"\n"):
            raise EOFError  # QEMU exited before the end of the line
        return line

    async def _bh_recv_message(self) -> None:
        try:
            await super()._bh_recv_message()
        except (EOFError, OSError):
            raise
        except Exception as error:  # QEMU sent, for example, invalid JSON or too long a line
            self.garbled = True
            self._paused.set()
            raise ProtocolError("QEMU sent invalid QMP") from error

    async def _event_dispatch(self, msg: Message) -> None:
        kind = msg["event"]
        if kind == "SHUTDOWN" and self.shutdown_reason is None:
            self.shutdown_reason = field(msg, str, "data", "reason")
        elif kind == "BLOCK_IO_ERROR" and field(msg, str, "data", "action") == "stop":
            # Disk errors after which the guest continues are ignored, as there may be many.
            self.write_error = self.write_error or safe(field(msg, str, "data", "reason"))
            self._paused.set()
        elif kind == "STOP":
            self._paused.set()
        await super()._event_dispatch(msg)
        if any(len(listener.history) > _EVENT_LIMIT for listener in self._listeners):
            raise ProtocolError(f"QEMU sent more than {_EVENT_LIMIT} events that were not read")

    def _cb_outbound(self, msg: Message) -> Message:
        return self._log("->", msg)

    def _cb_inbound(self, msg: Message) -> Message:
        return self._log("<-", msg)

    def _log(self, arrow: str, message: Message) -> Message:
        if _logger.listens(DEBUG) and self._limit.allows():
            text = sanitised(bytes(message)).rstrip()
            _logger.debug("QMP of process %d %s %s", self._pid, arrow, text)
        return message


def field(answer: object, kind: type[_T], *names: str) -> _T:
    """Return a field of an answer or event of QEMU, after a check that the field is a `kind`.

    :param names: Names of the nested objects, and of the field.
    """
    for name in names:
        answer = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(answer, kind):
        raise QMPError(f"QEMU's message lacks a valid field {'.'.join(names)}")
    return answer


def _refusal(command: str, said: str) -> MicroVMError:
    kind = QemuError if is_about_limit(said) else TemplateError
    return kind(f"QEMU refuses {command}: {safe(said)}")


def safe(text: str) -> str:
    """Return text that may come from QEMU, shortened and safe to print."""
    return sanitised(text.encode(errors="replace")[:LINE_SIZE])


def _checked(version: Mapping[str, object]) -> tuple[int, int]:
    found = field(version, int, "qemu", "major"), field(version, int, "qemu", "minor")
    if found < MINIMUM_VERSION:
        shown = ["{}.{}".format(*pair) for pair in (found, MINIMUM_VERSION)]
        raise QemuError(f"QEMU {shown[0]} is too old", hint=f"install at least QEMU {shown[1]}")
    return found
