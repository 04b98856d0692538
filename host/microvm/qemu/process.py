"""A QEMU process, from its launch until it is reaped.

It is managed over QMP on a socket pair that it inherits, as are the guest's port and console: there
is no path, so nothing to race for and nothing to unlink. On Linux QEMU dies with its controller,
however that dies.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
    suppress,
)
from typing import Any, Self

from qemu.qmp import QMPError

from microvm.concurrency.tasks import cancel, settled
from microvm.errors import QemuError, QemuExit, TemplateError
from microvm.log import Area
from microvm.qemu import migration
from microvm.qemu.command_line import Memory, QemuConfig
from microvm.qemu.confinement import saved_size
from microvm.qemu.console import Console
from microvm.qemu.exit import KilledAs, classify
from microvm.qemu.launch import Launched, ask, launch
from microvm.qemu.logged_lines import LoggedLines, sanitised
from microvm.qemu.qmp import Client, words

_logger = Area("qemu")

#: How long QEMU has from its spawning to the guest's first instruction, in seconds.
START_TIMEOUT = 30.0

#: How long QEMU may take to save a guest, in seconds; to send one, so much
#: longer as that many MiB in a second take.
SAVE_TIMEOUT = 30.0
_SLOWEST_MIB = 64

#: How long a guest may take to go on that was copied, in seconds.
GO_ON_TIMEOUT = 10.0

#: How often it is looked whether a QEMU that starts gets on, in seconds, and how often in a row a
#: signal may have stopped it, or it may be asleep before its guest is started, as one that is only
#: slow is not. We count, as what stops us at the same time stops no clock.
CHECK_INTERVAL = 0.5
STOPPED_CHECKS = 6
SILENT_CHECKS = 12

_HINT_BUSY = "is this host too busy? try again, or start fewer at once"

_HINT_CONFINED = (
    "is there a script in QEMU's place, in PATH, which may execute nothing, or has it libraries "
    "where no package of it has any? --confinement off lets it"
)
# So end the launcher that cannot execute it, and ld.so(8) and a shell that do not find something.
_NOT_EXECUTED = {125, 127}

_STDERR_KEPT = 8 << 10

# A dead QEMU's sockets are at their end, unless a child that was forked without exec, as
# multiprocessing does, holds copies of QEMU's ends: then the end never comes.
_DRAIN_TIMEOUT = 2.0


class Qemu:
    """A running QEMU; use it as a context manager, or call `stop`.

    It belongs to the event loop's thread: when that thread ends, so does QEMU (PR_SET_PDEATHSIG).
    """

    def __init__(self, launched: Launched, console: Console) -> None:
        """Take over what was launched; :meth:`start` and :meth:`take_over` make one."""
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
        self._owner = asyncio.create_task(self._own())

    @classmethod
    async def start(
        cls, config: QemuConfig, *, console: Console, memory: Memory | None = None
    ) -> Self:
        """Launch QEMU and start the guest in it, as `take_over` does.

        :param memory: the files to restore the guest from, or to `save` it to; the caller's.
        """
        return await cls.take_over(launch(config, memory), console=console)

    @classmethod
    async def take_over(cls, launched: Launched, *, console: Console) -> Self:
        """Start the guest in a QEMU that was launched, and own both.

        :param console: the receiver of what the guest writes to its serial port; the caller's.
        :raises QemuError: it is missing, too old, refuses its arguments, or ends at once, as it
            does under an accelerator that is broken.
        :raises TemplateError: QEMU says that it cannot restore a guest, or will not save one.
        :raises ImageError: if the kernel or the initramfs cannot be opened.
        :raises UsageError: for an unknown architecture.
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
        """The process id of QEMU."""
        return self._process.pid

    @property
    def config(self) -> QemuConfig:
        """The configuration that it was launched with."""
        return self._launched.config

    @property
    def scratch(self) -> int | None:
        """The disk that the guest writes its root to; None without one, or when QEMU has ended."""
        return None if self.ended else self._launched.scratch

    @property
    def base(self) -> int | None:
        """The memory that the guest shares with others; None without, or when QEMU has ended."""
        return None if self.ended else self._launched.base

    @property
    def send_timeout(self) -> float:
        """How long it may take to send all of the guest and its disk, in seconds."""
        config = self._launched.config
        return SAVE_TIMEOUT + (config.memory + (config.scratch >> 20)) / _SLOWEST_MIB

    @property
    def maps_readonly(self) -> bool:
        """Whether clones can share the file of a guest's memory; otherwise each needs a copy."""
        return self._qmp.version >= migration.FILE_MIGRATION

    @property
    def ended(self) -> bool:
        """Whether QEMU has ended and is reaped."""
        return self._process.returncode is not None

    def kill(self) -> None:
        """Kill QEMU; this can be called in any thread, and when the loop has been closed."""
        self._process.kill()
        if self._loop.is_closed():
            self._process.reap()

    def take_port(self) -> socket.socket:
        """Hand over our end of the guest's port, to be closed by the caller.

        :return: a stream socket, not blocking.
        :raises RuntimeError: it was taken before, or QEMU has ended: take it right after `start`.
        """
        port, self._port = self._port, None
        if port is None:
            raise RuntimeError("the port is no longer here to be taken")
        return port

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """Kill QEMU, while a machine starts or is copied, if it stays stopped by a signal.

        At other times it may be stopped for a reason; pings tell who waits for something from it.
        """
        async with self._killed_if("stopped", lambda: self._process.stopped, STOPPED_CHECKS):
            yield

    async def save(self) -> None:
        """Stop the guest for good, and save it to the `memory` that it was started with.

        :raises TemplateError: QEMU says that it cannot be saved.
        :raises QemuError: it has ended, or it takes too long.
        :raises RuntimeError: it was started with no such `memory`: a mistake of ours.
        """
        if self._launched.memory is None or self._launched.memory.saved:
            raise RuntimeError("QEMU was not started with memory to save to")
        await self._migrate(migration.save(self._qmp, self._launched.memory), SAVE_TIMEOUT)

    async def send(
        self,
        target: int,
        freeze: Callable[[], Awaitable[None]],
        standing: Callable[[], Awaitable[None]],
    ) -> None:
        """Copy the guest into a file, from which another QEMU goes on with it, as it does here.

        :param target: the file, empty, that can be written; the caller's.
        :param freeze: see `migration.send`.
        :param standing: called when the guest stands, and not all of it is in the file.
        :raises TemplateError: QEMU says that it cannot.
        :raises QemuError: it has ended, or it takes too long.
        """
        try:
            async with self.starting():
                with self._process.writing(saved_size(self.config)):
                    sent = migration.send(self._qmp, target, freeze, standing)
                    await self._migrate(sent, self.send_timeout)
        finally:
            await settled([asyncio.create_task(self._go_on())])

    async def _go_on(self) -> None:
        try:
            async with asyncio.timeout(GO_ON_TIMEOUT):
                await migration.go_on(self._qmp)
        except (QMPError, TimeoutError):
            self._process.kill()  # a guest that stands for ever is of no use

    async def _migrate(self, migrated: Coroutine[Any, Any, str | None], timeout: float) -> None:
        migrating = asyncio.create_task(migrated)
        try:
            async with asyncio.timeout(timeout):
                # The events of a QEMU that has ended have no end.
                ended = {migrating, self._owner}
                await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
                status = None
                with suppress(QMPError):
                    status = migrating.result() if migrating.done() else None
                # A QEMU whose guest has ended cancels what it sends before it ends itself.
                ends = status != "completed" and self._qmp.shutdown_reason is not None
                if status is None or ends:
                    raise _exit_error(await self.wait())
        except TimeoutError as error:
            message = "QEMU does not save the guest: it takes too long"
            raise QemuError(message, hint=_HINT_BUSY) from error
        finally:
            await cancel([migrating])
        if status != "completed":
            raise TemplateError(f"QEMU does not save the guest: {status}")

    async def wait(self) -> QemuExit:
        """Wait until QEMU has ended and is reaped; cancelling this leaves QEMU alone."""
        return await asyncio.shield(self._owner)

    async def stop(self) -> QemuExit:
        """Kill QEMU; where it has ended, only tidy up. It has nothing that anybody will miss.

        When this returns, no process, task or descriptor is left but a port that was taken.
        Cancelling it does not hurry it: the cancellation is raised when all is done.
        """
        if not self.ended:
            self._killed_as = self._killed_as or "ended"
            self._process.kill()
        await settled([self._owner])
        return self._owner.result()

    def _close_port(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.close()

    async def _own(self) -> QemuExit:
        """Own QEMU and all that belongs to it, and release everything at the end."""
        async with AsyncExitStack() as owned:
            owned.callback(self._close_port)
            owned.callback(self._launched.close_files)
            owned.enter_context(self._launched.qmp)
            owned.enter_context(self._launched.console)
            owned.enter_context(self._launched.stderr)
            owned.push_async_callback(self._close_qmp)
            owned.callback(self._process.close)
            readers = [
                asyncio.create_task(self._read_stderr()),
                asyncio.create_task(self._console.follow(self._launched.console)),
            ]
            owned.push_async_callback(cancel, readers)
            owned.push_async_callback(self._kill)
            try:
                async with self.starting(), self._speaking(), asyncio.timeout(START_TIMEOUT):
                    await self._start_guest()
            except TimeoutError as error:
                message = f"QEMU did not start a guest in {START_TIMEOUT:g} s"
                raise QemuError(message, hint=_HINT_BUSY) from error
            except (QMPError, OSError) as error:
                raise await self._failure(error, readers) from error
            self._running.set_result(None)
            readers.append(asyncio.create_task(self._qmp.wait_closed()))
            watch = asyncio.create_task(self._kill_on_error())
            owned.push_async_callback(cancel, [watch])
            return await self._exit(readers)

    async def _start_guest(self) -> None:
        status = await self._process.started()
        _logger.debug("process %d is confined by %s", self.pid, status)
        required = self.config.confinement == "require"
        status.check(required=required)
        if required:
            ask(self._launched.qmp, self._launched.requests)
        await self._qmp.greet(self._launched.qmp, self.pid, self._launched.requests)
        memory = self._launched.memory
        if memory is not None and memory.sent is not None:
            await migration.receive(self._qmp, memory.sent)

    async def _failure(self, error: Exception, readers: list[asyncio.Task[None]]) -> QemuError:
        """Return the error for a guest that did not start: QEMU's own words, if it has ended."""
        try:
            async with asyncio.timeout(2 * _DRAIN_TIMEOUT):
                ending = await self._exit(readers)
        except TimeoutError:
            return QemuError(f"QEMU does not start the guest: {words(error)}")
        config = self._launched.config
        about_kernel = f"is {config.kernel} a kernel for {config.arch}?"
        hint = about_kernel if "kernel" in ending.text else ""
        refused = ending.returncode in _NOT_EXECUTED or os.strerror(errno.EPERM) in ending.text
        if refused and config.confinement != "off":
            hint = _HINT_CONFINED
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

    def _speaking(self) -> AbstractAsyncContextManager[None]:
        """Kill QEMU if it stays asleep, where it should start a guest."""
        return self._killed_if("silent", lambda: self._process.asleep, SILENT_CHECKS)

    @asynccontextmanager
    async def _killed_if(
        self, what: KilledAs, is_so: Callable[[], bool], most: int
    ) -> AsyncIterator[None]:
        async def look() -> None:
            checks = 0
            while checks < most:
                await asyncio.sleep(CHECK_INTERVAL)
                checks = checks + 1 if is_so() else 0
            self._killed_as = what
            self._process.kill()

        watch = asyncio.create_task(look())
        try:
            yield
        finally:
            await cancel([watch])

    async def _kill_on_error(self) -> None:
        """Kill QEMU when it stays, but the host has failed its guest, or nobody understands it."""
        while True:
            await self._qmp.trouble()
            if self._qmp.garbled:
                self._killed_as = "garbled"
            elif not self._qmp.write_error:
                self._internal_error = await self._qmp.status() == "internal-error"
                if not self._internal_error:
                    continue
            self._process.kill()
            return

    async def _read_stderr(self) -> None:
        loop = asyncio.get_running_loop()
        name = f"process {self.pid}"
        lines = LoggedLines(_logger, f"{name} says", f"what {name} says")
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

    # Whoever starts QEMU may be cancelled while this ends because of a failure: then this is, too.

    async def _close_qmp(self) -> None:
        await settled([asyncio.create_task(self._qmp.close())])

    async def _kill(self) -> None:
        self._process.kill()
        await settled([asyncio.create_task(self._process.wait())])


def _exit_error(ending: QemuExit, *, hint: str = "", detail: str = "") -> QemuError:
    error = QemuError(ending.text, hint=hint or ending.hint, detail=detail)
    error.qemu_exit = ending
    return error
