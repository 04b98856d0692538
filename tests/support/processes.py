"""Processes of this machine, as proc(5) tells of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Take over the children of children that end, so that none can hide from us."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)


def exists(pid: int) -> bool:
    """Tell whether there is such a process, be it a zombie."""
    return bool(_stat(pid))


def is_alive(pid: int) -> bool:
    """Tell whether a process runs: a zombie, which its parent has to reap, does not."""
    return exists(pid) and state(pid) != "Z"


def state(pid: int) -> str:
    """The letter for what a process does, such as S when it sleeps; empty when there is none."""
    return "".join(_stat(pid)[:1])


def leads_group(pid: int) -> bool:
    """Tell whether a process, be it a zombie, is the first of its group."""
    return _stat(pid)[2:3] == [str(pid)]


def children(pid: int) -> list[int]:
    """The processes that this one has started or taken over, zombies too.

    Those of its main thread come first, and of each thread the newest last.
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
    """The name of the program that a process has executed; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except (FileNotFoundError, ProcessLookupError):
        return ""


def open_files(pid: int | str = "self") -> dict[int, str]:
    """Return what each descriptor of a process is open on."""
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this very listing
            found[int(link.name)] = str(link.readlink())
    return found


def status(pid: int) -> dict[str, str]:
    """Return what /proc/PID/status says of a process, by name."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def memory(pid: int, kind: str = "VmRSS") -> int:
    """A process's resident memory, or memory of another kind of /proc/PID/status, in KiB."""
    return int(status(pid)[kind].split()[0])


def cpu(pid: int) -> float:
    """What a process and those that it has waited for have taken of the processors, in seconds."""
    return sum(map(int, _stat(pid)[11:15])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A process, which no other that gets its number is taken for."""

    pid: int
    since: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """The one that has this number now."""
        return cls(pid, _since(pid))

    def exists(self) -> bool:
        """Tell whether it lives, or is a zombie."""
        return bool(self.since) and _since(self.pid) == self.since

    def is_alive(self) -> bool:
        """Tell whether it lives; a zombie does not."""
        return self.exists() and is_alive(self.pid)

    def kill(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(self.pid)
            try:
                if self.is_alive():
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            finally:
                os.close(fd)


def _since(pid: int) -> str:
    """Return when a process was started, in ticks since the boot; empty when there is none."""
    return "".join(_stat(pid)[19:20])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, the state first; none without a process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def interrupt_again_until_end(child: pexpect.spawn[bytes]) -> None:
    """Press Ctrl-C in a terminal, a few times a second, until its process has exited.

    If two arrive at once, the process gets only one signal.
    """
    for _ in range(100):
        child.sendcontrol("c")
        if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=0.2) == 0:
            break
    child.wait()
