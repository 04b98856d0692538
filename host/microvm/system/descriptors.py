"""The standard streams of this process, as descriptors."""

from __future__ import annotations

import fcntl
import os


def open_missing() -> None:
    """Open those that were closed, on nothing, so that no later file is one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def allows(descriptor: int, *, writes: bool) -> bool:
    """Tell whether a descriptor was opened for reading, or for writing.

    If it was not, waiting until it is ready may take forever, as for reading the write end of a
    pipe.

    :param writes: True for writing, False for reading.
    :raises OSError: it is closed.
    """
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    wanted = os.O_WRONLY if writes else os.O_RDONLY
    return not flags & os.O_PATH and flags & os.O_ACCMODE in {wanted, os.O_RDWR}
