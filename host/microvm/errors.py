"""The errors that this library raises on purpose.

::

    MicroVMError                what went wrong, and a hint: what to do about it
    ├── UsageError              an argument that cannot be (also a ValueError)
    ├── ImageError              an image cannot be built, found or trusted
    ├── CacheError              the cache cannot be read, written or trusted
    ├── TemplateError           a saved guest cannot be used, or none can be saved
    ├── SnapshotError           a snapshot cannot be taken, found, or used here
    ├── QemuError               QEMU is missing, or refuses to start
    │   └── ConfinementError    it cannot be confined as it must be
    ├── MachineError            this machine is finished; start another
    │   ├── BootError           the guest never became ready
    │   ├── GuestDied           it reset, powered off, crashed, or QEMU ended
    │   ├── GuestUnresponsive   it no longer answers ping
    │   └── ProtocolError       it broke the protocol: hostile, or of another build
    │       └── VersionMismatch
    ├── NotRun                  a job of a batch that got no machine
    └── ExecError               one command; the machine is as usable as before
        ├── Busy                another command is in flight on this machine
        ├── StartError          the guest could not start it: stage and errno
        ├── FileError           a file of the guest's: errno and path (also an OSError)
        │   ├── FileNotFound    (also a FileNotFoundError, and so on)
        │   ├── FileForbidden
        │   ├── FileExists
        │   ├── IsAFolder
        │   └── NotAFolder
        └── ExecKilled          it was killed for going too far; holds its output so far
            ├── ExecTimeout     it ran past its deadline (also a TimeoutError)
            ├── OutputLimit     it wrote more than it may
            └── MemoryLimit     it wanted more memory than it may have
"""

from __future__ import annotations

import os
from errno import EACCES, EEXIST, EISDIR, ENOENT, ENOTDIR, EPERM
from shlex import quote
from signal import SIGKILL
from typing import Any, Literal, NamedTuple

from microvm._version import DISTRIBUTION
from microvm.printable import printable

# characters that are in commands for a shell, and rarely in names of programs
_OF_SHELLS = " \t|&;<>$`"
_NOTHING = "''"  # as an empty name is shown
_ERRNO_END = 4096  # MAX_ERRNO, include/linux/err.h

BUILD_AGAIN = (
    "build the image again with this microvm: `microvm image build`, with the name that it has; "
    "a ready-made one is built again after `microvm image rm NAME`"
)
"""The hint where what is in a guest is of another microvm."""

LOOK_AT_CONSOLE = (
    "its console may show why: keep it by `microvm run --console FILE`, or by console="
)
"""The hint where a guest is lost by its own doing."""

ExitKind = Literal[
    "reset",
    "shutdown",
    "panic",
    "internal_error",
    "quit",
    "killed",
    "crash",
    "limit",
    "exit",
]
"""Kind of a QEMU exit; see `QemuExit`."""


class QemuExit(NamedTuple):
    """The exit of a QEMU process: what kind it was, and why.

    :ivar kind: `reset`, `shutdown` and `panic` are the guest's doing, `quit` is ours; `killed` is
        somebody's who sent a signal, `limit` the host's, which refuses QEMU memory, files or room
        on a disk, `internal_error` the accelerator's, `crash` and `exit` QEMU's own.
    :ivar text: a sentence for people, without its full stop.
    :ivar returncode: QEMU's exit status; -N if signal N killed it.
    :ivar hint: what to do about it; may be empty.
    """

    kind: ExitKind
    text: str
    returncode: int
    hint: str = ""


class MicroVMError(Exception):
    """The root of the hierarchy.

    Names in it come from guests, files and callers, so it holds only what is safe to print.

    :param message: what went wrong and where, one line.
    :param hint: what to do about it; may be empty.
    :param detail: more lines, such as the end of the guest's console; may be empty.
    :cvar exit_status: the exit status of the command line that fails with it.
    """

    exit_status = 125

    def __init__(self, message: str, *, hint: str = "", detail: str = "") -> None:
        self.message = printable(message)
        self.hint = printable(hint)
        super().__init__(self.message)
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, unpickling calls the class with the message alone.
        return _rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def how_to_install(extra: str) -> str:
    """Return the hint for who has not got an extra's modules."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def _rebuild(
    kind: type[MicroVMError], args: tuple[object, ...], state: dict[str, object]
) -> MicroVMError:
    error = kind.__new__(kind, *args)
    error.args = args  # an OSError does not get its arguments from `__new__`
    error.__dict__.update(state)
    return error


class UsageError(MicroVMError, ValueError):
    """An argument is not valid: a size without a meaning, a NUL in a path."""

    exit_status = 2


class ImageError(MicroVMError):
    """An image cannot be built, found or trusted."""


class CacheError(MicroVMError):
    """The cache cannot be read, written, locked or trusted."""


class TemplateError(MicroVMError):
    """A saved guest cannot be used, or none can be saved; a cold boot does without."""


class SnapshotError(MicroVMError):
    """A snapshot cannot be taken, is not there, or does not fit what is here."""


class QemuError(MicroVMError):
    """QEMU is missing, too old, or refuses its arguments.

    :ivar qemu_exit: how QEMU ended, where that is what went wrong.
    """

    qemu_exit: QemuExit | None = None


class ConfinementError(QemuError):
    """QEMU cannot be confined as it must be here."""


class MachineError(MicroVMError):
    """The machine is finished; whatever ran in it is gone.

    :ivar qemu_exit: how QEMU ended, where that is what went wrong.
    """

    qemu_exit: QemuExit | None = None


class BootError(MachineError):
    """The guest never became ready; `detail` holds the end of its console."""


class GuestDied(MachineError):
    """The guest reset, powered off or crashed, or QEMU itself ended."""


class GuestUnresponsive(MachineError):
    """The guest halted or hangs: it no longer answers ping."""


class ProtocolError(MachineError):
    """The guest sent what the protocol forbids."""


class VersionMismatch(ProtocolError):
    """Host and guest have no version of the protocol in common.

    :ivar host: the host's version of the protocol, and the digest of its schema.
    :ivar guest: the same of the guest.
    """

    def __init__(self, host: tuple[int, int], guest: tuple[int, int]) -> None:
        same = "the same version, of" if host[0] == guest[0] else "an older version, of"
        super().__init__(
            f"the host speaks version {host[0]} of the protocol, schema {host[1]:016x}; "
            f"the guest speaks version {guest[0]}, schema {guest[1]:016x}: {same} another schema",
            hint=BUILD_AGAIN,
        )
        self.host = host
        self.guest = guest


class NotRun(MicroVMError):
    """A job was not run, because no machine could be started for it.

    :ivar reason: the error with which the start of a machine failed.
    """

    def __init__(self, reason: MicroVMError) -> None:
        super().__init__(f"not run: {reason.message}", hint=reason.hint, detail=reason.detail)
        self.reason = reason


class ExecError(MicroVMError):
    """A command failed in a way that is not its exit status."""


class Busy(ExecError):
    """A command is in flight on this machine, and it takes one at a time."""


def errno_text(number: int) -> str:
    """Return Linux's words for an error, whose number a guest may have made up."""
    return os.strerror(number) if 0 < number < _ERRNO_END else f"errno {number}"


class StartError(ExecError):
    """The guest could not start the command.

    :ivar stage: where it failed: `chdir`, `lookup`, `exec`, …
    :ivar errno: the guest's errno; Linux numbers, whatever the host.
    :ivar subject: what it failed with, fit to be shown: the working directory at `chdir`, the user
        at `user`, the interpreter at `interpreter`, where it is known; else the command.
    """

    def __init__(self, stage: str, errno: int, command: str, subject: str = "") -> None:
        reason = errno_text(errno)
        command = command or _NOTHING
        what = f" {subject}" if subject else ""
        missing = errno == ENOENT
        super().__init__(
            {
                "lookup": f"{command}: not found in the guest's PATH",
                "exec": f"{command}: {reason}{' in the guest' if missing else ''}",
                "interpreter": f"{command}: it is there, but its interpreter{what} is not",
                "chdir": f"{command}: cannot enter its working directory{what}: {reason}"
                + (" in the guest" if missing else ""),
                "user": f"{command}: cannot become its user{what}: "
                + ("the guest has no such user or group" if missing else reason),
            }.get(stage, f"{command}: cannot start it, {stage} failed: {reason}"),
            hint=_how_to_use_a_shell(command) if missing and stage in ("lookup", "exec") else "",
        )
        self.stage = stage
        self.errno = errno
        self.subject = subject or command
        # As shells have it: 127 for what is not there, 126 for what is and cannot be run.
        absent = missing and stage in ("lookup", "exec", "interpreter")
        self.exit_status = 127 if absent else 126


def _how_to_use_a_shell(command: str) -> str:
    """Return the hint for a command that seems to be a whole command line; "" for a single word."""
    if not any(char in command for char in _OF_SHELLS):
        return ""

    return f"run a whole command line by a shell: sh -c {quote(command)}"


class FileError(ExecError, OSError):
    """A file of the guest's cannot be had, or not be written.

    What of an errno Python has a kind of its own for, has one here that is that, too.

    :ivar errno: Linux's number of the error, whatever the host.
    :ivar strerror: the same in words.
    :ivar filename: the path in the guest.
    """

    def __init__(self, errno: int, path: str, message: str = "", *, hint: str = "") -> None:
        reason = errno_text(errno)
        super().__init__(message or f"{path or _NOTHING}: {reason} in the guest", hint=hint)
        self.errno = errno
        self.strerror = reason
        self.filename = printable(path)

    @staticmethod
    def of(errno: int, path: str) -> FileError:
        """Return the error of the kind that this number has."""
        return _FILE_ERRORS.get(errno, FileError)(errno, path)

    def __reduce__(self) -> tuple[Any, ...]:
        # What is an OSError's is in no dictionary.
        return type(self), (self.errno, self.filename, self.message), self.__dict__


class FileNotFound(FileError, FileNotFoundError):
    """There is no such file in the guest."""


class FileForbidden(FileError, PermissionError):
    """The guest's user may not do that with this file."""


class FileExists(FileError, FileExistsError):
    """There is such a file in the guest."""


class IsAFolder(FileError, IsADirectoryError):
    """It is a folder of the guest's, where none can be."""


class NotAFolder(FileError, NotADirectoryError):
    """It is no folder of the guest's, where one has to be."""


_FILE_ERRORS = {
    ENOENT: FileNotFound,
    EACCES: FileForbidden,
    EPERM: FileForbidden,
    EEXIST: FileExists,
    EISDIR: IsAFolder,
    ENOTDIR: NotAFolder,
}


class ExecKilled(ExecError):
    """The command went too far and was killed.

    :ivar stdout: what it had written by then, where the caller had asked for all of it: bytes, or
        str where text was asked for, with U+FFFD for what is none.
    :ivar stderr: the same of standard error.
    :ivar memory: the most memory that it took, as `CompletedProcess.memory`.
    :ivar returncode: how it ended then, as `CompletedProcess.returncode`.
    """

    stdout: Any = None
    stderr: Any = None
    memory: int | None = None
    returncode: int | None = None


class ExecTimeout(ExecKilled, TimeoutError):
    """The command ran past its deadline. This error is also a `TimeoutError`.

    :ivar timeout: the deadline, in seconds from its start.
    """

    exit_status = 124

    def __init__(self, command: str, timeout: float) -> None:
        # imported here, since that module imports this one
        from microvm.units import format_duration

        super().__init__(f"{command}: timed out after {format_duration(timeout)}")
        self.timeout = timeout


class OutputLimit(ExecKilled):
    """The command wrote more than it may.

    :ivar limit: the limit for both streams together, in bytes.
    """

    def __init__(self, command: str, limit: int) -> None:
        from microvm.units import exact_size  # imported here, since that module imports this one

        message = f"{command}: wrote more than {exact_size(limit)}, and was killed"
        super().__init__(message, hint="--max-output and max_output set that limit")
        self.limit = limit


class MemoryLimit(ExecKilled):
    """The command and what it had started wanted more memory than they may have.

    The guest's kernel killed all of them.

    :ivar limit: the limit for all of them together, in bytes.
    """

    exit_status = 128 + SIGKILL

    def __init__(self, command: str, limit: int) -> None:
        from microvm.units import exact_size  # imported here, since that module imports this one

        message = f"{command}: took more than {exact_size(limit)} of memory, and was killed"
        super().__init__(message, hint="--max-memory and max_memory set that limit")
        self.limit = limit
