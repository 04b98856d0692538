"""The stores of saved guests in the cache: templates are one, snapshots another."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from microvm import cache
from microvm.cache import lock
from microvm.errors import SnapshotError, TemplateError
from microvm.printable import quoted
from microvm.qemu.command_line import Memory
from microvm.start import saved
from microvm.start.origin import Origin
from microvm.start.saved import (
    LOST,
    Flaw,
    FlawError,
    OpenedGuest,
    SavedGuest,
    SavedManifest,
    restorable,
)
from microvm.suggestion import did_you_mean

_NAME = re.compile(r"\w[\w.+~-]{0,199}", re.ASCII)


class Store:
    """A store of saved guests: a folder of the cache.

    :param folder: its name.
    :param noun: what is in it, for people.
    :param error: what is raised where one cannot be used.
    :param remedy: what a user does then; nothing where that is seen to.
    """

    def __init__(
        self,
        folder: str,
        noun: str,
        error: type[TemplateError] | type[SnapshotError],
        remedy: str = "",
    ) -> None:
        self._name = folder
        self._noun = noun
        self._error = error
        self._remedy = remedy

    @property
    def folder(self) -> Path:
        """The folder, there or not.

        :raises ImageError: others can change what is in it; see `cache.trust`.
        """
        return cache.folder(self._name)

    def path(self, name: str) -> Path:
        """Return the folder of a saved guest, there or not.

        :raises TemplateError, SnapshotError: none can have that name.
        """
        if not _NAME.fullmatch(name):
            raise self._error(f"not the name of a {self._noun}: {quoted(name)}")
        return self.folder / name

    @contextmanager
    def opened(self, name: str, expected: SavedManifest | None = None) -> Iterator[Memory | None]:
        """Open one, checked, as memory for QEMU to inherit; None if there is none.

        :param expected: the manifest that it must have, if that is known.
        :raises TemplateError, SnapshotError: it is there, and is not what was saved.
        :raises OSError: this process may not have what it takes, such as one more file.
        """
        path = self.path(name)
        with ExitStack() as files:
            guest = self._open(path, files)
            if guest is None:
                yield None
                return
            if expected is not None and guest.manifest != expected:
                message = f"{self._noun} {name} has been taken anew meanwhile"
                raise self._error(message, hint="look for it again")
            with suppress(OSError):
                os.utime(path)
            copied = guest.manifest.copied
            yield files.enter_context(restorable(guest.ram, guest.state, guest.disk, copied=copied))

    def check_private(self) -> None:
        """Check that no other user may read the cache, before it gets a guest with a user's data.

        :raises TemplateError, SnapshotError: root shares the cache with all users.
        """
        if cache.is_shared(self.folder.parent):
            message = f"cannot keep a {self._noun} in {self.folder.parent}: all users may read it"
            raise self._error(message, hint="MICROVM_CACHE names another folder for the cache")

    def check(self, name: str) -> SavedManifest:
        """Compare one with its digests, and return what it is made of.

        :raises TemplateError, SnapshotError: there is none, or it is not what was saved.
        """
        with ExitStack() as files:
            return self.open(name, files).manifest

    def open(self, name: str, files: ExitStack) -> OpenedGuest:
        """Compare one with its digests, and open it.

        :param files: becomes the owner of its files.
        :raises TemplateError, SnapshotError: there is none, or it is not what was saved.
        """
        guest = self._open(self.path(name), files)
        if guest is None:
            raise self.missing(name)
        return guest

    def manifest(self, name: str) -> SavedManifest | None:
        """Return what one is made of; None if there is none.

        :raises TemplateError, SnapshotError: it cannot be read.
        """
        path = self.path(name)
        try:
            return saved.read_manifest(path)
        except FileNotFoundError:
            return None
        except FlawError as flaw:
            raise self._said(path, flaw) from None

    def _open(self, path: Path, files: ExitStack) -> OpenedGuest | None:
        try:
            return saved.open_checked(path, files)
        except FileNotFoundError:
            return None
        except FlawError as flaw:
            raise self._said(path, flaw) from None

    def _said(self, path: Path, error: FlawError) -> TemplateError | SnapshotError:
        said = {
            "damaged": f"damaged {self._noun}: {error}",
            "outdated": f"a {self._noun} of another version of microvm",
            "unreadable": f"cannot read the {self._noun}: {error}",
        }
        hint = self._remedy
        if hint and error.flaw in LOST:
            hint += f"; `microvm {self._noun} prune` removes this one"
        return self._error(f"{path}: {said[error.flaw]}", hint=hint)

    def save(
        self,
        memory: Memory,
        *,
        name: str,
        origin: Origin,
        copied: bool,
        base: int | None = None,
    ) -> None:
        """Keep the guest that QEMU has saved in `memory`; one of that name is replaced.

        The caller holds the lock of its `path`. Other arguments are what `SavedManifest` says.

        :param base: memory that this may be much like, to share blocks with where that is possible.
        :raises ImageError: the disk is full, or cannot be written. Nothing half made is left.
        """
        path = self.path(name)
        with cache.disk_errors(), cache.staging(path) as folder:
            saved.write(memory, folder, name=name, origin=origin, copied=copied, base=base)

    def installed(self, *, deep: bool = False) -> list[SavedGuest]:
        """Return all that are there, the one that was used last first.

        :param deep: compare them with their digests, too, which reads all of what is new here.
        """
        found = []
        for path in self.folder.glob("[!.]*"):
            with suppress(FileNotFoundError, NotADirectoryError):  # removed meanwhile, or not ours
                size = sum(file.stat().st_blocks * cache.SECTOR for file in path.iterdir())
                manifest, flaw = _look(path, deep=deep)
                found.append(SavedGuest(path.name, manifest, flaw, size, path.stat().st_mtime))
        return sorted(found, key=lambda each: (-each.used, each.name))

    def names(self) -> list[str]:
        """Return the names of all that are there, sorted."""
        return sorted(path.name for path in self.folder.glob("[!.]*"))

    def remove(self, name: str) -> None:
        """Remove one; clones that run are not disturbed.

        :raises TemplateError, SnapshotError: there is none, or it is just being made.
        """
        path = self.path(name)
        if not path.exists():
            raise self.missing(name)
        with lock.attempt(path) as ours:
            if not ours:
                raise self._error(f"{name} is just being made by {lock.holder(path)}")
            # Renamed first, so that nobody ever finds half of it; another may have been faster.
            with cache.disk_errors(), cache.scratch(path) as gone, suppress(FileNotFoundError):
                path.replace(gone)

    def missing(self, name: str) -> TemplateError | SnapshotError:
        """Return the error to raise where there is none of that name."""
        hint = did_you_mean(name, self.names()) or f"`microvm {self._noun} ls` lists them"
        return self._error(f"no {self._noun} {name}", hint=hint)


def _look(path: Path, *, deep: bool) -> tuple[SavedManifest | None, Flaw | None]:
    try:
        with ExitStack() as files:
            return saved.open_checked(path, files, deep=deep).manifest, None
    except FileNotFoundError:
        raise
    except FlawError as error:
        return None, error.flaw
    except OSError:  # a limit of this process
        return None, "unreadable"
