"""Finds, interrupts and kills the processes that an interpreter has started."""

from __future__ import annotations

import os
import signal
import time

TICKS = os.sysconf("SC_CLK_TCK")
"""Number of ticks per second. The start time of a process in /proc is a number of ticks."""

PASSES = 100
"""Maximum number of searches for processes to kill."""

MAX_STAT = 4096
"""Maximum number of bytes to read from the file `stat` of a process, which is always smaller."""

EXIT_TIMEOUT = 0.1
"""Maximum number of seconds between the close of a process's files and its exit."""


def adopt_orphans() -> None:
    """Make this process the parent of each descendant whose own parent exits.

    So `descendants` finds even processes that detach. Without ctypes, it does not find these.
    """
    try:
        import ctypes

        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass


def boot_ticks() -> int:
    """Return the current time in the unit of the attribute `start` of a `Process`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS)


class Process:
    """A row of the kernel's table of processes.

    :ivar start: Time at which the process started, in ticks since the machine started.
    """

    __slots__ = ("group", "parent", "pid", "start")

    def __init__(self, pid: int, parent: int, group: int, start: int) -> None:
        self.pid = pid
        self.parent = parent
        self.group = group
        self.start = start


def read_process(pid: int | str) -> Process | None:
    """Return a process; None if it does not exist or is a zombie."""
    try:
        # `open` would take twice as long, which matters if a cell has started 1,000 processes.
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # The name of the program is in parentheses, and can contain spaces and parentheses.
        fields = os.read(fd, MAX_STAT).rpartition(b")")[2].split(None, 20)
    except OSError:
        return None
    finally:
        os.close(fd)
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return Process(int(pid), int(fields[1]), int(fields[2]), int(fields[19]))


def descendants(root: int, keep: int = 0, since: int = 0) -> list[Process]:
    """Return the descendants of a process.

    :param keep: Process that is left out. Its children are treated like children of `root`.
    :param since: Children that started before this time are left out, with their descendants.
    """
    children: dict[int, list[Process]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for process in map(read_process, filter(str.isdigit, names)):
        if process is not None:
            children.setdefault(process.parent, []).append(process)
    found = [
        each
        for parent in ((root, keep) if keep else (root,))
        for each in children.get(parent, ())
        if each.pid != keep and each.start >= since
    ]
    for each in found:  # the loop extends this list
        found += children.get(each.pid, ())
    return found


def may_descend(pid: int, root: int) -> bool:
    """Return False only if a process is certainly no descendant of the process `root`.

    If the process or an ancestor has exited, its parent is unknown. A process outside of this
    system's table of processes has the number 0, as has the parent of process 1.
    """
    while pid not in (0, root):
        process = read_process(pid)
        if process is None:
            return True
        pid = process.parent
    return pid == root


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process, or to a group if `pid` is negative, if it exists."""
    try:
        os.kill(pid, number)
    except OSError:
        pass


def interrupt_started(keeper: int, worker: int, since: int) -> None:
    """Send SIGINT to the worker, and to processes of its group that are not older than `since`."""
    send_signal(worker, signal.SIGINT)
    for each in descendants(keeper, worker, since):
        if each.group == worker:
            send_signal(each.pid, signal.SIGINT)


def kill_descendants(keeper: int, worker: int = 0, since: int = 0) -> set[int]:
    """Kill the descendants of the keeper, except the worker and processes older than `since`.

    A process that creates others as fast as it can would escape if it were killed alone. So first
    stop its whole process group, which the kernel does in one step: a stopped process creates no
    others. The keeper's own group is not stopped, because the keeper would stop with it.

    :return: The stopped groups, which can contain the worker and older processes, too.
    """
    groups = {worker} if worker else set()
    own = os.getpgrp()
    for group in groups:
        send_signal(-group, signal.SIGSTOP)
    killed: set[int] = set()
    for _ in range(PASSES):
        found = descendants(keeper, worker, since)
        new = {each.group for each in found} - groups - {own}
        for group in new:
            send_signal(-group, signal.SIGSTOP)
        groups |= new
        if new:
            continue
        # A process can be in the middle of creating another one, which the next search finds.
        alive = {each.pid for each in found} - killed
        if not alive:
            break
        for pid in alive:
            send_signal(pid, signal.SIGKILL)
        killed |= alive
    return groups


def kill_started(keeper: int, worker: int, since: int) -> None:
    """Kill the worker's processes that are not older than `since`. Older processes continue."""
    for group in kill_descendants(keeper, worker, since):
        send_signal(-group, signal.SIGCONT)


def kill_all(keeper: int, worker: int = 0) -> None:
    """Kill the worker and all other descendants of the keeper, which exit soon afterwards."""
    if worker:
        send_signal(-worker, signal.SIGKILL)
    kill_descendants(keeper)


def raise_priority() -> None:
    """Give this process priority over the processes of cells, if the kernel permits it."""
    try:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        except (AttributeError, OSError):  # musl lacks this function
            os.setpriority(os.PRIO_PROCESS, 0, -20)
    except OSError:
        pass


def deaths_by_memory() -> int:
    """Return how many processes the kernel has killed because memory was exhausted."""
    try:
        # Each request calls this function. Reading line by line would take twice as long.
        with open("/proc/vmstat", "rb", 0) as file:
            count = file.read().partition(b"\noom_kill ")[2].split(None, 1)
    except OSError:
        return 0
    return int(count[0]) if count else 0


def has_exited(pid: int) -> bool:
    """Return True if a process with closed sockets exits within `EXIT_TIMEOUT` seconds."""
    deadline = time.monotonic() + EXIT_TIMEOUT
    while read_process(pid) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(EXIT_TIMEOUT / 50)
    return True
