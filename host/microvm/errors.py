"""The errors that this library raises on purpose.

::

    MicroVMError                any error of this library
    ├── UsageError              an argument is invalid (also a ValueError)
    ├── ImageError              an image cannot be built, found or trusted
    ├── CacheError              the cache cannot be read, written or trusted
    ├── TemplateError           a template cannot be saved or used
    ├── SnapshotError           a snapshot cannot be saved, found or used
    ├── QemuError               QEMU is missing or does not start
    │   └── ConfinementError    QEMU cannot be confined as required
    ├── MachineError            the machine has failed; start another one
    │   ├── BootError           the guest did not become ready
    │   ├── GuestDied           the guest stopped or crashed, or QEMU exited
    │   ├── GuestUnresponsive   the guest does not answer
    │   └── ProtocolError       the guest sent an invalid message
    │       └── VersionMismatch
    ├── NotRun                  a job was not run, because no machine could be started
    └── ExecError               a command failed; the machine can run other commands
        ├── Busy                the machine runs its maximum number of commands
        ├── ProcessNotFound     the machine has no detached command with this id
        ├── StartError          the guest could not start the command (also an OSError)
        │   ├── CommandNotFound   (also a FileNotFoundError; the others accordingly)
        │   ├── CommandForbidden
        │   └── CommandNotAFolder
        ├── FileError           a file of the guest cannot be used (also an OSError)
        │   ├── FileNotFound    (also a FileNotFoundError; the others accordingly)
        │   ├── FileForbidden
        │   ├── FileExists
        │   ├── IsAFolder
        │   └── NotAFolder
        ├── ReadError           output cannot be read as requested; none of it is lost
        │   ├── ReadTimeout     it did not arrive in time (also a TimeoutError)
        │   ├── ReadLimit       the separator is not within the limit
        │   └── IncompleteRead  the output ended too early (also an EOFError)
        ├── StreamError         a server of the guest cannot be reached (also a ConnectionError)
        ├── InterpreterError    an interpreter could not do what was requested
        │   ├── NoJsonValue     a value cannot be written as JSON (also a TypeError)
        │   └── InterpreterDied its process has exited, and its variables are lost
        └── ExecKilled          the command exceeded a limit and was killed
            ├── ExecTimeout     its time limit (also a TimeoutError and a TimeoutExpired)
            ├── OutputLimit     its limit of output
            └── MemoryLimit     its limit of memory
"""

from __future__ import annotations

import os
from errno import EACCES, EEXIST, EISDIR, ENOENT, ENOTDIR, EPERM
from shlex import quote
from signal import SIGKILL
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from microvm._version import DISTRIBUTION
from microvm.printable import printable

if TYPE_CHECKING:
    from microvm.exec_timeout import ExecTimeout as ExecTimeout  # noqa: PLC0414 - an export

# Characters that are rare in names of programs, but common in command lines. If a program whose
# name contains one of them is not found, the user has probably given a command line for a shell.
_SHELL_CHARACTERS = " \t|&;<>$`"
_EMPTY_NAME = "''"  # text that messages show for an empty name
_ERRNO_END = 4096  # largest error number of Linux (MAX_ERRNO in include/linux/err.h)

BUILD_AGAIN = (
    "build the image again with this microvm: `microvm image build`, with the name that it has; "
    "a ready-made one is built again after `microvm image rm NAME`"
)
"""Hint of the error for an image that another version of microvm has built."""

LOOK_AT_CONSOLE = (
    "its console may show why: keep it by `microvm run --console FILE`, or by console="
)
"""Hint of the error for a guest that has crashed or does not answer."""

ExitKind = Literal[
    "reset", "shutdown", "panic", "internal_error", "quit", "killed", "crash", "limit", "exit"
]
"""Cause for which a QEMU process has exited; `QemuExit` describes each."""


class QemuExit(NamedTuple):
    """The reason for the exit of a QEMU process.

    :ivar kind: Cause of the exit. `reset`, `shutdown`, `panic`: the guest stopped. `quit`: this
        library stopped QEMU. `killed`: another process sent a signal. `limit`: the host refused
        memory, files or disk space. `internal_error`: the accelerator failed. `crash`, `exit`:
        QEMU itself failed.
    :ivar text: Sentence for the user that explains the exit, without a full stop.
    :ivar returncode: Exit status of QEMU, or -N if signal N killed it.
    :ivar hint: Advice for the user; may be empty.
    """

    kind: ExitKind
    text: str
    returncode: int
    hint: str = ""


class MicroVMError(Exception):
    """The base class of all errors of this library.

    Control characters in the message and the hint are escaped, because guests choose some of the
    names in them.

    :param message: One line that says what failed and why.
    :param hint: Advice for the user; may be empty.
    :param detail: Further lines, such as the last lines of the guest's console; may be empty.
    :cvar exit_status: Exit status of the command `microvm` after this error.
    """

    exit_status = 125

    def __init__(self, message: str, *, hint: str = "", detail: str = "") -> None:
        self.message = printable(message)
        self.hint = printable(hint)
        # Not `super()`, which is `TimeoutExpired` for an ExecTimeout and needs other arguments.
        Exception.__init__(self, self.message)
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, unpickling calls an error's class with the message alone, which fails for
        # classes with other parameters. So `_rebuild` creates the object without that call.
        return _rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def how_to_install(extra: str) -> str:
    """Return the command that installs an optional extra of this project."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def _rebuild(
    kind: type[MicroVMError], args: tuple[object, ...], state: dict[str, object]
) -> MicroVMError:
    error = kind.__new__(kind, *args)
    error.args = args  # `kind.__new__` does not set it in subclasses of OSError
    for name, value in state.items():
        setattr(error, name, value)
    return error


class UsageError(MicroVMError, ValueError):
    """An argument is invalid, such as a size that cannot be parsed or a path with a NUL byte."""

    exit_status = 2


class ImageError(MicroVMError):
    """An image cannot be built, found or trusted."""


class CacheError(MicroVMError):
    """The cache cannot be read, written, locked or trusted."""


class TemplateError(MicroVMError):
    """A template cannot be saved or used. The option `cold` starts a machine without a template."""


class SnapshotError(MicroVMError):
    """A snapshot cannot be saved, does not exist, or cannot be used on this host."""


class QemuError(MicroVMError):
    """QEMU is missing, is too old, or does not start.

    :ivar qemu_exit: Reason for the exit of QEMU, or None if another fault caused the error.
    """

    qemu_exit: QemuExit | None = None


class ConfinementError(QemuError):
    """QEMU cannot be confined as the option `confinement` requires."""


class MachineError(MicroVMError):
    """The machine has failed and cannot be used any more. Its files and processes are lost.

    :ivar qemu_exit: Reason for the exit of QEMU, or None if another fault caused the error.
    """

    qemu_exit: QemuExit | None = None


class BootError(MachineError):
    """The guest did not become ready. `detail` contains the last lines of its console."""


class GuestDied(MachineError):
    """The guest reset, powered off or crashed, or QEMU exited."""


class GuestUnresponsive(MachineError):
    """The guest does not answer, because it has halted or hangs."""


class ProtocolError(MachineError):
    """The guest sent a message that the protocol does not allow."""


class VersionMismatch(ProtocolError):
    """Host and guest support no common version of the protocol.

    :ivar host: Version of the protocol that the host speaks, and the digest of its schema.
    :ivar guest: Version of the protocol that the guest speaks, and the digest of its schema.
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

    :ivar reason: Error that the start of a machine raised.
    """

    def __init__(self, reason: MicroVMError) -> None:
        super().__init__(f"not run: {reason.message}", hint=reason.hint, detail=reason.detail)
        self.reason = reason


class ExecError(MicroVMError):
    """A command did not start or was killed, or a file access failed. The machine still works."""


class Busy(ExecError):
    """The machine already runs its maximum number of commands, which its option `commands` sets.

    The error has two other causes: a snapshot of the machine is being saved, or another client
    already sends input to the detached command.
    """


class ProcessNotFound(ExecError, LookupError):
    """The machine has no detached command with this id, or has forgotten it after its exit."""


def errno_text(number: int) -> str:
    """Return the text of a Linux error number, or `errno N` for an unknown number from a guest."""
    return os.strerror(number) if 0 < number < _ERRNO_END else f"errno {number}"


class StartError(ExecError, OSError):
    """The guest could not start the command.

    The subclasses are also subclasses of the errors that `subprocess` raises on the host, such as
    FileNotFoundError.

    :ivar stage: Step that failed, such as `chdir`, `lookup` or `exec`.
    :ivar errno: Error number of Linux in the guest.
    :ivar strerror: Text of the error number.
    :ivar filename: The command, or for `chdir` the working directory. Safe to print.
    :ivar subject: Object of the failed step, safe to print: the working directory for `chdir`, the
        user for `user`, the interpreter for `interpreter` if it is known, otherwise the command.
    """

    errno: int
    strerror: str
    filename: str

    def __init__(self, stage: str, errno: int, command: str, subject: str = "") -> None:
        reason = errno_text(errno)
        command = command or _EMPTY_NAME
        shown = f" {subject}" if subject else ""
        missing = errno == ENOENT
        super().__init__(
            {
                "lookup": f"{command}: not found in the guest's PATH",
                "exec": f"{command}: {reason}{' in the guest' if missing else ''}",
                "interpreter": f"{command}: the file exists, but its interpreter{shown} does not",
                "chdir": f"{command}: cannot enter its working directory{shown}: {reason}"
                + (" in the guest" if missing else ""),
                "user": f"{command}: cannot become its user{shown}: "
                + ("the guest has no such user or group" if missing else reason),
            }.get(stage, f"{command}: cannot start it, {stage} failed: {reason}"),
            hint=_how_to_use_a_shell(command) if missing and stage in ("lookup", "exec") else "",
        )
        self.stage = stage
        self.errno = errno
        self.strerror = reason
        self.subject = subject or command
        self.filename = self.subject if stage == "chdir" else command
        # As in shells, 127 is for a command that does not exist, and 126 for one that cannot run.
        absent = missing and self.is_of_program
        self.exit_status = 127 if absent else 126

    @staticmethod
    def of(stage: str, errno: int, command: str, subject: str = "") -> StartError:
        """Return the error for an error number, such as a CommandNotFound for ENOENT.

        The error of a step that uses no file, such as `user`, is a plain StartError.
        """
        uses_file = stage in ("lookup", "exec", "interpreter", "chdir")
        kind = _START_ERRORS.get(errno, StartError) if uses_file else StartError
        return kind(stage, errno, command, subject)

    def __reduce__(self) -> tuple[Any, ...]:
        # Add the attributes that OSError stores outside of `__dict__`.
        outside = {name: getattr(self, name) for name in ("errno", "strerror", "filename")}
        return _rebuild, (type(self), self.args, self.__dict__ | outside)

    @property
    def is_of_program(self) -> bool:
        """True if the program cannot be found or executed; False if an earlier step failed."""
        return self.stage in ("lookup", "exec", "interpreter")


class CommandNotFound(StartError, FileNotFoundError):
    """The program, its interpreter or its working directory does not exist in the guest."""


class CommandForbidden(StartError, PermissionError):
    """The user of the command may not execute the program or enter its working directory."""


class CommandNotAFolder(StartError, NotADirectoryError):
    """The working directory, or a folder in the path of the program, is not a folder."""


_START_ERRORS = {
    ENOENT: CommandNotFound,
    EACCES: CommandForbidden,
    EPERM: CommandForbidden,
    ENOTDIR: CommandNotAFolder,
}


def _how_to_use_a_shell(command: str) -> str:
    """Return the hint to use `sh -c` if a command looks like a shell's command line, else ""."""
    if not any(char in command for char in _SHELL_CHARACTERS):
        return ""

    return f"to run a command line, use a shell: sh -c {quote(command)}"


class FileError(ExecError, OSError):
    """A file of the guest cannot be read or written.

    The subclasses are also subclasses of Python's errors, such as FileNotFoundError.

    :ivar errno: Error number of Linux.
    :ivar strerror: Text of the error number.
    :ivar filename: Path in the guest.
    """

    def __init__(self, errno: int, path: str, message: str = "", *, hint: str = "") -> None:
        reason = errno_text(errno)
        super().__init__(message or f"{path or _EMPTY_NAME}: {reason} in the guest", hint=hint)
        self.errno = errno
        self.strerror = reason
        self.filename = printable(path)

    @staticmethod
    def of(errno: int, path: str) -> FileError:
        """Return the error for an error number, such as a FileNotFound for ENOENT."""
        return _FILE_ERRORS.get(errno, FileError)(errno, path)

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError stores some attributes outside of `__dict__`, so a copied or unpickled error
        # would lose them. So pass these attributes to the class as arguments.
        return type(self), (self.errno, self.filename, self.message), self.__dict__


class FileNotFound(FileError, FileNotFoundError):
    """A file does not exist in the guest."""


class FileForbidden(FileError, PermissionError):
    """A user of the guest has no permission for this access to a file."""


class FileExists(FileError, FileExistsError):
    """A file of this name already exists in the guest."""


class IsAFolder(FileError, IsADirectoryError):
    """The path in the guest is a folder, but must not be one."""


class NotAFolder(FileError, NotADirectoryError):
    """The path in the guest is not a folder, but must be one."""


_FILE_ERRORS = {
    ENOENT: FileNotFound,
    EACCES: FileForbidden,
    EPERM: FileForbidden,
    EEXIST: FileExists,
    EISDIR: IsAFolder,
    ENOTDIR: NotAFolder,
}


class ReadError(ExecError):
    """The output of a command could not be read as requested. The command is not affected."""


class ReadTimeout(ReadError, TimeoutError):
    """The output did not arrive in time. No output is lost: the next read returns it.

    :ivar timeout: Time limit in seconds.
    """

    timeout = 0.0


class ReadLimit(ReadError):
    """The output contains no separator within the limit. No output is lost: `read` returns it.

    :ivar limit: Limit in bytes.
    """

    limit = 0


class IncompleteRead(ReadError, EOFError):
    """The output ended before all requested bytes arrived. `partial` contains those that arrived.

    :ivar partial: Bytes that were read before the end of the output.
    :ivar expected: Number of bytes that were requested, or None if a separator was requested.
    """

    partial = b""
    expected: int | None = None


class StreamError(ExecError, ConnectionError):
    """A connection to a server or client in the guest failed, or the guest cannot listen on a port.

    :ivar errno: Error number of Linux: ECONNREFUSED if no server listens, ECONNRESET if the server
        or client has reset the connection, ETIMEDOUT if the server did not accept the connection in
        time, EMFILE if too many connections are open, EADDRINUSE if another program listens on the
        port, EBADMSG or EIO if the program `relay` in the guest has failed.
    :ivar strerror: Text of the error number.
    :ivar server: The TCP port, or the path of the Unix socket.
    """

    def __init__(self, errno: int, server: int | str, message: str = "") -> None:
        reason = errno_text(errno)
        where = f"port {server}" if isinstance(server, int) else server
        super().__init__(message or f"{where} in the guest: {reason}")
        self.errno = errno
        self.strerror = reason
        self.server = server

    def __reduce__(self) -> tuple[Any, ...]:
        # Pass the arguments for the same reason as in `FileError.__reduce__`.
        return type(self), (self.errno, self.server, self.message), self.__dict__


class InterpreterError(ExecError):
    """An interpreter in a machine could not do what was requested. It continues to run.

    For example, `Interpreter.get` raises it for a variable that does not exist.
    """


class NoJsonValue(InterpreterError, TypeError):
    """The value of a variable cannot be written as JSON, such as a DataFrame of pandas."""


class InterpreterDied(InterpreterError):
    """An interpreter has died, and its variables are lost. `Interpreter.restart` starts it again.

    :ivar cause: `exited`: the process has exited by itself; `signal`: a signal has killed it;
        `memory`: the guest had no memory left; `killed`: it was killed because nothing else ended
        the cell, or by `close` or `restart`; `broken`: it did not follow its protocol; `lost`: it
        does not answer.
    :ivar status: Exit status for `exited`, number of the signal for `signal`, otherwise 0.
    :ivar stdout: Standard output of the cell during which the interpreter died.
    :ivar stderr: Standard error of that cell.
    """

    cause: Literal["exited", "signal", "memory", "killed", "broken", "lost"] = "lost"
    status = 0
    stdout = ""
    stderr = ""


class ExecKilled(ExecError):
    """The command exceeded a limit and was killed.

    :ivar stdout: Standard output before the command was killed, if the caller captures the output:
        bytes, or str in text mode. In text mode, U+FFFD replaces invalid bytes.
    :ivar stderr: Standard error before the command was killed, of the same type as `stdout`.
    :ivar memory: Peak memory of the command, as in `CompletedProcess.memory`.
    :ivar returncode: Return code of the command, as in `CompletedProcess.returncode`.
    """

    stdout: Any = None
    stderr: Any = None
    memory: int | None = None
    returncode: int | None = None


class OutputLimit(ExecKilled):
    """The command wrote more output than `max_output` allows.

    :ivar limit: Limit in bytes, for standard output and error together.
    """

    # GNU's `xargs` uses 123, `timeout` 124, and `docker run` 125 to 127 for purposes of their own.
    exit_status = 122

    def __init__(self, command: str, limit: int) -> None:
        # Imported here, because `microvm.units` imports this module.
        from microvm.units import exact_size

        message = f"{command}: wrote more than {exact_size(limit)}, and was killed"
        super().__init__(message, hint="--max-output and max_output set that limit")
        self.limit = limit


class MemoryLimit(ExecKilled):
    """The command and its child processes needed more memory than `max_memory` allows.

    The guest's kernel killed all of them.

    :ivar limit: Limit in bytes, for all processes together.
    """

    exit_status = 128 + SIGKILL

    def __init__(self, command: str, limit: int) -> None:
        # Imported here, because `microvm.units` imports this module.
        from microvm.units import exact_size

        message = f"{command}: took more than {exact_size(limit)} of memory, and was killed"
        super().__init__(message, hint="--max-memory and max_memory set that limit")
        self.limit = limit


def __getattr__(name: str) -> object:
    # The class ExecTimeout needs the module `subprocess`, which takes long to import. Most clients
    # of a supervisor import this module, but never that class.
    if name != "ExecTimeout":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from microvm.exec_timeout import ExecTimeout

    globals()[name] = ExecTimeout
    return ExecTimeout
