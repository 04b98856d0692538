"""The standard streams of this process, and operations on descriptors."""

from __future__ import annotations

import fcntl
import os
from select import poll

from microvm.system import platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def open_missing() -> None:
    """Open /dev/null for each standard stream that is closed.

    Otherwise a file that is opened later would become a standard stream.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def allows(descriptor: int, *, writes: bool) -> bool:
    """Tell whether a descriptor was opened for writing if `writes` is True, else for reading.

    If it was not, waiting until it is ready may take forever, as for reading the write end of a
    pipe.
    """
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    wanted = os.O_WRONLY if writes else os.O_RDONLY
    return not flags & platform.O_PATH and flags & os.O_ACCMODE in {wanted, os.O_RDWR}


def wait_ready(events: Mapping[int, int], timeout: float | None = None) -> list[int]:
    """Wait for the `events` of descriptors; return the ready descriptors as soon as any is ready.

    :param events: the events to wait for, such as `select.POLLIN`, for each descriptor.
    :param timeout: maximum number of seconds to wait, after which the result is empty. By default
        there is no limit.
    """
    waiting = poll()
    for descriptor, mask in events.items():
        waiting.register(descriptor, mask)
    ready = waiting.poll(None if timeout is None else timeout * 1000)
    return [descriptor for descriptor, _ in ready]
