"""The runtime folder: a private folder of this user's, with a folder in it for each named machine.

It is `$XDG_RUNTIME_DIR/microvm`, or `microvm-UID` in TMPDIR. Whoever makes or removes a machine's
folder holds an flock on it, shortly. What else is in it is left alone. It is used through
descriptors: nobody else can put something in between.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress

from microvm.supervisor.machine_directory import MachineDirectory
from microvm.system import private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from microvm.errors import MicroVMError

NAME_LENGTH = 64
"""The most characters that a machine's name has."""

KEPT = 3600.0
"""For how long a machine that is dead is kept, for whoever wants to know why, in seconds."""

_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_REST = _FIRST | frozenset("_.-")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOCK_TIMEOUT = 10.0  # of whoever holds the lock of the whole, in seconds


class RuntimeDirectory:
    """The runtime folder, open; use it as a context manager.

    :ivar path: its name, for messages.
    :ivar descriptor: it is open here; -1 where there is none, and none was to be made.
    """

    def __init__(self, *, make: bool = False) -> None:
        """Open it.

        :param make: make it, if there is none.
        :raises MicroVMError: it cannot be made, or is not ours alone.
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
        """Close it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def names(self) -> list[str]:
        """Return the names of all machines, dead ones too, sorted."""
        names = []
        for name in self._folders():
            try:
                self.of(name).close()
            except FileNotFoundError:  # it has just gone, or is no machine's
                continue
            except OSError:  # whoever wants it hears why not
                pass
            names.append(name)
        return names

    def _folders(self) -> list[str]:
        """Return the names of all folders that may be machines'."""
        if self.descriptor < 0:
            return []
        with os.scandir(self.descriptor) as found:
            folders = [each.name for each in found if each.is_dir(follow_symlinks=False)]
        return sorted(filter(is_name, folders))

    def open(self, name: str, *, beginning: bool = False) -> MachineDirectory:
        """Open the folder of the machine that has this name.

        :param beginning: or the only one whose name begins so; not for what writes or destroys.
        :raises MicroVMError: there is none, or more than one, or it cannot be opened.
        """
        try:
            return self._opened(name, beginning=beginning)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                raise self.trouble(name, error) from None
        from microvm.errors import MicroVMError

        raise MicroVMError(f"there is no machine {name}", hint=self._hint(name))

    def _opened(self, name: str, *, beginning: bool) -> MachineDirectory:
        try:
            return self.of(name)
        except FileNotFoundError:
            if not name or not beginning:
                raise
        names = [each for each in self.names() if each.startswith(name)]
        if len(names) > 1:
            from microvm.errors import MicroVMError

            message = f"more than one machine begins with {name}: {', '.join(names)}"
            raise MicroVMError(message)
        return self.of(names[0] if names else name)

    def _hint(self, name: str) -> str:
        from microvm.suggestion import did_you_mean

        if hint := did_you_mean(name, self.names()):
            return hint
        if is_name(name) and (other := _elsewhere(name, self.path)):
            why = "as XDG_RUNTIME_DIR and TMPDIR have it"
            return f"there is one in {other}, but this looks in {self.path}, {why}"
        return "`microvm ps` lists those there are"

    def of(self, name: str) -> MachineDirectory:
        """Open the folder of the machine that has just this name.

        :raises FileNotFoundError: there is none.
        :raises OSError: it cannot be opened.
        """
        missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        if self.descriptor < 0 or not is_name(name):
            raise missing
        try:
            directory = MachineDirectory(
                name, os.open(name, private.FOLDER, dir_fd=self.descriptor)
            )
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):  # a file, or a link
                raise missing from None
            raise
        try:
            if not directory.is_machines():
                raise missing
        except BaseException:
            directory.close()
            raise
        return directory

    def directories(self) -> Iterator[MachineDirectory]:
        """Open the folders of all machines that can be opened; they are the caller's to close."""
        for name in self._folders():
            with suppress(OSError):
                yield self.of(name)

    def create(self, name: str | None) -> MachineDirectory:
        """Make the folder of a new machine, with its lock held; of a dead one the old goes.

        :param name: what it is to be called; None for one that is made up.
        :raises MicroVMError: there is such a machine, or nothing can be made here.
        """
        from microvm.supervisor.names import random_names

        self.sweep_old()
        with self.locked():
            taken = set(os.listdir(self.descriptor))
            if name is None:
                name = next(each for each in random_names() if each not in taken)
            elif name in taken:
                self._vacate(name)
            try:
                directory = MachineDirectory(name, private.make(name, self.descriptor))
                directory.lock()
            except OSError as error:
                raise unusable(self.path, error) from None
            return directory

    def _vacate(self, name: str) -> None:
        """Remove what has a name that is wanted: a dead machine, or an empty folder."""
        try:
            try:
                with self.of(name) as old:
                    if old.lives():
                        raise _taken(name)
                self._remove(name)
            except FileNotFoundError:
                os.rmdir(name, dir_fd=self.descriptor)
        except OSError as error:
            raise self.trouble(name, error) from None

    def sweep(self, directory: MachineDirectory, *, kept: float = 0.0) -> bool:
        """Remove the folder of a machine that is dead; False if it lives, or has gone already.

        :param kept: for how long it has to be dead, in seconds.
        :raises MicroVMError: it cannot be removed.
        """
        if directory.lives() or (kept and time.time() - directory.ended()["at"] < kept):
            return False
        with self.locked():
            if directory.lives() or not self.has(directory):
                return False
            try:
                self._remove(directory.name)
            except OSError as error:
                raise self.trouble(directory.name, error) from None
            return True

    def sweep_old(self) -> None:
        """Remove machines that have been dead for long; of what cannot be removed others tell."""
        from microvm.errors import MicroVMError

        for directory in self.directories():
            with directory, suppress(MicroVMError):
                self.sweep(directory, kept=KEPT)

    def remove(self, directory: MachineDirectory) -> None:
        """Remove the folder of a machine whose lock the caller holds."""
        with self.locked():
            if self.has(directory):
                self._remove(directory.name)

    def has(self, directory: MachineDirectory) -> bool:
        """Tell whether a machine's folder still is where it was."""
        try:
            found = os.stat(directory.name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(directory.descriptor))

    def _remove(self, name: str) -> None:
        from shutil import rmtree

        rmtree(name, dir_fd=self.descriptor)  # which follows no link

    def locked(self) -> RuntimeLock:
        """Hold the lock of the whole, for a moment, as a context.

        :raises MicroVMError: another process does not let go of it.
        """
        return RuntimeLock(os.open(".", private.FOLDER, dir_fd=self.descriptor), self.path)

    def refresh(self) -> None:
        """Have it look as if it were used, to those who remove what nobody has used for long."""
        with suppress(OSError):
            os.utime(self.descriptor)

    def trouble(self, name: str, error: OSError) -> MicroVMError:
        """Return the error for a machine, or what has the name of one, that cannot be used."""
        from microvm.errors import MicroVMError

        where = f"{self.path}/{name}"
        return MicroVMError(
            f"the folder of machine {name}, {where}, cannot be used: {error.strerror}",
            hint="see what is there, and remove what is no machine's; or take another name",
        )


class RuntimeLock:
    """The lock of the runtime folder, as a context: nothing appears and goes but by its holder."""

    def __init__(self, descriptor: int, path: str) -> None:
        """Take a descriptor of the folder, which is closed in the end."""
        self._descriptor = descriptor
        self._path = path

    def __enter__(self) -> None:
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                return fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(self._descriptor)
                    raise unusable(self._path, "another process holds its lock") from None
                time.sleep(0.005)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def is_name(name: str) -> bool:
    """Tell whether a machine can have this name."""
    return 0 < len(name) <= NAME_LENGTH and name[0] in _FIRST and _REST.issuperset(name)


def location() -> tuple[str, str]:
    """Return where the runtime folder is, and why that is not in XDG_RUNTIME_DIR, if one is set."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    why = _unfit(given) if given else ""
    if given and not why:
        return _in_session(given), ""
    return _in_temporary(os.environ.get("TMPDIR") or "/tmp"), why  # noqa: S108 - ours alone in it


def _unfit(given: str) -> str:
    """Return why a folder cannot have ours in it; empty if it can."""
    if not given.startswith("/"):
        return "it is no absolute path"
    try:
        found = os.stat(given)
    except OSError as error:
        return error.strerror or str(error)
    if found.st_uid != os.geteuid():  # such as what sudo has left of another's
        return "it is of another user"
    return "others can write to it" if found.st_mode & (_OTHERS & 0o022) else ""


def _in_session(folder: str) -> str:
    return f"{folder.rstrip('/')}/microvm"


def _in_temporary(folder: str) -> str:
    return f"{os.path.abspath(folder)}/microvm-{os.geteuid()}"


def _elsewhere(name: str, path: str) -> str:
    """Return where there is a folder of this name that other variables would lead to, or ""."""
    others = [
        _in_session(f"/run/user/{os.geteuid()}"),
        _in_temporary(os.environ.get("TMPDIR") or "/tmp"),  # noqa: S108
        _in_temporary("/tmp"),  # noqa: S108
    ]
    found = (each for each in others if each != path and os.path.isdir(f"{each}/{name}"))
    return next(found, "")


def _opened(path: str, *, make: bool) -> int:
    """Open the runtime folder. If asked to, create it first.

    :raises MicroVMError: another user can replace the folder.
    :raises OSError: it cannot be opened or created.
    """
    above = os.path.dirname(path)
    if found := private.exposure(above):
        where = found.path if found.path == above else f"{found.path}, on the way to it,"
        raise unusable(path, f"{where} {found.why}")
    if make:
        with suppress(FileExistsError):
            return private.make_path(path)
    return os.open(path, private.FOLDER)


def _taken(name: str) -> MicroVMError:
    from microvm.errors import MicroVMError

    return MicroVMError(
        f"there is a machine {name} already", hint=f"`microvm stop {name}` ends it; or name another"
    )


def unusable(path: str, reason: OSError | str) -> MicroVMError:
    """Return the error for a runtime folder in which something cannot be done."""
    from microvm.errors import MicroVMError

    hint = "name a folder of your own, which nobody else can enter, with XDG_RUNTIME_DIR"
    if isinstance(reason, OSError):
        if reason.errno in _FULL:
            hint = "make room there, or name another folder of your own with XDG_RUNTIME_DIR"
        reason = str(reason.strerror)
    return MicroVMError(
        f"the folder of named machines, {path}, cannot be used: {reason}", hint=hint
    )
