"""The folder of a named machine, in the runtime folder.

An flock on the folder itself is held by its supervisor for as long as that lives: it, and no
process number, tells whether it does, and nobody can remove it without the folder. In it are
`socket`, `machine.json` (what the machine is), `console`, `log`, and in the end `ended.json` (why
it ended). All of it is used through descriptors of folders: nobody else can put something in
between.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress

from microvm.supervisor import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from microvm.errors import MachineError

FACTS = "machine.json"
ENDED = "ended.json"
LOG = "log"
"""The files that say what a machine is, why it ended, and what its supervisor complains of."""

CONSOLE = ("console.old", "console")
"""The files of a console: the older half of its end, and the newer one."""

SOCKET = "socket"
"""Where a supervisor is asked."""

_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST = 1 << 20  # of the files that are read
_PAUSE = 0.01


class MachineDirectory:
    """The folder of a machine, open; use it as a context manager.

    :ivar name: the machine's.
    :ivar descriptor: the folder is open here.
    :ivar held: whether its lock is held through this descriptor.
    """

    def __init__(self, name: str, descriptor: int, *, held: bool = False) -> None:
        """Take over the descriptor."""
        self.name = name
        self.descriptor = descriptor
        self.held = held

    def close(self) -> None:
        """Close it, and let go of the lock, if it is ours and no other process has it from us."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1
        self.held = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, name: str) -> str:
        """Return a path of one of its files that has a length which any socket's may have."""
        return f"/proc/self/fd/{self.descriptor}/{name}"

    def file(self, name: str, flags: int) -> int:
        """Open one of its files, which is ours alone if it is made.

        :raises OSError: it cannot be opened, or is no file.
        """
        file = os.open(name, flags | _FILE, 0o600, dir_fd=self.descriptor)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
            if flags & os.O_CREAT:
                os.fchmod(file, 0o600)  # whatever the umask
        except BaseException:
            os.close(file)
            raise
        return file

    def has(self, name: str) -> bool:
        """Tell whether it has something of this name."""
        try:
            os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError:
            return False
        return True

    def is_machines(self) -> bool:
        """Tell whether it is a machine's, and not just some folder."""
        return any(map(self.has, (LOG, FACTS, ENDED))) or self.lives()

    def lock(self) -> None:
        """Take its lock, which nobody else has but those who look whether somebody does."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        self.held = True

    def lives(self) -> bool:
        """Tell whether its supervisor lives, or is being started."""
        if self.held:
            return True
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        return False

    def dies(self, timeout: float) -> bool:
        """Wait until its supervisor is gone, but no longer than this, in seconds."""
        deadline = time.monotonic() + timeout
        while self.lives():
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
        return True

    def refresh(self) -> None:
        """Have it look as if it were used, to those who remove what nobody has used for long."""
        with suppress(OSError):
            os.utime(self.descriptor)
            for each in os.listdir(self.descriptor):
                os.utime(each, dir_fd=self.descriptor, follow_symlinks=False)

    def read(self, name: str) -> dict[str, Any]:
        """Return what one of its JSON files says; nothing where there is none, or it is none."""
        try:
            with os.fdopen(self.file(name, os.O_RDONLY), "rb") as file:
                return wire.decode(file.read(_LONGEST))
        except (OSError, ValueError):
            return {}

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Write one of its JSON files, which appears whole.

        :raises OSError: it cannot be written.
        """
        fresh, here = f".{name}.{os.getpid()}", self.descriptor
        try:
            with os.fdopen(self.file(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
                file.write(wire.encode(value))
            os.rename(fresh, name, src_dir_fd=here, dst_dir_fd=here)
        except BaseException:
            with suppress(OSError):
                os.unlink(fresh, dir_fd=here)
            raise

    def ended(self) -> dict[str, Any]:
        """Return why a machine that is dead ended: `reason`, whether `asked` for, and `at`.

        For one that could not say so, the first who sees it does.
        """
        said = self.read(ENDED)
        if isinstance(said.get("at"), int | float):
            return {
                "reason": str(said.get("reason")),
                "asked": said.get("asked") is True,
                "at": said["at"],
            }
        killed = {"reason": "its supervisor was killed", "asked": False, "at": time.time()}
        if not self.lives():
            with suppress(OSError):  # the disk is full
                self.write(ENDED, killed)
        return killed

    def error(self, reason: str | None = None) -> MachineError:
        """Return the error for who wants something from a machine that is dead, and why that is."""
        from microvm.errors import GuestDied

        return GuestDied(
            f"machine {self.name} is gone: {reason or self.ended()['reason']}",
            hint=f"`microvm logs {self.name}` shows its console, `microvm stop {self.name}` "
            "clears it up",
        )
