"""The runtime folder: a private folder of this user's, with a folder in it for each named machine.

It is `$XDG_RUNTIME_DIR/microvm`, or `microvm-UID` in TMPDIR. A machine's folder holds `lock`, on
which its supervisor has an flock for as long as it lives (that, and no process number, tells
whether it does), `socket`, `machine.json` (what the machine is), `console`, `log`, and in the end
`ended.json` (why it ended). Whoever makes or removes such a folder holds the lock of the whole,
shortly. All of it is used through descriptors of folders: nobody else can put something in between.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self

    from microvm.errors import MachineError, MicroVMError

FACTS = "machine.json"
ENDED = "ended.json"
"""The files that say what a machine is, and why it ended."""

NAME_LENGTH = 64
"""The most characters that a machine's name has."""

_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_REST = _FIRST | frozenset("_.-")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_PATIENCE = 10.0  # with whoever holds the lock of the whole, in seconds
_LONGEST = 1 << 20  # of the files that are read


class Runtime:
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
            if make:
                _make(self.path)
            self.descriptor = os.open(self.path, _FOLDER)
        except FileNotFoundError as error:
            if make:
                raise unusable(self.path, error.strerror) from None
            self.descriptor = -1
            return
        except OSError as error:
            linked = error.errno in (errno.ELOOP, errno.ENOTDIR)
            reason = "it is no folder" if linked else error.strerror
            raise unusable(self.path, reason) from None
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
        if self.descriptor < 0:
            return []
        return sorted(filter(is_name, os.listdir(self.descriptor)))

    def open(self, name: str) -> Place:
        """Open the folder of the machine that has this name, or the only one that begins so.

        :raises MicroVMError: there is none, or more than one.
        """
        try:
            return self.of(name)
        except FileNotFoundError:
            pass
        names = [each for each in self.names() if each.startswith(name)] if name else []
        for each in names[:1] if len(names) == 1 else ():
            try:
                return self.of(each)
            except FileNotFoundError:
                pass
        from microvm.errors import MicroVMError

        if len(names) > 1:
            raise MicroVMError(f"more than one machine begins with {name}: {', '.join(names)}")
        from microvm.near import near

        hint = near(name, self.names()) or "`microvm ps` lists those there are"
        raise MicroVMError(f"there is no machine {name}", hint=hint)

    def of(self, name: str) -> Place:
        """Open the folder of the machine that has just this name.

        :raises FileNotFoundError: there is none.
        """
        if self.descriptor < 0 or not is_name(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return Place(name, os.open(name, _FOLDER, dir_fd=self.descriptor))

    def places(self) -> Iterator[Place]:
        """Open the folders of all machines, sorted by name; they are the caller's to close."""
        for name in self.names():
            try:
                yield self.of(name)
            except OSError:  # it has just gone
                continue

    def create(self, name: str | None) -> Place:
        """Make the folder of a new machine, with its lock held; of a dead one the old goes.

        :param name: what it is to be called; None for one that is made up.
        :raises MicroVMError: there is such a machine, or nothing can be made here.
        """
        from microvm.supervisor.names import made_up

        with self.locked():
            taken = set(self.names())
            if name is None:
                name = next(each for each in made_up() if each not in taken)
            elif name in taken:
                with self.of(name) as old:
                    if old.lives():
                        raise _taken(name)
                self._remove(name)
            try:
                os.mkdir(name, 0o700, dir_fd=self.descriptor)
                os.chmod(name, 0o700, dir_fd=self.descriptor)  # whatever the umask
                place = self.of(name)
                place.lock()
            except OSError as error:
                raise unusable(self.path, error.strerror) from None
            return place

    def sweep(self, place: Place) -> bool:
        """Remove the folder of a machine that is dead; False if it lives, or has gone already."""
        with self.locked():
            if place.lives() or not self.has(place):
                return False
            self._remove(place.name)
            return True

    def remove(self, place: Place) -> None:
        """Remove the folder of a machine whose lock the caller holds."""
        with self.locked():
            if self.has(place):
                self._remove(place.name)

    def has(self, place: Place) -> bool:
        """Tell whether a machine's folder still is where it was."""
        try:
            found = os.stat(place.name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(place.descriptor))

    def _remove(self, name: str) -> None:
        folder = os.open(name, _FOLDER, dir_fd=self.descriptor)
        try:
            for each in os.listdir(folder):
                os.unlink(each, dir_fd=folder)
            os.rmdir(name, dir_fd=self.descriptor)
        finally:
            os.close(folder)

    def locked(self) -> Held:
        """Hold the lock of the whole, for a moment, as a context.

        :raises MicroVMError: another process does not let go of it.
        """
        flags = os.O_RDWR | os.O_CREAT | _FILE
        return Held(os.open(".lock", flags, 0o600, dir_fd=self.descriptor), self.path)


class Held:
    """The lock of the runtime folder, as a context: nothing appears and goes but by its holder."""

    def __init__(self, descriptor: int, path: str) -> None:
        """Take a descriptor of the lock's file, which is closed in the end."""
        self._descriptor = descriptor
        self._path = path

    def __enter__(self) -> None:
        deadline = time.monotonic() + _PATIENCE
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


class Place:
    """The folder of a machine, open; use it as a context manager.

    :ivar name: the machine's.
    :ivar descriptor: the folder is open here.
    :ivar held: its lock's file is open here, and locked; -1 where others have it.
    """

    def __init__(self, name: str, descriptor: int, held: int = -1) -> None:
        """Take over the descriptors."""
        self.name = name
        self.descriptor = descriptor
        self.held = held

    def close(self) -> None:
        """Close it, and with it the lock, if it is ours."""
        for each in (self.descriptor, self.held):
            if each >= 0:
                os.close(each)
        self.descriptor = self.held = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, name: str) -> str:
        """Return a path of one of its files that has a length which any socket's may have."""
        return f"/proc/self/fd/{self.descriptor}/{name}"

    def file(self, name: str, flags: int) -> int:
        """Open one of its files.

        :raises OSError: it cannot be opened.
        """
        return os.open(name, flags | _FILE, 0o600, dir_fd=self.descriptor)

    def lock(self) -> None:
        """Take its lock, which nobody else has but those who look whether somebody does."""
        self.held = self.file("lock", os.O_RDWR | os.O_CREAT)
        os.fchmod(self.held, 0o600)  # whatever the umask
        fcntl.flock(self.held, fcntl.LOCK_EX)

    def lives(self) -> bool:
        """Tell whether its supervisor lives, or is being started."""
        if self.held >= 0:
            return True
        try:
            lock = self.file("lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def read(self, name: str) -> dict[str, Any]:
        """Return what one of its JSON files says; nothing where there is none, or it is none."""
        from microvm.supervisor import wire

        try:
            with os.fdopen(self.file(name, os.O_RDONLY), "rb") as file:
                return wire.decode(file.read(_LONGEST))
        except (OSError, ValueError):
            return {}

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Write one of its JSON files, which appears whole.

        :raises OSError: it cannot be written.
        """
        from microvm.supervisor import wire

        fresh = f".{name}"
        with os.fdopen(self.file(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(wire.encode(value))
        here = self.descriptor
        os.rename(fresh, name, src_dir_fd=here, dst_dir_fd=here)

    def reason(self) -> str:
        """Return why a machine that is dead ended, as a sentence without its full stop."""
        return str(self.read(ENDED).get("reason") or "its supervisor was killed")

    def error(self, reason: str | None = None) -> MachineError:
        """Return the error for who wants something from a machine that is dead, and why that is."""
        from microvm.errors import GuestDied

        return GuestDied(
            f"machine {self.name} is gone: {reason or self.reason()}",
            hint=f"`microvm logs {self.name}` shows its console, `microvm ps` clears it up",
        )


def is_name(name: str) -> bool:
    """Tell whether a machine can have this name."""
    return 0 < len(name) <= NAME_LENGTH and name[0] in _FIRST and _REST.issuperset(name)


def location() -> tuple[str, str]:
    """Return where the runtime folder is, and why that is not in XDG_RUNTIME_DIR, if one is set."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    why = _unfit(given) if given else ""
    if given and not why:
        return f"{given.rstrip('/')}/microvm", ""
    folder = os.path.abspath(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - ours alone in it
    return f"{folder}/microvm-{os.geteuid()}", why


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


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    os.chmod(path, 0o700)  # whatever the umask


def _taken(name: str) -> MicroVMError:
    from microvm.errors import MicroVMError

    return MicroVMError(
        f"there is a machine {name} already", hint=f"`microvm stop {name}` ends it; or name another"
    )


def unusable(path: str, reason: str | None) -> MicroVMError:
    """Return the error for a runtime folder in which something cannot be done."""
    from microvm.errors import MicroVMError

    return MicroVMError(
        f"the folder of named machines, {path}, cannot be used: {reason}",
        hint="name a folder of your own, which nobody else can enter, with XDG_RUNTIME_DIR",
    )
