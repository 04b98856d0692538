"""A child process that an event loop can wait for, even one spawned before the loop began.

On Linux a launcher is spawned, and makes another child of ours, which becomes the program; it says
which that is, and what it has done, on a socket.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from microvm.concurrency.threads import start_thread
from microvm.qemu import cgroup
from microvm.qemu.confinement import LauncherReport, may_raise

if TYPE_CHECKING:
    import asyncio

_CHUNK = 4096

# A launcher has this long to say which process it has made, in seconds: it takes milliseconds.
_LAUNCH_TIMEOUT = 10.0
_INTERVAL = 0.05


class Child:
    """A child process; it is reaped by :meth:`wait` or :meth:`reap` alone, and its group with it.

    It belongs to one thread, which alone hears the launcher; :meth:`kill` is for any.

    :ivar status: what its launcher has said so far.
    """

    def __init__(
        self,
        spawned: subprocess.Popen[bytes],
        said: socket.socket | None = None,
        group: Path | None = None,
    ) -> None:
        """Take over what was spawned.

        :param said: our end of the socket on which a launcher says what it does, not blocking; None
            where the program itself was spawned.
        :param group: the control group that it is in, where it has one of its own.
        """
        self.status = LauncherReport()
        self._spawned = spawned
        self._said = said
        self._group = group
        self._pid = spawned.pid if said is None else None
        self._returncode: int | None = None
        self._ended: asyncio.Future[None] | None = None
        # The process, whoever reaps it; None before it is known, after it is reaped, and where this
        # host has no such thing. The lock is for who uses it, or the socket, or closes them.
        self._held = _hold(spawned.pid) if said is None else None
        self._closing = threading.RLock()

    @property
    def pid(self) -> int:
        """The process id; its launcher is waited for where that is not known."""
        if self._pid is None:
            self._meet()
        return self._known

    @property
    def _known(self) -> int:
        """The process as far as it is known: the launcher before it has said which it is."""
        return self._pid or self.status.pid or self._spawned.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, -N when signal N ended it, or None while it is not reaped."""
        return self._returncode

    @property
    def stopped(self) -> bool:
        """Whether a signal such as SIGSTOP has stopped the process now."""
        if self.returncode is not None or not hasattr(os, "waitid"):
            return False
        return _is_stopped(self._known)

    def kill(self) -> None:
        """Kill it, if it has not ended; this can be called in any thread.

        Before its launcher has said which process it is, their group is killed.
        """
        with self._closing, suppress(ProcessLookupError):
            killed = self._held is not None and _kill(self._held)
            if not killed and self._returncode is None:
                if pid := self._pid or self.status.pid:
                    os.kill(pid, signal.SIGKILL)
                else:
                    os.killpg(self._spawned.pid, signal.SIGKILL)
        if self._known != self._spawned.pid:
            self._spawned.kill()  # which may be stopped
        with self._closing, suppress(OSError):
            if self._said is not None:
                self._said.shutdown(socket.SHUT_RD)  # whoever else may have it open

    @contextmanager
    def writing(self, size: int) -> Iterator[None]:
        """Let it write files for a while, of so many bytes at most, and of what we may ourselves.

        Where it has ended, or we may not raise a limit, that is left as it is.
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
        """Return a limit that it has, and set it; None if it has ended."""
        import resource

        with suppress(ProcessLookupError):
            if self._returncode is None and not (self._held and _has_ended(self._held)):
                return resource.prlimit(self.pid, kind, *([bounds] if bounds else []))
        return None

    def reap(self) -> int:
        """Wait for the process to end, blocking, and reap it."""
        pid = self.pid
        self._part(time.monotonic() + _LAUNCH_TIMEOUT)
        if self._returncode is None:
            code = 0  # as `subprocess` has it, of a child whose end somebody else was told of
            with suppress(ChildProcessError):
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            self._returncode = code
            self._let_go()
            if pid == self._spawned.pid:
                self._spawned.returncode = code
        if self._group is not None:
            cgroup.remove(self._group)
        return self._returncode

    def close(self) -> None:
        """Close our end of the launcher's socket; the process is to be reaped by then."""
        with self._closing:
            if self._said is not None:
                self._said.close()

    def hear(self) -> LauncherReport:
        """Take what the launcher has said, of a program that has been reaped."""
        with suppress(BlockingIOError):  # there is no end where another has the socket open
            while self._said is not None and (data := self._said.recv(_CHUNK)):
                self.status.feed(data)
        return self.status

    async def started(self) -> LauncherReport:
        """Wait until the program is executed, or never will be; return what the launcher said."""
        if self._said is not None:
            from asyncio import get_running_loop  # QEMU is spawned before that is imported

            loop = get_running_loop()
            ended: asyncio.Future[None] = loop.create_future()
            # Not by `sock_recv`: what that has received is lost where this is cancelled meanwhile.
            loop.add_reader(self._said, self._on_said, self._said, ended)
            try:
                await ended
            finally:
                loop.remove_reader(self._said)
            self._meet()
            self._part(time.monotonic() + _LAUNCH_TIMEOUT)
        return self.status

    def _on_said(self, said: socket.socket, ended: asyncio.Future[None]) -> None:
        with suppress(BlockingIOError):
            data = said.recv(_CHUNK)
            self._take(data)
            if not data or self.status.failure:  # another may have the socket open
                _set_done(ended)

    def _take(self, data: bytes) -> None:
        """Take what the launcher says; the process that it speaks of is held from then on."""
        known = self.status.pid
        self.status.feed(data)
        if known is None and self.status.pid is not None:
            self._held = _hold(self.status.pid)

    def _let_go(self) -> None:
        with self._closing:
            held, self._held = self._held, None
            if held is not None:
                os.close(held)

    @property
    def asleep(self) -> bool:
        """Whether the process neither runs nor would if it could, nor waits for a disk; on Linux.

        That is so of its first thread.
        """
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{self._known}/stat").read_text(errors="replace")
            return status.rpartition(")")[2].split()[0] == "S"  # proc_pid_stat(5)
        return False

    async def wait(self) -> int:
        """Wait for the process to end, and reap it; cancelling this leaves the process alone."""
        import asyncio

        if self._ended is None and self._returncode is None:
            self._ended = self._watch(asyncio.get_running_loop())
        if self._ended is not None:
            await asyncio.shield(self._ended)
        return self.reap()

    def _meet(self) -> None:
        """Learn which process is the program's, or that the launcher has ended without making one.

        A process that it has made, and not yet spoken of, does not go on without it.
        """
        if self._pid is not None or self._said is None:
            return
        deadline = time.monotonic() + _LAUNCH_TIMEOUT
        poll = select.poll()
        poll.register(self._said, select.POLLIN)
        while self.status.pid is None:
            has_ended = self._spawned.poll() is not None  # so that it says no more
            if poll.poll(0 if has_ended else 1000 * _INTERVAL):
                if data := self._said.recv(_CHUNK):
                    self._take(data)
                    continue
                self._part(deadline)
            elif not has_ended:
                self._hurry(deadline)
                continue
            self._returncode = self._spawned.returncode
            self._reap_unmet()
            break
        self._pid = self.status.pid or self._spawned.pid

    def _part(self, deadline: float) -> None:
        """Wait for the end of the launcher, and reap it."""
        while self._spawned.pid != self._pid and self._spawned.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                self._spawned.wait(_INTERVAL)
                break
            self._hurry(deadline)

    def _hurry(self, deadline: float) -> None:
        """Kill a launcher that somebody has stopped, or that has taken too long."""
        if _is_stopped(self._spawned.pid) or time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(self._spawned.pid, signal.SIGKILL)

    def _reap_unmet(self) -> None:
        """End a process that the launcher had made when it was killed: it is of its group."""
        with suppress(ProcessLookupError):
            os.killpg(self._spawned.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-self._spawned.pid, 0):
                pass

    def _watch(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        ended: asyncio.Future[None] = loop.create_future()
        self._meet()
        if self._held is not None:
            fd = os.dup(self._held)
            loop.add_reader(fd, self._on_readable, loop, fd, ended)
        else:
            start_thread(self._block, loop, ended)
        return ended

    def _on_readable(
        self, loop: asyncio.AbstractEventLoop, fd: int, ended: asyncio.Future[None]
    ) -> None:
        loop.remove_reader(fd)
        os.close(fd)
        _set_done(ended)

    def _block(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        self.reap()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(_set_done, ended)


def _hold(pid: int) -> int | None:
    """Return a descriptor of a child; None where it is gone already, or there are none."""
    with suppress(AttributeError, OSError):  # of macOS, and of kernels and containers without
        return os.pidfd_open(pid)
    return None


def _kill(held: int) -> bool:
    """Kill a process by its descriptor; false where this host has that call not, or forbids it.

    :raises ProcessLookupError: it has ended.
    """
    try:
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except ProcessLookupError:
        raise
    except OSError:  # of a filter of system calls, or of what emulates them
        return False
    return True


def _has_ended(held: int) -> bool:
    poll = select.poll()
    poll.register(held, select.POLLIN)
    return bool(poll.poll(0))


def _is_stopped(pid: int) -> bool:
    flags = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
    with suppress(ChildProcessError):
        return os.waitid(os.P_PID, pid, flags) is not None
    return False


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
