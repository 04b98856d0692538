"""The folder of a named machine, in the runtime directory.

The supervisor holds an flock on the folder itself until it exits. This lock shows whether the
supervisor is alive, while a process id could belong to another process by now. The folder holds the
files `socket`, `machine.json` (the description of the machine), `console`, `log`, and finally
`ended.json` (the reason why the machine ended).

All files are opened relative to descriptors of folders, so no other user can replace a folder
between two steps.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from microvm.supervisor import lazy, wire
from microvm.system import platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from microvm.errors import MachineError

# Names of the files in the folder of a machine.
FACTS = "machine.json"  # the description of the machine
ENDED = "ended.json"  # the reason why the machine ended
LOG = "log"  # the standard error of the supervisor
CONSOLE = ("console.old", "console")  # the older and the newer output of the console
POOL = "pool"  # an empty file, which only the folders of pools have
SOCKET = "socket"  # the socket on which the supervisor listens

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_READ = 1 << 20  # maximum number of bytes that are read from a JSON file
_PAUSE = 0.01  # seconds between two checks of the folder's lock


class MachineDirectory:
    """The open folder of a named machine. Use it as a context manager.

    :ivar held: True if this descriptor holds the lock.
    """

    def __init__(self, name: str, descriptor: int, *, held: bool = False) -> None:
        """Use `descriptor`, the open folder; `close` closes it. If `held`, the folder is locked."""
        self.name = name
        self.descriptor = descriptor
        self.held = held

    def close(self) -> None:
        """Close the folder. This unlocks it, unless another process has the same descriptor."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1
        self.held = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, name: str) -> str:
        """Return a path of the file `name` in the folder, short enough for a socket's address."""
        return f"{platform.descriptor_path(self.descriptor)}/{name}"

    def file(self, name: str, flags: int) -> int:
        """Open the regular file `name` in the folder. Only this user may access a created file."""
        file = os.open(name, flags | _FLAGS, 0o600, dir_fd=self.descriptor)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
            if flags & os.O_CREAT:
                # Set the mode again, because the umask may have removed some of these permissions.
                os.fchmod(file, 0o600)
        except BaseException:
            os.close(file)
            raise
        return file

    def has(self, name: str) -> bool:
        """Tell whether the folder contains a file of this name."""
        try:
            os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError:
            return False
        return True

    def is_machine(self) -> bool:
        """Tell whether the folder belongs to a machine, by its files or a supervisor's lock."""
        return any(map(self.has, (LOG, FACTS, ENDED))) or self.is_alive()

    def is_pool(self) -> bool:
        """Tell whether the folder belongs to a pool of machines, and not to a single machine."""
        return self.has(POOL)

    def lock(self) -> None:
        """Lock the folder of the machine, which shows that its supervisor is running or starting.

        Other processes hold this lock only for a moment, in `is_alive`.
        """
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        self.held = True

    def is_alive(self) -> bool:
        """Tell whether the machine's supervisor is running or starting."""
        if self.held:
            return True
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        return False

    def wait_dead(self, timeout: float) -> bool:
        """Wait until the supervisor has exited; return False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
        return True

    def refresh(self) -> None:
        """Set the modification times of the machine's files to now, so that they look used.

        Some hosts remove files that look unused.
        """
        with lazy.contextlib.suppress(OSError):
            os.utime(self.descriptor)
            for each in os.listdir(self.descriptor):
                os.utime(each, dir_fd=self.descriptor, follow_symlinks=False)

    def read(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file; empty if the file is missing or invalid."""
        try:
            with os.fdopen(self.file(name, os.O_RDONLY), "rb") as file:
                return wire.decode(file.read(_MAX_READ))
        except (OSError, ValueError):
            return {}

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Replace the JSON file `name` in one step, so that no process reads a part of it."""
        new, folder = f".{name}.{os.getpid()}", self.descriptor
        try:
            with os.fdopen(self.file(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
                file.write(wire.encode(value))
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with lazy.contextlib.suppress(OSError):
                os.unlink(new, dir_fd=folder)
            raise

    def ended(self) -> dict[str, Any]:
        """Return the content of `ended.json`, which tells why and when the dead machine has ended.

        It consists of the `reason`, `asked` (True if a user wanted the end), and the time `at`.

        If its supervisor was killed before it could write the reason, the first caller writes it.
        """
        read = self.read(ENDED)
        if isinstance(read.get("at"), int | float):
            return {
                "reason": str(read.get("reason")),
                "asked": read.get("asked") is True,
                "at": read["at"],
            }
        killed = {"reason": "its supervisor was killed", "asked": False, "at": time.time()}
        if not self.is_alive():
            with lazy.contextlib.suppress(OSError):  # ignore the error if the disk is full
                self.write(ENDED, killed)
        return killed

    def error(self, reason: str | None = None) -> MachineError:
        """Return the error for a dead machine or pool.

        :param reason: why it has ended; by default the reason in `ended.json`.
        """
        is_pool = self.is_pool()
        logs = "" if is_pool else f"`microvm logs {self.name}` shows its console, "
        return lazy.errors.GuestDied(
            f"{noun(pool=is_pool)} {self.name} is gone: {reason or self.ended()['reason']}",
            hint=f"{logs}`microvm {verb('stop', pool=is_pool)} {self.name}` removes its files",
        )


def noun(*, pool: bool) -> str:
    """Return the word for a machine or a pool in messages."""
    return "pool" if pool else "machine"


def verb(name: str, *, pool: bool) -> str:
    """Return a verb of the command line for machines, such as `stop`, or that verb for pools."""
    return f"pool {name}" if pool else name
