"""The state of a process, as the kernel shows it in /proc/PID/stat; see proc_pid_stat(5)."""

from __future__ import annotations

from microvm.system import platform


def stat_fields(process: int) -> list[str]:
    """Return the fields in /proc/PID/stat after the process's name; empty if no such process.

    The first field is the state of the process. Field N of the manual page has the index N - 3.
    """
    # The name of the process, in parentheses, may contain spaces and parentheses. So the other
    # fields begin after the last parenthesis.
    return platform.proc(f"{process}/stat").rpartition(")")[2].split()


def memory_share(process: int) -> int | None:
    """Return the memory of a process in bytes, in which shared memory is divided by its users.

    A page that N processes use counts as one N-th of its size, so the sum of several processes
    counts no page twice. Return None if the kernel does not provide this number.

    Source: the field Pss in proc_pid_smaps(5).
    """
    for line in platform.proc(f"{process}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10  # the number is in KiB
    return None


def is_stopped(process: int) -> bool:
    """Tell whether a process is stopped, by a signal such as SIGSTOP or by a debugger."""
    return stat_fields(process)[:1] in (["T"], ["t"])
