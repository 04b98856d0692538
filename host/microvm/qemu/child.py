"""A child process that an event loop can wait for, even one spawned before the loop began."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from microvm.threads import start_thread


class Child:
    """A child process; it is reaped by :meth:`wait` alone."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._ended: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, -N when signal N ended it, or None while it is not reaped."""
        return self._process.returncode

    @property
    def stopped(self) -> bool:
        """Whether a signal such as SIGSTOP has stopped the process now."""
        if self.returncode is not None or not hasattr(os, "waitid"):
            return False
        flags = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, flags) is not None
        return False

    @property
    def asleep(self) -> bool:
        """Whether the process neither runs nor would if it could, nor waits for a disk; on Linux.

        That is so of its first thread.
        """
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{self.pid}/stat").read_text(errors="replace")
            return status.rpartition(")")[2].split()[0] == "S"  # proc_pid_stat(5)
        return False

    async def wait(self) -> int:
        """Wait for the process to end, and reap it; cancelling this leaves the process alone."""
        if self._ended is None:
            self._ended = self._watch(asyncio.get_running_loop())
        await asyncio.shield(self._ended)
        return self._process.wait()

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
        self._process.wait()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(_set_done, ended)


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
