"""A child process that an event loop can wait for, even if it was spawned before the loop started.

On Linux, we spawn the launcher. The launcher creates another child of this process, which executes
QEMU. Over a socket, the launcher reports the PID of this child, and which layers of the confinement
it has set up.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import POLLIN
from typing import TYPE_CHECKING

from microvm.concurrency.threads import start_thread
from microvm.qemu import cgroup
from microvm.qemu.confinement import LauncherReport, may_raise
from microvm.system import platform
from microvm.system.descriptors import wait_ready
from microvm.system.process import stat_fields

if TYPE_CHECKING:
    import asyncio

_CHUNK = 4096

_LAUNCH_TIMEOUT = 10.0  # maximum seconds until the launcher reports the PID; usually milliseconds
_INTERVAL = 0.05


class Child:
    """A child process that runs QEMU. :meth:`wait` or :meth:`reap` reaps it and removes its cgroup.

    Only one thread may use this object, except for :meth:`kill`, which any thread may call.

    :ivar report: The report of the launcher, as far as it has arrived.
    :ivar returncode: Exit status, or -N if signal N killed the process; None until it is reaped.
    """

    def __init__(
        self,
        spawned: subprocess.Popen[bytes],
        reports: socket.socket | None = None,
        group: Path | None = None,
    ) -> None:
        """Take ownership of a spawned process, of the launcher's socket and of the cgroup, if any.

        :param spawned: The program, or the launcher that will execute it.
        :param reports: Our end of the launcher's socket, non-blocking; None without a launcher.
        :param group: Folder of the process's own cgroup; None if it has none.
        """
        self.report = LauncherReport()
        self._spawned = spawned
        self._report_socket = reports
        self._group = group
        self._pid = spawned.pid if reports is None else None
        self.returncode: int | None = None
        self._exited: asyncio.Future[None] | None = None
        # A pidfd of the program. It stays valid if code outside of this class reaps the process. It
        # is None if the PID is not known yet, if this class has reaped the process, or if the host
        # has no pidfds.
        self._pidfd = _open_pidfd(spawned.pid) if reports is None else None
        # The lock prevents one thread from closing the pidfd or the socket while another uses it.
        self._closing = threading.RLock()

    @property
    def pid(self) -> int:
        """The PID of the program. If it is unknown, this waits for the launcher's report."""
        if self._pid is None:
            self._await_pid()
        return self._known_pid

    @property
    def _known_pid(self) -> int:
        """The PID of the program, or the launcher's PID until the launcher has reported it."""
        return self._pid or self.report.pid or self._spawned.pid

    @property
    def stopped(self) -> bool:
        """True if a signal such as SIGSTOP has stopped the process."""
        if self.returncode is not None or not hasattr(os, "waitid"):
            return False
        return _is_stopped(self._known_pid)

    def kill(self) -> None:
        """Kill the process, unless it has exited. Any thread may call this.

        Until the launcher reports the PID, this kills the process group of launcher and program.
        """
        with self._closing, suppress(ProcessLookupError):
            killed = self._pidfd is not None and _kill(self._pidfd)
            if not killed and self.returncode is None:
                if pid := self._pid or self.report.pid:
                    os.kill(pid, signal.SIGKILL)
                else:
                    os.killpg(self._spawned.pid, signal.SIGKILL)
        if self._known_pid != self._spawned.pid:
            self._spawned.kill()  # also kill the launcher, which a signal may have stopped
        with self._closing, suppress(OSError):
            if self._report_socket is not None:
                # A shutdown ends a read of the report. Closing the socket would not, because
                # another process may have a copy of it.
                self._report_socket.shutdown(socket.SHUT_RD)

    @contextmanager
    def file_size_limit(self, size: int) -> Iterator[None]:
        """Context manager that limits the size of files that the process may write, in bytes.

        The old limit is restored after the block. The new limit is at most the limit of our own
        process. The limit remains unchanged if the process has exited, or if we have no permission
        to raise a limit.
        """
        import resource

        kind = resource.RLIMIT_FSIZE
        before = self._limit(kind) if may_raise() else None
        if before is not None:
            bounds = [each for each in (size, before[1], resource.getrlimit(kind)[0]) if each >= 0]
            self._limit(kind, (min(bounds), before[1]))
        try:
            yield
        finally:
            if before is not None:
                self._limit(kind, before)

    def _limit(self, kind: int, bounds: tuple[int, int] | None = None) -> tuple[int, int] | None:
        """Return the soft and hard limit of the resource `kind`; then set them to `bounds`, if any.

        Return None if the process has exited.
        """
        with suppress(ProcessLookupError):
            has_exited = self._pidfd and wait_ready({self._pidfd: POLLIN}, 0)
            if self.returncode is None and not has_exited:
                return platform.limits(self.pid, kind, bounds)
        return None

    def reap(self) -> int:
        """Block until the process exits, reap it, and return its return code."""
        pid = self.pid
        self._reap_launcher(time.monotonic() + _LAUNCH_TIMEOUT)
        if self.returncode is None:
            code = 0  # the status if other code has reaped the child, as in `subprocess`
            with suppress(ChildProcessError):
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            self.returncode = code
            with self._closing:
                pidfd, self._pidfd = self._pidfd, None
                if pidfd is not None:
                    os.close(pidfd)
            if pid == self._spawned.pid:
                self._spawned.returncode = code
        if self._group is not None:
            cgroup.remove(self._group)
        return self.returncode

    def close(self) -> None:
        """Close our end of the launcher's socket. The process must have been reaped."""
        with self._closing:
            if self._report_socket is not None:
                self._report_socket.close()

    def read_report(self) -> LauncherReport:
        """Return the launcher's complete report on QEMU's start. QEMU must have been reaped."""
        # `recv` raises BlockingIOError instead of returning the end of file if another process has
        # the socket open. The report is complete in both cases.
        with suppress(BlockingIOError):
            while self._report_socket is not None and (data := self._report_socket.recv(_CHUNK)):
                self.report.feed(data)
        return self.report

    async def started(self) -> LauncherReport:
        """Wait until the launcher has executed the program or failed, and return its report."""
        if self._report_socket is not None:
            from asyncio import get_running_loop  # imported late, to spawn QEMU earlier

            loop = get_running_loop()
            executed: asyncio.Future[None] = loop.create_future()
            # We do not use `sock_recv`, because its cancellation loses data that it has received.
            loop.add_reader(self._report_socket, self._on_report, self._report_socket, executed)
            try:
                await executed
            finally:
                loop.remove_reader(self._report_socket)
            self._await_pid()
            self._reap_launcher(time.monotonic() + _LAUNCH_TIMEOUT)
        return self.report

    def _on_report(self, reports: socket.socket, executed: asyncio.Future[None]) -> None:
        with suppress(BlockingIOError):
            data = reports.recv(_CHUNK)
            self._take(data)
            # Do not wait for the end of file after a failure: a copy of the socket may be open.
            if not data or self.report.failure:
                _set_done(executed)

    def _take(self, data: bytes) -> None:
        """Parse data of the launcher's report. If it has the PID, open a pidfd of the program."""
        known = self.report.pid
        self.report.feed(data)
        if known is None and self.report.pid is not None:
            self._pidfd = _open_pidfd(self.report.pid)

    @property
    def asleep(self) -> bool:
        """True if the first thread of the process sleeps interruptibly: state S in /proc."""
        return stat_fields(self._known_pid)[:1] == ["S"]

    async def wait(self) -> int:
        """Wait until the process exits, reap it, and return its exit status.

        If this is cancelled, the process continues to run.
        """
        import asyncio

        if self._exited is None and self.returncode is None:
            self._exited = self._watch(asyncio.get_running_loop())
        if self._exited is not None:
            await asyncio.shield(self._exited)
        return self.reap()

    def _await_pid(self) -> None:
        """Block until the launcher has reported the program's PID, or has exited without one.

        If the launcher exits without a report, the program is not executed, because the launcher's
        child waits for the launcher first.
        """
        if self._pid is not None or self._report_socket is None:
            return
        deadline = time.monotonic() + _LAUNCH_TIMEOUT
        readable = {self._report_socket.fileno(): POLLIN}
        while self.report.pid is None:
            has_exited = self._spawned.poll() is not None  # an exited launcher reports nothing more
            if wait_ready(readable, 0 if has_exited else _INTERVAL):
                if data := self._report_socket.recv(_CHUNK):
                    self._take(data)
                    continue
                self._reap_launcher(deadline)
            elif not has_exited:
                self._kill_stuck_launcher(deadline)
                continue
            self.returncode = self._spawned.returncode
            self._reap_unknown()
            break
        self._pid = self.report.pid or self._spawned.pid

    def _reap_launcher(self, deadline: float) -> None:
        """Wait until the launcher exits. Kill it after the deadline, or if a signal stopped it."""
        while self._spawned.pid != self._pid and self._spawned.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                self._spawned.wait(_INTERVAL)
                break
            self._kill_stuck_launcher(deadline)

    def _kill_stuck_launcher(self, deadline: float) -> None:
        """Kill the launcher's process group if a signal stopped it, or the deadline has passed."""
        if _is_stopped(self._spawned.pid) or time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(self._spawned.pid, signal.SIGKILL)

    def _reap_unknown(self) -> None:
        """Kill and reap the launcher's child by its process group, because its PID is unknown."""
        with suppress(ProcessLookupError):
            os.killpg(self._spawned.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-self._spawned.pid, 0):
                pass

    def _watch(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        exited: asyncio.Future[None] = loop.create_future()
        self._await_pid()
        if self._pidfd is not None:
            fd = os.dup(self._pidfd)
            loop.add_reader(fd, self._on_readable, loop, fd, exited)
        else:
            start_thread(self._block, loop, exited)
        return exited

    def _on_readable(
        self, loop: asyncio.AbstractEventLoop, fd: int, exited: asyncio.Future[None]
    ) -> None:
        loop.remove_reader(fd)
        os.close(fd)
        _set_done(exited)

    def _block(self, loop: asyncio.AbstractEventLoop, exited: asyncio.Future[None]) -> None:
        self.reap()
        with suppress(RuntimeError):  # raised if the event loop is closed by now
            loop.call_soon_threadsafe(_set_done, exited)


def _open_pidfd(pid: int) -> int | None:
    """Return a pidfd of a child; None if the child is reaped, or the host has no pidfds."""
    with suppress(OSError):  # macOS, old kernels and some containers have no pidfds
        return platform.open_process(pid)
    return None


def _kill(pidfd: int) -> bool:
    """Kill a process by its pidfd. Return False if the host lacks or forbids the system call.

    :raises ProcessLookupError: The process has exited.
    """
    try:
        platform.kill_process(pidfd)
    except ProcessLookupError:
        raise
    except OSError:  # raised by a filter or an emulator of system calls
        return False
    return True


def _is_stopped(pid: int) -> bool:
    with suppress(ChildProcessError):
        return platform.is_stopped_child(pid)
    return False


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
