"""A QEMU process, from its launch until it is reaped.

QEMU inherits socket pairs for QMP, the guest's port and the console. Sockets with paths would have
to be protected and unlinked. On Linux, the kernel kills QEMU when the process that launched it
exits.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from asyncio import create_task
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from typing import Any, Self

from qemu.qmp import QMPError

from microvm.concurrency.tasks import cancel, wait_ended
from microvm.errors import QemuError, QemuExit, TemplateError
from microvm.log import Area
from microvm.qemu import migration
from microvm.qemu.confinement import saved_size
from microvm.qemu.console import Console
from microvm.qemu.exit import KilledAs, classify
from microvm.qemu.launch import Launched, send_requests
from microvm.qemu.logged_lines import LoggedLines, sanitised
from microvm.qemu.qmp import Client, safe
from microvm.system.patience import patient

_logger = Area("qemu")

#: Maximum time from the spawning of QEMU to the guest's first instruction, in seconds.
START_TIMEOUT = 30.0

#: Maximum time in which QEMU saves a guest, in seconds. To send a running guest, QEMU has a further
#: second for each `_SLOWEST_MIB` MiB of memory and disk.
SAVE_TIMEOUT = 30.0
_SLOWEST_MIB = 64

#: Maximum time until the guest runs again, in seconds, after QEMU has paused it to send the last
#: part of its memory to a file.
RESUME_TIMEOUT = 10.0

#: Time between two checks of a starting QEMU, in seconds.
CHECK_INTERVAL = 0.5

#: Number of checks in a row after which we kill a QEMU that a signal has stopped. We count checks
#: instead of seconds, because the clock continues when a signal stops this process, too.
STOPPED_CHECKS = 6

#: The same for a QEMU that sleeps before its guest has started. A slow QEMU does not sleep.
SILENT_CHECKS = 12

_HINT_BUSY = "if this host is busy, try again, or start fewer machines at once"

_HINT_CONFINED = (
    "if the QEMU in PATH is a script, or its libraries are in unusual folders, the confinement "
    "prevents its start: use --confinement off"
)
# Exit statuses of the launcher, ld.so(8) and shells when they cannot execute a program.
_NOT_EXECUTED = {125, 127}

_STDERR_KEPT = 8 << 10
_STATUS_TIMEOUT = 5.0

# Maximum time to read the rest of QEMU's output after its exit, in seconds. No end of file arrives
# if a child that `multiprocessing` has forked holds copies of QEMU's ends of the sockets.
_DRAIN_TIMEOUT = 2.0


class Qemu:
    """A running QEMU process. Use it as a context manager, or call `stop`.

    When the thread of the event loop exits, the kernel kills QEMU (PR_SET_PDEATHSIG).
    """

    def __init__(self, launched: Launched, console: Console) -> None:
        """Take ownership of a launched QEMU. Only :meth:`start` calls this."""
        self.config = launched.config
        self._launched = launched
        self._process = launched.child
        self._port: socket.socket | None = launched.port
        self._console = console
        self._stderr = bytearray()
        self._internal_error = False
        self._killed_as: KilledAs | None = None
        self._qmp = Client()
        self._loop = asyncio.get_running_loop()
        self._running = self._loop.create_future()
        self._owner = create_task(self._own())

    @classmethod
    async def start(cls, launched: Launched, *, console: Console) -> Self:
        """Start the guest in a QEMU that was launched, and take ownership of that QEMU.

        :param console: Receiver of the guest's console output. The caller closes it.
        :raises QemuError: QEMU is too old, refuses its arguments, or exits at once, for example
            because the accelerator is broken.
        :raises TemplateError: QEMU refuses to restore the guest.
        """
        qemu = cls(launched, console)
        try:
            await asyncio.wait({qemu._running, qemu._owner}, return_when=asyncio.FIRST_COMPLETED)
            if not qemu._running.done():
                await qemu._owner
        except BaseException:
            await cancel([qemu._owner])
            raise
        return qemu

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        """The PID of QEMU."""
        return self._process.pid

    @property
    def scratch(self) -> int | None:
        """The descriptor of the scratch disk; None if there is none, or QEMU has exited."""
        return None if self.ended else self._launched.scratch

    @property
    def base(self) -> int | None:
        """The descriptor of memory that clones share; None if there is none, or QEMU has exited."""
        return None if self.ended else self._launched.base

    @property
    def send_timeout(self) -> float:
        """Maximum number of seconds to send the running guest to a file, and to copy its disk."""
        config = self.config
        return patient(SAVE_TIMEOUT + (config.memory + (config.scratch >> 20)) / _SLOWEST_MIB)

    @property
    def maps_readonly(self) -> bool:
        """True if clones can share the file of a saved guest's memory, without a copy for each."""
        return self._qmp.version >= migration.FILE_MIGRATION

    @property
    def ended(self) -> bool:
        """True if QEMU has exited and is reaped."""
        return self._process.returncode is not None

    def kill(self) -> None:
        """Kill QEMU. Any thread may call this, even after the event loop was closed."""
        self._process.kill()
        if self._loop.is_closed():
            self._process.reap()

    def take_port(self) -> socket.socket:
        """Return our end of the guest's port, a non-blocking stream socket. The caller closes it.

        Call this once, right after `start`.
        """
        port, self._port = self._port, None
        if port is None:
            raise RuntimeError("the port was taken before, or QEMU has exited")
        return port

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """Context manager: kill QEMU if a signal stops it while the block starts or copies a guest.

        At other times, a stopped QEMU is not killed, because somebody may have stopped it on
        purpose.
        """
        async with self._killed_if("stopped", lambda: self._process.stopped, STOPPED_CHECKS):
            yield

    async def save(self) -> None:
        """Save the guest to the files of `Launched.memory`. After that, the guest no longer runs.

        :raises TemplateError: QEMU refuses a request.
        :raises QemuError: QEMU has exited, or saving takes too long.
        """
        if self._launched.memory is None or self._launched.memory.saved:
            raise RuntimeError("QEMU was not started with memory to save to")
        await self._migrate(migration.save(self._qmp, self._launched.memory), patient(SAVE_TIMEOUT))

    async def send(
        self,
        target: int,
        freeze: Callable[[], Awaitable[None]],
        on_paused: Callable[[], Awaitable[None]],
    ) -> None:
        """Copy the running guest to a file, and call `on_paused` while the guest is paused.

        Another QEMU can restore a copy of the guest from the file. The guest of this QEMU continues
        to run. See `migration.send` for the parameters.

        :raises TemplateError: QEMU refuses a request.
        :raises QemuError: QEMU has exited, or sending takes too long.
        """
        try:
            async with self.starting():
                with self._process.file_size_limit(saved_size(self.config)):
                    sent = migration.send(self._qmp, target, freeze, on_paused)
                    await self._migrate(sent, self.send_timeout)
        finally:
            await wait_ended([create_task(self._resume())])

    async def _resume(self) -> None:
        try:
            async with asyncio.timeout(patient(RESUME_TIMEOUT)):
                await migration.resume(self._qmp)
        except (QMPError, TimeoutError):
            self._process.kill()  # otherwise QEMU's guest would stay paused for ever

    async def _migrate(self, migrated: Coroutine[Any, Any, str | None], timeout: float) -> None:
        migrating = create_task(migrated)
        try:
            async with asyncio.timeout(timeout):
                # The iterator over QEMU's events does not end when QEMU exits, so also wait for the
                # exit itself.
                either = {migrating, self._owner}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                status = None
                with suppress(QMPError):
                    status = migrating.result() if migrating.done() else None
                # If the guest shuts down while it is saved, QEMU cancels the saving and exits.
                exits = status != "completed" and self._qmp.shutdown_reason is not None
                if status is None or exits:
                    raise _exit_error(await self.wait())
        except TimeoutError as error:
            message = f"QEMU did not save the guest within {timeout:g} s"
            raise QemuError(message, hint=_HINT_BUSY) from error
        finally:
            await cancel([migrating])
        if status != "completed":
            raise TemplateError(f"QEMU did not save the guest: its status is {status}")

    async def wait(self) -> QemuExit:
        """Wait until QEMU has exited and is reaped. If this is cancelled, QEMU continues to run."""
        return await asyncio.shield(self._owner)

    async def stop(self) -> QemuExit:
        """Kill QEMU, and release all of its resources, except the socket that `take_port` returned.

        If this is cancelled, it still completes before it raises the cancellation.
        """
        if not self.ended:
            self._killed_as = self._killed_as or "ended"
            self._process.kill()
        await wait_ended([self._owner])
        return self._owner.result()

    def _close_port(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.close()

    async def _own(self) -> QemuExit:
        """Run QEMU from its launch to its exit, and release all of its resources at the end."""
        async with AsyncExitStack() as owned:
            owned.callback(self._close_port)
            owned.callback(self._launched.close_files)
            owned.enter_context(self._launched.qmp)
            owned.enter_context(self._launched.console)
            owned.enter_context(self._launched.stderr)
            # `wait_ended` lets `close` complete even if this task is cancelled during it.
            owned.push_async_callback(lambda: wait_ended([create_task(self._qmp.close())]))
            owned.callback(self._process.close)
            readers = [
                create_task(self._read_stderr()),
                create_task(self._console.follow(self._launched.console)),
            ]
            owned.push_async_callback(cancel, readers)
            owned.push_async_callback(lambda: wait_ended([create_task(self._process.wait())]))
            owned.callback(self._process.kill)
            limit = patient(START_TIMEOUT)
            try:
                idle = self._killed_if("silent", lambda: self._process.asleep, SILENT_CHECKS)
                async with self.starting(), idle, asyncio.timeout(limit):
                    await self._start_guest()
            except TimeoutError as error:
                message = f"QEMU did not start the guest within {limit:g} s"
                raise QemuError(message, hint=_HINT_BUSY) from error
            except (QMPError, OSError) as error:
                raise await self._failure(error, readers) from error
            self._running.set_result(None)
            readers.append(create_task(self._qmp.wait_closed()))
            watch = create_task(self._kill_on_error())
            owned.push_async_callback(cancel, [watch])
            return await self._exit(readers)

    async def _start_guest(self) -> None:
        report = await self._process.started()
        _logger.debug("process %d is confined by %s", self.pid, report)
        required = self.config.confinement == "require"
        report.check(required=required)
        if required:
            send_requests(self._launched.qmp, self._launched.requests)
        await self._qmp.greet(self._launched.qmp, self.pid, self._launched.requests)
        memory = self._launched.memory
        if memory is not None and memory.sent is not None:
            await migration.receive(self._qmp, memory.sent)

    async def _failure(self, error: Exception, readers: list[asyncio.Task[None]]) -> QemuError:
        """Return the error for a guest that did not start, with the output that `readers` read."""
        try:
            async with asyncio.timeout(2 * _DRAIN_TIMEOUT):
                ending = await self._exit(readers)
        except TimeoutError:
            return QemuError(f"QEMU did not start the guest: {safe(str(error))}")
        config, hint = self.config, ""
        refused = ending.returncode in _NOT_EXECUTED or os.strerror(errno.EPERM) in ending.text
        if refused and config.confinement != "off":
            hint = _HINT_CONFINED
        elif "kernel" in ending.text:
            hint = f"check that {config.kernel} is a kernel for {config.arch}"
        return _exit_error(ending, hint=hint, detail=self._stderr_text())

    async def _exit(self, readers: list[asyncio.Task[None]]) -> QemuExit:
        returncode = await self._process.wait()
        await asyncio.wait(readers, timeout=_DRAIN_TIMEOUT)
        return classify(
            returncode,
            reason=self._qmp.shutdown_reason,
            internal_error=self._internal_error,
            panic=self._console.panic(),
            stderr=self._stderr_text(),
            killed_as=self._killed_as,
            write_error=self._qmp.write_error,
        )

    @asynccontextmanager
    async def _killed_if(
        self, reason: KilledAs, condition: Callable[[], bool], max_checks: int
    ) -> AsyncIterator[None]:
        async def check() -> None:
            checks = 0
            while checks < max_checks:
                await asyncio.sleep(CHECK_INTERVAL)
                checks = checks + 1 if condition() else 0
            self._killed_as = reason
            self._process.kill()

        watch = create_task(check())
        try:
            yield
        finally:
            await cancel([watch])

    async def _kill_on_error(self) -> None:
        """Kill QEMU if an error has made it pause the guest, or if it has sent invalid QMP."""
        while True:
            await self._qmp.wait_paused()
            if self._qmp.garbled:
                self._killed_as = "garbled"
            elif not self._qmp.write_error:
                with suppress(QMPError, TimeoutError):
                    async with asyncio.timeout(patient(_STATUS_TIMEOUT)):
                        self._internal_error = await self._qmp.run_state() == "internal-error"
                if not self._internal_error:
                    continue
            self._process.kill()
            return

    async def _read_stderr(self) -> None:
        loop = asyncio.get_running_loop()
        name = f"process {self.pid}"
        lines = LoggedLines(_logger, f"{name} says", f"standard error of {name}")
        with suppress(ConnectionResetError), closing(lines):
            while data := await loop.sock_recv(self._launched.stderr, _STDERR_KEPT):
                lines.feed(data)
                self._stderr += data
                del self._stderr[:-_STDERR_KEPT]

    def _stderr_text(self) -> str:
        text = sanitised(bytes(self._stderr))
        for name, path in self._launched.files.items():
            text = text.replace(name, str(path))
        return text


def _exit_error(ending: QemuExit, *, hint: str = "", detail: str = "") -> QemuError:
    error = QemuError(ending.text, hint=hint or ending.hint, detail=detail)
    error.qemu_exit = ending
    return error
