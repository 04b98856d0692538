"""Folders of saved guests in the cache: one folder holds all templates, another all snapshots."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

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

T = TypeVar("T")

_NAME = re.compile(r"\w[\w.+~-]{0,199}", re.ASCII)


class Store:
    """A folder of the cache that holds saved guests: either the templates or the snapshots.

    The methods raise a `TemplateError` or a `SnapshotError` if a saved guest does not exist, is
    damaged or is in use, or if its name is invalid.

    :param noun: Word for a saved guest in messages: `template` or `snapshot`.
    :param remedy: Hint for users in `error`; empty if microvm replaces the saved guest itself.
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
        """Path of the folder, which may not exist yet. No other user can change it."""
        return cache.folder(self._name)

    def path(self, name: str) -> Path:
        """Return the path of the saved guest with this name, which may not exist."""
        if not _NAME.fullmatch(name):
            raise self._error(f"not the name of a {self._noun}: {quoted(name)}")
        return self.folder / name

    @contextmanager
    def opened(self, name: str, expected: SavedManifest | None = None) -> Iterator[Memory | None]:
        """Context manager that opens a saved guest, after checking its manifest against `expected`.

        It yields the guest as memory for QEMU. It yields None if the saved guest does not exist.

        :param expected: Manifest that the saved guest must have; None to accept any.
        """
        path = self.path(name)
        with ExitStack() as files:
            guest = self._open(path, files)
            if guest is None:
                yield None
                return
            if expected is not None and guest.manifest != expected:
                message = f"{self._noun} {name} has been replaced meanwhile"
                raise self._error(message, hint="open it again")
            with suppress(OSError):
                os.utime(path)
            copied = guest.manifest.copied
            yield files.enter_context(restorable(guest.ram, guest.state, guest.disk, copied=copied))

    def check_private(self) -> None:
        """Check that the cache is not shared with all users, before a user's data is saved."""
        if cache.is_shared(self.folder.parent):
            message = f"cannot keep a {self._noun} in {self.folder.parent}: all users may read it"
            raise self._error(message, hint="MICROVM_CACHE names another folder for the cache")

    def check(self, name: str) -> SavedManifest:
        """Return a saved guest's manifest. Raise an error if a file differs from its digest."""
        with ExitStack() as files:
            return self.open(name, files).manifest

    def open(self, name: str, files: ExitStack) -> OpenedGuest:
        """Open a saved guest whose files match their digests. The stack `files` closes them."""
        guest = self._open(self.path(name), files)
        if guest is None:
            raise self.missing(name)
        return guest

    def manifest(self, name: str) -> SavedManifest | None:
        """Return the manifest of a saved guest, or None if it does not exist."""
        path = self.path(name)
        return self._read(path, lambda: saved.read_manifest(path))

    def _open(self, path: Path, files: ExitStack) -> OpenedGuest | None:
        return self._read(path, lambda: saved.open_checked(path, files))

    def _read(self, path: Path, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except FileNotFoundError:
            return None
        except FlawError as flaw:
            raise self._flawed(path, flaw) from None

    def _flawed(self, path: Path, error: FlawError) -> TemplateError | SnapshotError:
        texts = {
            "damaged": f"damaged {self._noun}: {error}",
            "outdated": f"a {self._noun} of another version of microvm",
            "unreadable": f"cannot read the {self._noun}: {error}",
        }
        hint = self._remedy
        if hint and error.flaw in LOST:
            hint += f"; `microvm {self._noun} prune` removes this one"
        return self._error(f"{path}: {texts[error.flaw]}", hint=hint)

    def save(
        self, memory: Memory, *, name: str, origin: Origin, copied: bool, base: int | None = None
    ) -> None:
        """Save a guest in the cache under `name`, from the files `memory` that QEMU has written.

        A saved guest of the same name is replaced. The caller must hold the lock of `path(name)`.

        :param copied: True if each clone needs its own copy of the guest's memory.
        :param base: Descriptor of a similar guest's memory, to share disk blocks with if possible.
        :raises CacheError: If the disk is full or cannot be written. Incomplete files are removed.
        """
        path = self.path(name)
        with cache.disk_errors(), cache.staging(path) as folder:
            saved.write(memory, folder, name=name, origin=origin, copied=copied, base=base)

    def installed(self, *, deep: bool = False) -> list[SavedGuest]:
        """Return all saved guests, the last cloned first; if `deep`, check their files' digests.

        A check of the digests reads all files that have not been verified before.
        """
        found = []
        for path in self.folder.glob("[!.]*"):
            # Skip a saved guest that was removed meanwhile, and a file that is no saved guest.
            with suppress(FileNotFoundError, NotADirectoryError):
                size = sum(file.stat().st_blocks * cache.SECTOR for file in path.iterdir())
                manifest, flaw = _look(path, deep=deep)
                found.append(SavedGuest(path.name, manifest, flaw, size, path.stat().st_mtime))
        return sorted(found, key=lambda each: (-each.used, each.name))

    def names(self) -> list[str]:
        """Return the names of all saved guests, sorted."""
        return sorted(path.name for path in self.folder.glob("[!.]*"))

    def remove(self, name: str) -> None:
        """Remove a saved guest. Clones that run are not affected."""
        path = self.path(name)
        if not path.exists():
            raise self.missing(name)
        with lock.attempt(path) as is_locked:
            if not is_locked:
                raise self._error(f"{name} is being saved by {lock.holder(path)} now")
            # Rename the folder before it is deleted, so that no process finds an incomplete guest.
            with cache.disk_errors(), cache.scratch(path) as gone, suppress(FileNotFoundError):
                path.replace(gone)

    def missing(self, name: str) -> TemplateError | SnapshotError:
        """Return the error to raise if the saved guest `name` does not exist."""
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
    except OSError:  # this process has reached a limit, such as its number of open files
        return None, "unreadable"
