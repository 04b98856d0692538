"""The runtime directory: a private folder of this user that has a folder for each named machine.

Its path is `$XDG_RUNTIME_DIR/microvm`, or `microvm-UID` in TMPDIR. A process that creates or
removes the folder of a machine holds an flock on the runtime directory for a moment. Other files in
it are left alone.

All folders are opened relative to descriptors, so no other user can replace a folder between two
steps.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from microvm.supervisor import lazy
from microvm.supervisor.machine_directory import MachineDirectory, noun, verb
from microvm.system import private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from microvm.errors import MicroVMError

NAME_LENGTH = 64
"""Maximum number of characters in the name of a machine."""

KEPT = 3600.0
"""Number of seconds for which the files of a dead machine are kept, so that users can see why the
machine ended."""

_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_REST = _FIRST | frozenset("_.-")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOCK_TIMEOUT = 10.0  # maximum number of seconds to wait for the lock of the directory
_LOCK_PAUSE = 0.005  # seconds between two attempts to lock the directory


class RuntimeDirectory:
    """The open runtime directory, which contains the folders of all named machines.

    Use it as a context manager.

    :ivar descriptor: its descriptor; -1 if it does not exist.
    """

    def __init__(self, *, make: bool = False) -> None:
        """Open the runtime directory of this user. With `make`, create it if it does not exist.

        :raises MicroVMError: it cannot be created, or other users can access it.
        """
        self.path, _ = location()
        try:
            self.descriptor = _opened(self.path, make=make)
        except FileNotFoundError as error:
            if make:
                raise unusable(self.path, error) from None
            self.descriptor = -1
            return
        except OSError as error:
            linked = error.errno in (errno.ELOOP, errno.ENOTDIR)
            raise unusable(self.path, "it is no folder" if linked else error) from None
        found = os.fstat(self.descriptor)
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
            self.close()
            whose = "of another user" if found.st_uid != os.geteuid() else "open to others"
            raise unusable(self.path, f"it is {whose}")

    def close(self) -> None:
        """Close the descriptor of the runtime directory; idempotent."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def names(self, *, pools: bool = False) -> list[str]:
        """Return the sorted names of all machines, or all `pools`, including those that ended."""
        names = []
        for name in self._folders():
            try:
                with self.of(name) as directory:
                    if directory.is_pool() != pools:
                        continue
            except FileNotFoundError:  # just removed, or not the folder of a machine
                continue
            except OSError:  # commands with this name report the reason, so list it
                pass
            names.append(name)
        return names

    def _folders(self) -> list[str]:
        """Return the sorted names of all folders that may be folders of machines."""
        if self.descriptor < 0:
            return []
        with os.scandir(self.descriptor) as found:
            folders = [each.name for each in found if each.is_dir(follow_symlinks=False)]
        return sorted(filter(is_name, folders))

    def open(self, name: str, *, beginning: bool = False, pool: bool = False) -> MachineDirectory:
        """Open the folder of a machine or, with `pool`, of a pool.

        :param beginning: True if the name may be abbreviated. Do not accept an abbreviation for a
            command that changes or ends a machine.
        :raises MicroVMError: there is no such machine, several fit, or it cannot be opened.
        """
        try:
            directory = self._open(name, beginning=beginning, pool=pool)
        except FileNotFoundError:
            raise lazy.errors.MicroVMError(
                f"there is no {noun(pool=pool)} {name}", hint=self._hint(name, pool=pool)
            ) from None
        except OSError as error:
            raise self.trouble(name, error) from None
        if directory.is_pool() == pool:
            return directory
        directory.close()
        if pool:
            raise lazy.errors.MicroVMError(f"{name} is a machine, and not a pool")
        raise lazy.errors.MicroVMError(
            f"{name} is a pool, and not a machine",
            hint=f"`microvm run --pool {name} -- CMD` runs a command in it, and `microvm pool stop "
            f"{name}` ends it",
        )

    def _open(self, name: str, *, beginning: bool, pool: bool) -> MachineDirectory:
        try:
            return self.of(name)
        except FileNotFoundError:
            if not name or not beginning:
                raise
        names = [each for each in self.names(pools=pool) if each.startswith(name)]
        if len(names) > 1:
            message = f"more than one {noun(pool=pool)} begins with {name}: {', '.join(names)}"
            raise lazy.errors.MicroVMError(message)
        return self.of(names[0] if names else name)

    def _hint(self, name: str, *, pool: bool) -> str:
        if hint := lazy.suggestion.did_you_mean(name, self.names(pools=pool)):
            return hint
        if is_name(name) and (other := _elsewhere(name, self.path)):
            return (
                f"there is one in {other}, but XDG_RUNTIME_DIR and TMPDIR make microvm look in "
                f"{self.path}"
            )
        return "`microvm pool ls` lists all pools" if pool else "`microvm ps` lists all machines"

    def of(self, name: str) -> MachineDirectory:
        """Open the folder of the machine with exactly this name, not an abbreviation."""
        missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        if self.descriptor < 0 or not is_name(name):
            raise missing
        try:
            descriptor = os.open(name, private.FOLDER, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):  # raised for a file or a symbolic link
                raise missing from None
            raise
        directory = MachineDirectory(name, descriptor)
        try:
            if not directory.is_machine():
                raise missing
        except BaseException:
            directory.close()
            raise
        return directory

    def directories(self) -> Iterator[MachineDirectory]:
        """Open the folders of all machines that can be opened; the caller closes them."""
        for name in self._folders():
            with lazy.contextlib.suppress(OSError):
                yield self.of(name)

    def create(self, name: str | None) -> MachineDirectory:
        """Create and lock the folder of a new machine. Without a name, it gets a random one.

        If a dead machine of that name left a folder, remove that first.
        """
        self.sweep_old()
        with self.locked():
            taken = set(os.listdir(self.descriptor))
            if name is None:
                name = next(each for each in lazy.names.random_names() if each not in taken)
            elif name in taken:
                self._vacate(name)
            try:
                directory = MachineDirectory(name, private.make(name, self.descriptor))
                directory.lock()
            except OSError as error:
                raise unusable(self.path, error) from None
            return directory

    def _vacate(self, name: str) -> None:
        """Free a name for a new machine: remove a dead machine's folder, or an empty folder."""
        try:
            try:
                with self.of(name) as old:
                    if old.is_alive():
                        is_pool = old.is_pool()
                        raise lazy.errors.MicroVMError(
                            f"there is a {noun(pool=is_pool)} {name} already",
                            hint="choose another name, or end it: "
                            f"`microvm {verb('stop', pool=is_pool)} {name}`",
                        )
                self._remove(name)
            except FileNotFoundError:
                os.rmdir(name, dir_fd=self.descriptor)
        except OSError as error:
            raise self.trouble(name, error) from None

    def sweep(self, directory: MachineDirectory, *, kept: float = 0.0) -> bool:
        """Remove the folder of a machine dead for `kept` seconds; return True if it was removed."""
        if directory.is_alive() or (kept and time.time() - directory.ended()["at"] < kept):
            return False
        with self.locked():
            if directory.is_alive() or not self.has(directory):
                return False
            try:
                self._remove(directory.name)
            except OSError as error:
                raise self.trouble(directory.name, error) from None
            return True

    def sweep_old(self) -> None:
        """Remove the folder of each machine that has been dead for `KEPT` seconds, if possible."""
        for directory in self.directories():
            with directory, lazy.contextlib.suppress(lazy.errors.MicroVMError):
                self.sweep(directory, kept=KEPT)

    def remove(self, directory: MachineDirectory) -> None:
        """Remove the folder of a machine, whose lock the caller holds."""
        with self.locked():
            if self.has(directory):
                self._remove(directory.name)

    def has(self, directory: MachineDirectory) -> bool:
        """Tell whether the open folder of a machine is still in the runtime directory."""
        try:
            found = os.stat(directory.name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(directory.descriptor))

    def _remove(self, name: str) -> None:
        lazy.shutil.rmtree(name, dir_fd=self.descriptor)  # follows no links

    def locked(self) -> RuntimeLock:
        """Return the lock of the runtime directory: a context manager, whose block holds it."""
        return RuntimeLock(os.open(".", private.FOLDER, dir_fd=self.descriptor), self.path)

    def refresh(self) -> None:
        """Set the directory's time to now, because some hosts remove folders that look unused."""
        with lazy.contextlib.suppress(OSError):
            os.utime(self.descriptor)

    def trouble(self, name: str, error: OSError) -> MicroVMError:
        """Return the error to raise if the system refuses access to the folder of a machine."""
        return lazy.errors.MicroVMError(
            f"the folder of {name}, {self.path}/{name}, cannot be used: {error.strerror}",
            hint="look into the folder, and remove files that do not belong there; or choose "
            "another name",
        )


class RuntimeLock:
    """The lock of the runtime directory: only its holder creates or removes folders in it."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path

    def __enter__(self) -> None:
        try:
            self._acquire()
        except BaseException:
            os.close(self._descriptor)
            raise

    def _acquire(self) -> None:
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                return fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise unusable(self._path, "another process holds its lock") from None
                time.sleep(_LOCK_PAUSE)
            except OSError as error:  # such as a file system without locks
                raise unusable(self._path, error) from None

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def is_name(name: str) -> bool:
    """Tell whether a text is a valid name of a machine."""
    return 0 < len(name) <= NAME_LENGTH and name[0] in _FIRST and _REST.issuperset(name)


def location() -> tuple[str, str]:
    """Return the path of the runtime directory and, if not in $XDG_RUNTIME_DIR, the reason.

    The reason is empty if that variable is used or not set.
    """
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    why = _unfit(given) if given else ""
    if given and not why:
        return _in_session(given), ""
    return _in_temporary(), why


def _unfit(given: str) -> str:
    """Return why the runtime directory cannot be in the folder `given`; empty if it can."""
    if not given.startswith("/"):
        return "it is no absolute path"
    try:
        found = os.stat(given)
    except OSError as error:
        return error.strerror or str(error)
    if found.st_uid != os.geteuid():  # sudo may keep the variable of the user who called it
        return "it is of another user"
    return "others can write to it" if found.st_mode & (_OTHERS & 0o022) else ""


def _in_session(folder: str) -> str:
    return f"{folder.rstrip('/')}/microvm"


def _in_temporary(folder: str = "") -> str:
    folder = folder or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - a private folder
    return f"{os.path.abspath(folder)}/microvm-{os.geteuid()}"


def _elsewhere(name: str, path: str) -> str:
    """Return a runtime directory other than `path` that has a machine `name`; "" if none has.

    Without the environment variables, microvm would use one of the other directories.
    """
    session, temporary = _in_session(f"/run/user/{os.geteuid()}"), _in_temporary("/tmp")  # noqa: S108
    others = (each for each in (session, _in_temporary(), temporary) if each != path)
    return next((each for each in others if os.path.isdir(f"{each}/{name}")), "")


def _opened(path: str, *, make: bool) -> int:
    """Open the runtime directory and return its descriptor. With `make`, create a missing one.

    :raises MicroVMError: another user can replace the folder.
    """
    above = os.path.dirname(path)
    if found := private.exposure(above):
        where = found.path if found.path == above else f"{found.path}, on the way to it,"
        raise unusable(path, f"{where} {found.why}")
    if make:
        with lazy.contextlib.suppress(FileExistsError):
            return private.make_path(path)
    return os.open(path, private.FOLDER)


def unusable(path: str, reason: OSError | str) -> MicroVMError:
    """Return the error to raise if the runtime directory cannot be used."""
    hint = "set XDG_RUNTIME_DIR to a folder of your own that nobody else can enter"
    if isinstance(reason, OSError):
        if reason.errno in _FULL:
            hint = "free space there, or set XDG_RUNTIME_DIR to another folder of your own"
        reason = str(reason.strerror)
    message = f"the folder of named machines, {path}, cannot be used: {reason}"
    return lazy.errors.MicroVMError(message, hint=hint)
