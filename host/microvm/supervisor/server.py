"""The server of a supervisor, which handles requests of clients until its machine or pool stops.

A supervisor owns a machine or a pool of machines. The folder of the machine or of the pool contains
the server's socket.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from microvm.concurrency.tasks import cancel
from microvm.errors import Busy, MachineError, MicroVMError
from microvm.supervisor import clock
from microvm.supervisor.client_connection import ClientConnection
from microvm.supervisor.end_record import EndRecord
from microvm.supervisor.ending import Ending, Termination
from microvm.supervisor.machine_directory import FACTS, SOCKET, MachineDirectory
from microvm.supervisor.runtime_directory import RuntimeDirectory, unusable

# Maximum number of simultaneous requests without a time limit, such as commands. Each request needs
# `_FILES` open files, and the supervisor `_OTHER_FILES`. A limit of open files lowers the maximum.
_MOST_LASTING = 200
_FILES = 4
_OTHER_FILES = 200
_BACKLOG = 1024  # number of clients that may wait to connect; the kernel can have a lower limit
_MOST_SILENT = 64  # maximum number of clients that have not sent their request yet

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


Answer = Callable[[ClientRequest], Coroutine[Any, Any, dict[str, Any]]]
"""A function that handles a request and returns the result, which is the content of the reply."""


class Server:
    """The base class of supervisors. It handles requests until its machine or pool stops.

    :cvar noun: The word for the object that the supervisor owns, for messages.
    :ivar ending: The state of a machine or pool that stops.
    """

    noun = "machine"

    def __init__(self, runtime: RuntimeDirectory, directory: MachineDirectory) -> None:
        """Create the server of a machine or pool whose `directory` this process has locked."""
        self.directory = directory
        self.ending = Ending()
        self._runtime = runtime
        self._connections: set[asyncio.Task[None]] = set()
        # Clients that have not sent a request yet, in the order in which they connected.
        self._silent: dict[ClientConnection, None] = {}
        self._lasting = 0
        self._end_record: EndRecord
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)

    def _name(self, fields: dict[str, Any]) -> str:
        """Return the name of a request, which the table of handlers may lack."""
        return str(fields.get("call"))

    def answer(self, fields: dict[str, Any]) -> tuple[Answer, bool]:
        """Return the function that handles a request, and True if it can last for any time.

        :param fields: The line that the client sent.
        :raises UsageError: The request does not exist.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop what the supervisor owns, in any state."""
        raise NotImplementedError

    async def serve(
        self,
        start: Callable[[], Coroutine[Any, Any, None]],
        watches: Callable[[], list[Coroutine[Any, Any, None]]],
    ) -> None:
        """Start the machine or pool, and handle requests until it ends.

        :param start: Starts the machine or pool, and sends the reply to the starter.
        :param watches: Returns coroutines that run after the start until the end.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            name = signal.Signals(number).name
            loop.add_signal_handler(number, self.ending.want, f"{name} ended its supervisor")
        try:
            self._listener.bind(self.directory.path(SOCKET))
        except OSError as error:  # for example, the disk is full
            raise unusable(self._runtime.path, error) from None
        self._listener.listen(_BACKLOG)
        tasks = [asyncio.create_task(self._accept())]
        try:
            await self._started(start)
            for watch in (*watches(), self._watch_directory()):
                task = asyncio.create_task(watch)
                task.add_done_callback(self._check_watch)
                tasks.append(task)
            self.ending.begun = await self.ending.wanted
        finally:
            await cancel(tasks)
            await self._clean_up()

    def _check_watch(self, watch: asyncio.Task[None]) -> None:
        """End the machine if a watch has failed, because nothing would notice its event then."""
        if not watch.cancelled() and (error := watch.exception()):
            self.ending.want(f"its supervisor failed: {error!r}")

    async def _started(self, start: Callable[[], Coroutine[Any, Any, None]]) -> None:
        starting = asyncio.create_task(start())
        wanted = self.ending.wanted
        try:
            either: set[asyncio.Future[Any]] = {starting, wanted}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                reason = wanted.result().reason
                raise MicroVMError(f"{self.directory.name} was not started: {reason}")
            starting.result()
        finally:
            await cancel([starting])

    def record(self, facts: dict[str, Any]) -> None:
        """Write `facts` to `machine.json`.

        Also reserve space on the disk for the reason why the machine ends, because the disk may be
        full by then.
        """
        try:
            self._end_record = EndRecord(self.directory)
            self.directory.write(FACTS, facts)
        except OSError as error:  # for example, the disk is full
            raise unusable(self._runtime.path, error) from None

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
                self.ending.want("its folder was removed", traceless=True)
            elif not self.directory.has(SOCKET):
                self.ending.want("its socket was removed")
            await asyncio.sleep(_CHECK_INTERVAL)

    async def _clean_up(self) -> None:
        """End the machine, write the reason to its folder, and reply to waiting clients."""
        self._listener.close()
        try:
            await self.stop()
        finally:
            ending = self.ending.begun or Termination("it could not be started", traceless=True)
            self.ending.begun = ending
            if ending.traceless:
                with suppress(MicroVMError, OSError):
                    self._runtime.remove(self.directory)
            else:
                with suppress(OSError):  # ignore the error if the machine's folder was removed
                    self._end_record.write(ending.reason, asked=ending.asked)
                with suppress(OSError):
                    os.unlink(SOCKET, dir_fd=self.directory.descriptor)
            self.ending.gone.set()
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
        answer, can_last = self.answer(request.fields)
        with self._counted() if can_last else nullcontext():
            await self._handle(answer, request)

    async def _request(self, client: ClientConnection) -> dict[str, Any]:
        self._silent[client] = None
        try:
            return await client.request()
        except TimeoutError:
            message = f"{self.noun} {self.directory.name} got no request in time; too many clients?"
            raise Busy(message, hint=_TRY_AGAIN) from None
        finally:
            self._silent.pop(client, None)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Context manager for a request without a time limit; raises `Busy` if too many run."""
        if self._lasting >= most_lasting():
            fault = f"has too many clients: {self._lasting} wait or run"
            raise Busy(f"{self.noun} {self.directory.name} {fault}", hint=_TRY_AGAIN)
        self._lasting += 1
        try:
            yield
        finally:
            self._lasting -= 1

    async def _handle(self, answer: Answer, request: ClientRequest) -> None:
        work = asyncio.ensure_future(answer(request))
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
            await request.client.fail(self._explained(error, request.fields))
        else:
            await request.client.send(reply, request.client.passed)

    def _explained(self, error: BaseException, fields: dict[str, Any]) -> BaseException:
        """Return the error to send to a client: `error`, or if the machine failed, why it ended.

        :param fields: The line of the client's request.
        """
        if not isinstance(error, MachineError):
            return error
        ending = self.ending.begun
        if ending is None:
            return self.directory.error(error.message)
        explained = self.directory.error(ending.reason)
        if ending.traceless:
            explained.hint = ""  # the hint refers to files in the folder, which was removed
        return explained


def most_lasting() -> int:
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
