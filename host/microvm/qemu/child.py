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
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from microvm.qemu import cgroup
from microvm.qemu.confinement import Status
from microvm.threads import start_thread

if TYPE_CHECKING:
    import asyncio

_CHUNK = 4096

# A launcher has this long to say which process it has made, in seconds: it takes milliseconds.
_PATIENCE = 10.0
_INTERVAL = 0.05


class Child:
    """A child process; it is reaped by :meth:`wait` or :meth:`reap` alone, and its group with it.

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
        self.status = Status()
        self._spawned = spawned
        self._said = said
        self._group = group
        self._pid = spawned.pid if said is None else None
        self._returncode: int | None = None
        self._ended: asyncio.Future[None] | None = None

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

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal, if it has not ended; this can be called in any thread.

        SIGKILL is for its launcher, too, which may be stopped, and has the socket open.
        """
        pid = self.pid
        if self._returncode is None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGKILL and self._spawned.pid != pid:
            self._spawned.kill()

    def reap(self) -> int:
        """Wait for the process to end, blocking, and reap it."""
        pid = self.pid
        self._part(time.monotonic() + _PATIENCE)
        if self._returncode is None:
            code = 0  # as `subprocess` has it, of a child whose end somebody else was told of
            with suppress(ChildProcessError):
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            self._returncode = code
            if pid == self._spawned.pid:
                self._spawned.returncode = code
        if self._group is not None:
            cgroup.remove(self._group)
        return self._returncode

    def close(self) -> None:
        """Close our end of the launcher's socket; the process is to be reaped by then."""
        if self._said is not None:
            self._said.close()

    def hear(self) -> Status:
        """Take what the launcher has said, of a program that has been reaped."""
        while self._said is not None and (data := self._said.recv(_CHUNK)):
            self.status.feed(data)
        return self.status

    async def started(self) -> Status:
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
            self._part(time.monotonic() + _PATIENCE)
        return self.status

    def _on_said(self, said: socket.socket, ended: asyncio.Future[None]) -> None:
        with suppress(BlockingIOError):
            data = said.recv(_CHUNK)
            self.status.feed(data)
            if not data:
                _set_done(ended)

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
        deadline = time.monotonic() + _PATIENCE
        poll = select.poll()
        poll.register(self._said, select.POLLIN)
        while self.status.pid is None:
            if not poll.poll(1000 * _INTERVAL):
                self._hurry(deadline)
                # What it has made, and not spoken of, may be stopped as well, and hold the socket.
                if self._spawned.poll() is not None and time.monotonic() > deadline:
                    self._returncode = self._spawned.returncode
                    break
            elif data := self._said.recv(_CHUNK):
                self.status.feed(data)
            else:
                self._part(deadline)
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
        if hasattr(os, "pidfd_open"):
            fd = os.pidfd_open(self.pid)
            loop.add_reader(fd, self._on_readable, loop, fd, ended)
        else:  # macOS
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


def _is_stopped(pid: int) -> bool:
    flags = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
    with suppress(ChildProcessError):
        return os.waitid(os.P_PID, pid, flags) is not None
    return False


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
