"""Information about processes of this host, from proc(5)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from microvm.system.process import stat_fields

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Become the parent of orphaned descendants, so that the test finds all of them."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)


def exists(pid: int) -> bool:
    """Return True if a process exists, even as a zombie."""
    return bool(stat_fields(pid))


def is_alive(pid: int) -> bool:
    """Return True if a process exists and is no zombie."""
    return exists(pid) and state(pid) != "Z"


def state(pid: int) -> str:
    """Return the letter of a process's state, such as S for sleeping; empty if there is none."""
    return "".join(stat_fields(pid)[:1])


def leads_group(pid: int) -> bool:
    """Return True if a process, or a zombie, is the leader of its process group."""
    return stat_fields(pid)[2:3] == [str(pid)]


def children(pid: int) -> list[int]:
    """Return the children of a process, including zombies and adopted ones.

    The children of the main thread come first. The children of each thread are ordered by their
    start.
    """
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        threads = sorted(int(each.name) for each in Path(f"/proc/{pid}/task").iterdir())
        for thread in sorted(threads, key=pid.__ne__):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                listed = Path(f"/proc/{pid}/task/{thread}/children").read_text()
                found += map(int, listed.split())
    return found


def program(pid: int) -> str:
    """Return the name of the program that a process executes; empty if there is no process."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except (FileNotFoundError, ProcessLookupError):
        return ""


def open_files(pid: int | str = "self") -> dict[int, str]:
    """Return the target of each descriptor of a process."""
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this listing
            found[int(link.name)] = str(link.readlink())
    return found


def status(pid: int) -> dict[str, str]:
    """Return the fields of /proc/PID/status by name."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def memory(pid: int, kind: str = "VmRSS") -> int:
    """Return the resident memory of a process, or another field of /proc/PID/status, in KiB."""
    return int(status(pid)[kind].split()[0])


def cpu(pid: int) -> float:
    """Return the CPU time of a process and of the children that it has waited for, in seconds."""
    return sum(map(int, stat_fields(pid)[11:15])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ObservedProcess:
    """A process, identified by its pid and its start time, since pids are reused."""

    pid: int
    since: str

    @classmethod
    def of(cls, pid: int) -> ObservedProcess:
        """Return the process that has this pid now."""
        return cls(pid, _since(pid))

    def exists(self) -> bool:
        """Return True if the process exists, even as a zombie."""
        return bool(self.since) and _since(self.pid) == self.since

    def is_alive(self) -> bool:
        """Return True if the process exists and is no zombie."""
        return self.exists() and is_alive(self.pid)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(self.pid)
            try:
                if self.is_alive():
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            finally:
                os.close(fd)


def _since(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty if there is none."""
    return "".join(stat_fields(pid)[19:20])


def environment() -> dict[str, str]:
    """Return an environment in which another Python finds the same modules as this one."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
