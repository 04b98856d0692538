"""The state of another process, as the kernel shows it in /proc."""

from __future__ import annotations


def is_stopped(process: int) -> bool:
    """Tell whether a signal such as SIGSTOP, or a debugger, has stopped a process; see proc(5).

    :param process: its process number.
    """
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in {b"T", b"t"}
    except (OSError, IndexError):
        return False
