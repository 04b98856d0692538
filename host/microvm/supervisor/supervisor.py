"""The supervisor of a named machine: it owns the machine, serves its clients, and sees its end."""

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
from microvm.supervisor.end_record import EndRecord
from microvm.supervisor.handlers import CALLS, LASTING, Function
from microvm.supervisor.machine_directory import FACTS, SOCKET, MachineDirectory
from microvm.supervisor.queue import CommandQueue
from microvm.supervisor.runtime_directory import RuntimeDirectory, unusable
from microvm.units import format_duration

if TYPE_CHECKING:
    from microvm.machine.machine import MicroVM

# Clients whose calls can be held up, and what files each of those has, and all else may have.
_MOST_LASTING = 200
_FILES = 4
_OTHER_FILES = 200
_BACKLOG = 1024  # clients that come at once; the kernel may have a lower bound
_MOST_SILENT = 64  # clients of which no request has come yet

# How often an idle guest is asked whether it is alive, and for how long it may be silent, in
# seconds: one that has halted shows it by nothing else.
_INTERVAL = 30.0
_PING_TIMEOUT = 60.0

# How often it is looked whether the folder and the socket are still there, and how often they are
# made to look used, in seconds.
_LOOK = 1.0
_REFRESH = 3600.0

_LAST_REPLIES = 5.0  # for those who are still served when the machine has ended, in seconds
_TRY_AGAIN = "try again when some of them have ended"
_NO_ROOM = 0.1  # seconds until a connection is tried again that could not be accepted


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request, and the client that it is from."""

    request: dict[str, Any]
    peer: ClientConnection
    on_line: list[Callable[[dict[str, Any]], object]] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """Whether it waits for its turn."""
        return bool(self.request.get("wait"))


@dataclass(frozen=True, slots=True)
class Termination:
    """The end of a machine: why, in words, and whether somebody had asked for it."""

    reason: str
    asked: bool = False
    traceless: bool = False


class Supervisor:
    """A supervisor of one machine.

    :ivar machine: what it is about, once that is up.
    :ivar turns: of those who want its guest.
    :ivar facts: what `machine.json` says, once the machine is up.
    """

    def __init__(self, runtime: RuntimeDirectory, directory: MachineDirectory) -> None:
        """Begin with the folder of the machine, whose lock we hold."""
        self.directory = directory
        self.machine: MicroVM
        self.queue = CommandQueue(directory.name)
        self.facts: dict[str, Any] = {"name": directory.name, "supervisor": os.getpid()}
        self.ended: asyncio.Future[Termination] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self.ending: Termination | None = None
        self._runtime = runtime
        self._connections: set[asyncio.Task[None]] = set()
        self._silent: dict[ClientConnection, None] = {}  # in the order of their coming
        self._lasting = 0
        self._end_record: EndRecord
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    def end(self, reason: str, *, asked: bool = False, traceless: bool = False) -> None:
        """Have the machine end; the first reason counts.

        :param asked: whether somebody wanted it.
        :param traceless: nobody needs to be told.
        """
        if not self.ended.done():
            self.ended.set_result(Termination(reason, asked, traceless))

    async def supervise(
        self, start: Callable[[], Coroutine[Any, Any, None]], order: dict[str, Any]
    ) -> None:
        """Start the machine, and serve its clients until it has ended, and is cleared up.

        :param start: gives us `machine`, once it is up, and tells its starter so.
        :param order: what was asked for.
        :raises MicroVMError: it could not be started.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            name = signal.Signals(number).name
            loop.add_signal_handler(number, self.end, f"{name} ended its supervisor")
        try:
            self._listener.bind(self.directory.path(SOCKET))
        except OSError as error:  # the disk is full
            raise unusable(self._runtime.path, error) from None
        self._listener.listen(_BACKLOG)
        tasks = [asyncio.create_task(self._accept())]
        try:
            async with self.queue.taken("its start", wait=False):
                await self._started(start)
            tasks += [asyncio.create_task(each) for each in self._watches(order)]
            self.ending = await self.ended
        finally:
            await cancel(tasks)
            await self._clear()

    async def _started(self, start: Callable[[], Coroutine[Any, Any, None]]) -> None:
        starting = asyncio.create_task(start())
        try:
            either: set[asyncio.Future[Any]] = {starting, self.ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                raise MicroVMError(
                    f"{self.directory.name} was not started: {self.ended.result().reason}"
                )
            starting.result()
        finally:
            await cancel([starting])

    def _watches(self, order: dict[str, Any]) -> list[Any]:
        watches = [self._watch_machine(), self._watch_silence(), self._watch_place()]
        if idle := order.get("idle_timeout"):
            watches.append(self._watch_idle(idle))
        if age := order.get("max_age"):
            watches.append(self._watch_age(age))
        return watches

    async def _watch_machine(self) -> None:
        self.end((await self.machine.wait_lost()).message)

    async def _watch_idle(self, timeout: float) -> None:
        await self.queue.idle(timeout)
        self.end(f"nobody used it for {format_duration(timeout)}", asked=True)

    async def _watch_age(self, age: float) -> None:
        await clock.sleep(age)
        self.end(f"it has reached its maximum age of {format_duration(age)}", asked=True)

    async def _watch_silence(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            if not self.queue.runs:
                with suppress(MachineError):  # which `_watch_machine` sees, too
                    await self.machine.ping(_PING_TIMEOUT)

    async def _watch_place(self) -> None:
        """See whether we can still be found: nobody could end us, and another could have our name.

        Who removes what nobody has used for long is told that we do.
        """
        refreshed = -_REFRESH
        while True:
            if clock.now() - refreshed >= _REFRESH:
                refreshed = clock.now()
                self._runtime.refresh()
                self.directory.refresh()
            if not self._runtime.has(self.directory):
                self.end("its folder was removed", traceless=True)
            elif not self.directory.has(SOCKET):
                self.end("its socket was removed")
            await asyncio.sleep(_LOOK)

    async def _clear(self) -> None:
        """End the machine, tell everybody, and leave nothing but the reason."""
        self._listener.close()
        try:
            if hasattr(self, "machine"):
                await self.machine.stop()
        finally:
            ending = self.ending or Termination("it could not be started", traceless=True)
            self.ending = ending
            if ending.traceless:
                with suppress(MicroVMError, OSError):
                    self._runtime.remove(self.directory)
            else:
                with suppress(OSError):  # the folder may have been removed
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
            except OSError:  # we may open no more files
                self._hurry()
                await asyncio.sleep(_NO_ROOM)
                continue
            peer = asyncio.create_task(self._serve(ClientConnection(connected)))
            self._connections.add(peer)
            peer.add_done_callback(self._connections.discard)
            await asyncio.sleep(0)  # what it has said already is heard before the next one comes
            if len(self._silent) > _MOST_SILENT:
                self._hurry()

    def _hurry(self) -> None:
        """Wait no more for the client that has been silent for the longest time."""
        for peer in self._silent:
            peer.hurry()
            del self._silent[peer]
            return

    async def _serve(self, peer: ClientConnection) -> None:
        try:
            if not peer.is_ours():
                return
            with suppress(EOFError):
                await self._answer(peer)
        except MicroVMError as error:
            await peer.fail(error)
        finally:
            peer.close()

    async def _answer(self, peer: ClientConnection) -> None:
        call = ClientRequest(await self._request(peer), peer)
        name = str(call.request.get("call"))
        function = CALLS.get(name)
        if function is None:
            raise UsageError(f"there is no call {call.request.get('call')!r} of a machine")
        with self._counted() if name in LASTING else nullcontext():
            await self._call(function, call)

    async def _request(self, peer: ClientConnection) -> dict[str, Any]:
        self._silent[peer] = None
        try:
            return await peer.request()
        except TimeoutError:
            message = f"machine {self.directory.name} heard no request in time; too many clients?"
            raise Busy(message, hint=_TRY_AGAIN) from None
        finally:
            self._silent.pop(peer, None)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a call that others can hold up.

        :raises Busy: there are too many.
        """
        if self._lasting >= _most_lasting():
            message = (
                f"machine {self.directory.name} has too many clients: {self._lasting} wait or run"
            )
            raise Busy(message, hint=_TRY_AGAIN)
        self._lasting += 1
        try:
            yield
        finally:
            self._lasting -= 1

    async def _call(self, function: Function, call: ClientRequest) -> None:
        work = asyncio.ensure_future(function(self, call))
        listening = asyncio.create_task(_listen(call))
        try:
            await asyncio.wait({work, listening}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await listening  # it may say what is wrong; else the client has gone
                return
        finally:
            await cancel([work, listening])
        try:
            reply = {"result": work.result()}
        except (MicroVMError, OSError, TypeError) as error:  # TypeError: no such option
            await call.peer.fail(self._explained(error))
        else:
            await call.peer.send(reply, call.peer.passed)

    def _explained(self, error: BaseException) -> BaseException:
        """Return the error for who had something in the machine when that ended."""
        if not isinstance(error, MachineError):
            return error
        if self.ending is None:
            return self.directory.error(error.message)
        told = self.directory.error(self.ending.reason)
        if self.ending.traceless:
            told.hint = ""  # its console is gone, too
        return told

    def describe(self, order: dict[str, Any]) -> None:
        """Write `machine.json`, when the machine is up."""
        machine = self.machine
        self.facts |= {
            "image": machine.image.name,
            "snapshot": order.get("snapshot"),
            "memory": machine.memory,
            "cpus": machine.cpus,
            "disk": machine.disk,
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
        except OSError as error:  # the disk is full
            raise unusable(self._runtime.path, error) from None


def _most_lasting() -> int:
    """Return how many calls may be held up; `stop` has to get through whatever they hold."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(_MOST_LASTING, (files - _OTHER_FILES) // _FILES))


async def _listen(call: ClientRequest) -> None:
    """Take the lines after a request, until the client has gone."""
    async for line in call.peer.lines():
        for each in call.on_line:
            each(line)
