"""The supervisor of a named machine: it owns the machine, and handles the requests of clients."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from microvm import __version__
from microvm.concurrency.tasks import cancel
from microvm.errors import Busy, MachineError, MicroVMError, UsageError
from microvm.supervisor import clock, wire
from microvm.supervisor.client_connection import ClientConnection
from microvm.supervisor.detached import DetachedCommands
from microvm.supervisor.end_record import EndRecord
from microvm.supervisor.handlers import HANDLERS, LASTING, Handler
from microvm.supervisor.machine_directory import FACTS, SOCKET, MachineDirectory
from microvm.supervisor.queue import CommandQueue
from microvm.supervisor.runtime_directory import RuntimeDirectory, unusable
from microvm.units import format_duration

if TYPE_CHECKING:
    from microvm.machine.machine import MicroVM
    from microvm.supervisor.ports import SupervisedPorts

# Maximum number of simultaneous requests without a time limit, such as commands. Each request needs
# `_FILES` open files, and the supervisor `_OTHER_FILES`. A limit of open files lowers the maximum.
_MOST_LASTING = 200
_FILES = 4
_OTHER_FILES = 200
_BACKLOG = 1024  # number of clients that may wait to connect; the kernel can have a lower limit
_MOST_SILENT = 64  # maximum number of clients that have not sent their request yet

# Seconds between two pings to an idle guest, and maximum number of seconds for its answer. Only a
# missing answer shows that an idle guest has halted.
_PING_INTERVAL = 30.0
_PING_TIMEOUT = 60.0

_CHECK_INTERVAL = 1.0  # seconds between two checks that the machine's folder and socket exist
_REFRESH_INTERVAL = 3600.0  # seconds between two updates of their modification times

_LAST_REPLIES = 5.0  # maximum number of seconds to send replies after the machine has ended
_TRY_AGAIN = "try again when some of them have ended"
_ACCEPT_PAUSE = 0.1  # seconds to wait after a client's connection could not be accepted


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A client's request to the supervisor, such as to run a command.

    :ivar fields: the line that the client sent.
    :ivar on_line: functions that are called with each further line of the client.
    """

    fields: dict[str, Any]
    client: ClientConnection
    on_line: list[Callable[[dict[str, Any]], object]] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """True if the request waits for its turn while the guest is in use, instead of failing."""
        return bool(self.fields.get("wait"))


@dataclass(frozen=True, slots=True)
class Termination:
    """The reason why a machine ends, whether a user wanted its end, and if its folder is kept.

    :ivar asked: True if somebody asked for the end.
    :ivar traceless: True if the folder of the machine is removed at once, with the reason.
    """

    reason: str
    asked: bool = False
    traceless: bool = False


class Supervisor:
    """The supervisor of one named machine: it starts the machine, and handles requests of clients.

    :ivar facts: the content of `machine.json`, after the start of the machine.
    :ivar ports: the open ports of the machine; None until the first port is opened.
    :ivar ended: future that is done when the machine must stop; its result is the reason.
    :ivar gone: event that is set when the machine has stopped and its files are removed.
    :ivar ending: the reason why the machine is stopping or has stopped; None while it runs.
    """

    def __init__(self, runtime: RuntimeDirectory, directory: MachineDirectory) -> None:
        """Create the supervisor of a machine whose `directory` this process has locked."""
        self.directory = directory
        self._machine: MicroVM | None = None
        self.queue = CommandQueue(directory.name)
        self.detached = DetachedCommands(self.queue)
        self.facts: dict[str, Any] = {"name": directory.name, "supervisor": os.getpid()}
        self.ended: asyncio.Future[Termination] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self.ending: Termination | None = None
        self._runtime = runtime
        self._connections: set[asyncio.Task[None]] = set()
        self.ports: SupervisedPorts | None = None
        # Clients that have not sent a request yet, in the order in which they connected.
        self._silent: dict[ClientConnection, None] = {}
        self._lasting = 0
        self._end_record: EndRecord
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)

    @property
    def machine(self) -> MicroVM:
        """The machine.

        :raises MachineError: the machine has not started, or is stopping. A client that waits in
            the queue also gets this error when the machine stops.
        """
        if self._machine is None or self.ending is not None:
            raise MachineError("the machine was not started")
        return self._machine

    @machine.setter
    def machine(self, machine: MicroVM) -> None:
        self._machine = machine

    async def open_ports(self, published: list[str], reverse: list[str]) -> dict[str, Any]:
        """Open ports of the machine, and return their description."""
        from microvm.supervisor.ports import SupervisedPorts  # few machines need it

        if self.ports is None:
            self.ports = SupervisedPorts(self.machine, self.queue)
        return await self.ports.open(published, reverse)

    def ports_facts(self) -> dict[str, Any]:
        """Return descriptions of the machine's open ports."""
        return self.ports.facts if self.ports else {"published": [], "reverse": []}

    def end(self, reason: str, *, asked: bool = False, traceless: bool = False) -> None:
        """Make the machine end; see `Termination` for the arguments. Only the first call counts."""
        if not self.ended.done():
            self.ended.set_result(Termination(reason, asked, traceless))

    async def supervise(
        self, start: Callable[[], Coroutine[Any, Any, None]], order: dict[str, Any]
    ) -> None:
        """Start the machine, and handle requests until it ends. `order` may limit its age.

        :param start: starts the machine, sets `machine`, and sends the reply to the starter.
        :param order: the starter's description of the machine, with its maximum age and idle time.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            name = signal.Signals(number).name
            loop.add_signal_handler(number, self.end, f"{name} ended its supervisor")
        try:
            self._listener.bind(self.directory.path(SOCKET))
        except OSError as error:  # for example, the disk is full
            raise unusable(self._runtime.path, error) from None
        self._listener.listen(_BACKLOG)
        tasks = [asyncio.create_task(self._accept())]
        try:
            async with self.queue.turn("its start", wait=False, alone=True):
                await self._started(start)
            tasks += [asyncio.create_task(each) for each in self._watches(order)]
            self.ending = await self.ended
        finally:
            await cancel(tasks)
            await self._clean_up()

    async def _started(self, start: Callable[[], Coroutine[Any, Any, None]]) -> None:
        starting = asyncio.create_task(start())
        try:
            either: set[asyncio.Future[Any]] = {starting, self.ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                reason = self.ended.result().reason
                raise MicroVMError(f"{self.directory.name} was not started: {reason}")
            starting.result()
        finally:
            await cancel([starting])

    def _watches(self, order: dict[str, Any]) -> list[Any]:
        watches = [self._watch_machine(), self._watch_silence(), self._watch_directory()]
        if idle := order.get("idle_timeout"):
            watches.append(self._watch_idle(idle))
        if age := order.get("max_age"):
            watches.append(self._watch_age(age))
        return watches

    async def _watch_machine(self) -> None:
        self.end((await self.machine.wait_lost()).message)

    async def _watch_idle(self, timeout: float) -> None:
        await self.queue.wait_unused(timeout)
        self.end(f"nobody used it for {format_duration(timeout)}", asked=True)

    async def _watch_age(self, age: float) -> None:
        await clock.sleep(age)
        self.end(f"it has reached its maximum age of {format_duration(age)}", asked=True)

    async def _watch_silence(self) -> None:
        while True:
            await asyncio.sleep(_PING_INTERVAL)
            if not self.queue.uses:
                # Ignore the error if the guest does not answer: `_watch_machine` ends the machine.
                with suppress(MachineError):
                    await self.machine.ping(_PING_TIMEOUT)

    async def _watch_directory(self) -> None:
        """End the machine if its folder or socket was removed, as clients cannot reach it then.

        Some hosts remove files that look unused. So also update the modification times of these
        files.
        """
        refreshed = -_REFRESH_INTERVAL
        while True:
            if clock.now() - refreshed >= _REFRESH_INTERVAL:
                refreshed = clock.now()
                self._runtime.refresh()
                self.directory.refresh()
            if not self._runtime.has(self.directory):
                self.end("its folder was removed", traceless=True)
            elif not self.directory.has(SOCKET):
                self.end("its socket was removed")
            await asyncio.sleep(_CHECK_INTERVAL)

    async def _clean_up(self) -> None:
        """End the machine, write the reason to its folder, and reply to waiting clients."""
        self._listener.close()
        try:
            if self._machine is not None:
                await self._machine.stop()
        finally:
            ending = self.ending or Termination("it could not be started", traceless=True)
            self.ending = ending
            if ending.traceless:
                with suppress(MicroVMError, OSError):
                    self._runtime.remove(self.directory)
            else:
                with suppress(OSError):  # ignore the error if the machine's folder was removed
                    self._end_record.write(ending.reason, asked=ending.asked)
                with suppress(OSError):
                    os.unlink(SOCKET, dir_fd=self.directory.descriptor)
            self.gone.set()
            if self._connections:
                await asyncio.wait(self._connections, timeout=_LAST_REPLIES)
            await cancel(self._connections)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, _ = await loop.sock_accept(self._listener)
            # The connection could not be accepted, for example because of too many open files. So
            # disconnect the oldest client without a request, and accept again after a pause.
            except OSError:
                self._hurry()
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            task = asyncio.create_task(self._serve(ClientConnection(connected)))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            await asyncio.sleep(0)  # let the new task read a request that has already arrived
            if len(self._silent) > _MOST_SILENT:
                self._hurry()

    def _hurry(self) -> None:
        """Close the connection of the client that has waited longest without sending a request."""
        if client := next(iter(self._silent), None):
            client.hurry()
            del self._silent[client]

    async def _serve(self, client: ClientConnection) -> None:
        try:
            if not client.is_ours():
                return
            with suppress(EOFError):
                await self._answer(client)
        except MicroVMError as error:
            await client.fail(error)
        finally:
            client.close()

    async def _answer(self, client: ClientConnection) -> None:
        request = ClientRequest(await self._request(client), client)
        name = str(request.fields.get("call"))
        handler = HANDLERS.get(name)
        if handler is None:
            raise UsageError(f"a machine has no call {request.fields.get('call')!r}")
        with self._counted() if name in LASTING else nullcontext():
            await self._handle(handler, request)

    async def _request(self, client: ClientConnection) -> dict[str, Any]:
        self._silent[client] = None
        try:
            return await client.request()
        except TimeoutError:
            message = f"machine {self.directory.name} got no request in time; too many clients?"
            raise Busy(message, hint=_TRY_AGAIN) from None
        finally:
            self._silent.pop(client, None)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Context manager for a request without a time limit; raises `Busy` if too many run."""
        if self._lasting >= _most_lasting():
            fault = f"has too many clients: {self._lasting} wait or run"
            raise Busy(f"machine {self.directory.name} {fault}", hint=_TRY_AGAIN)
        self._lasting += 1
        try:
            yield
        finally:
            self._lasting -= 1

    async def _handle(self, handler: Handler, request: ClientRequest) -> None:
        work = asyncio.ensure_future(handler(self, request))
        listening = asyncio.create_task(_listen(request))
        try:
            await asyncio.wait({work, listening}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                # The client has disconnected, has sent a signal before its command started, or has
                # sent an invalid line, for which `listening` raises an error. Cancel the request.
                number = await listening
                await cancel([work])
                if number is not None:
                    await request.client.send({"result": {"returncode": -number}})
                return
        finally:
            await cancel([work, listening])
        try:
            reply = {"result": work.result()}
        except (MicroVMError, OSError, TypeError) as error:  # TypeError: there is no such option
            await request.client.fail(self._explained(error))
        else:
            await request.client.send(reply, request.client.passed)

    def _explained(self, error: BaseException) -> BaseException:
        """Return the error to send to a client: `error`, or if the machine failed, why it ended."""
        if not isinstance(error, MachineError):
            return error
        if self.ending is None:
            return self.directory.error(error.message)
        explained = self.directory.error(self.ending.reason)
        if self.ending.traceless:
            explained.hint = ""  # the hint refers to files in the folder, which was removed
        return explained

    def describe(self, order: dict[str, Any]) -> None:
        """Write `machine.json`, which describes the started machine and options in its `order`."""
        machine = self.machine
        self.facts |= {
            "image": machine.image.name,
            "snapshot": order.get("snapshot"),
            "memory": machine.memory,
            "cpus": machine.cpus,
            "disk": machine.disk,
            "max_commands": self.queue.slots,
            "accel": machine.accel,
            "confinement": machine.confinement,
            "cloned": machine.cloned,
            "started": time.time(),
            "qemu": machine.pid,
            "idle_timeout": order.get("idle_timeout"),
            "max_age": order.get("max_age"),
            "defaults": machine.image.manifest.config.options,
            "wire": wire.WIRE,
            "version": __version__,
        }
        try:
            self._end_record = EndRecord(self.directory)
            self.directory.write(FACTS, self.facts)
        except OSError as error:  # for example, the disk is full
            raise unusable(self._runtime.path, error) from None


def _most_lasting() -> int:
    """Return the maximum number of simultaneous requests without a time limit (`LASTING`)."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(_MOST_LASTING, (files - _OTHER_FILES) // _FILES))


async def _listen(request: ClientRequest) -> int | None:
    """Call the functions in `request.on_line` with each line that the client still sends.

    Return None when the client has disconnected. If the client sends a signal before its command
    has started, return the number of the signal.
    """
    async for line in request.client.lines():
        match line:
            case {"signal": int(number)} if not request.on_line and 0 < number < signal.NSIG:
                return number
        for function in request.on_line:
            function(line)
    return None
