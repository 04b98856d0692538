"""A run of pytest in several processes of this host, which share the snapshots of their set-ups.

The process that leads them, pytest-xdist's controller, makes a folder for the run and tells the
others. Snapshots are in the cache, under names that begin with the run's, and the controller
removes them at the end. Where it was killed, a later run does: each process of a run that has used
one holds a lock beside them, as long as it lives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import gettempdir

from microvm.cache import lock
from microvm.errors import CacheError, SnapshotError
from microvm.progress import NullReporter
from microvm.start import snapshots

_SNAPSHOT = re.compile(r"(pytest-\w{8})-[0-9a-f]{16}", re.ASCII)
_FOLDER = "microvm-"  # before the run's name, in the folder of temporary files


class Run:
    """A run, of which this process is one.

    :ivar name: the beginning of its snapshots' names.
    """

    def __init__(self, folder: Path) -> None:
        """Take part in the run of that folder."""
        self.name = folder.name.removeprefix(_FOLDER)
        self._folder = folder
        self._stack = ExitStack()

    @classmethod
    def joined(cls, folder: str | None) -> Run | None:
        """Return the run of that folder; None without one, or where the cache cannot be written."""
        if folder is None:
            return None
        run = cls(Path(folder))
        with suppress(CacheError):
            run._stack.enter_context(lock.shared(snapshots.STORE.path(run.name), NullReporter()))
            snapshots.check_room()
            return run
        run.leave()
        return None

    def leave(self) -> None:
        """Say that this process has no more use for the snapshots; idempotent."""
        self._stack.close()

    def snapshot(self, kind: str) -> str:
        """Return the name of the snapshot of a kind of machine."""
        return f"{self.name}-{kind}"

    @contextmanager
    def turn(self, kind: str) -> Iterator[None]:
        """Wait until no other process prepares this kind, and keep them from it meanwhile."""
        (self._folder / kind).touch()  # what tells the controller that there is work for it
        with lock.held(self._folder / kind, NullReporter()):
            yield

    def note(self, kind: str, outcome: str, message: str) -> None:
        """Write down for the others what came of a set-up that failed."""
        with suppress(OSError):
            (self._folder / f"{kind}.json").write_text(json.dumps([outcome, message]))

    def noted(self, kind: str) -> tuple[str, str] | None:
        """Return what another has written down; None if nothing."""
        with suppress(OSError, ValueError):
            outcome, message = json.loads((self._folder / f"{kind}.json").read_text())
            return outcome, message
        return None

    def remove(self) -> None:
        """Remove the snapshots of the run: the others have ended."""
        _remove(re.compile(re.escape(self.name)))

    @staticmethod
    def sweep() -> None:
        """Remove the snapshots of runs none of whose processes lives any more."""
        _remove(re.compile(""))


def _remove(wanted: re.Pattern[str]) -> None:
    """Remove the snapshots of those runs whose names match, and that nobody takes part in."""
    with suppress(CacheError):  # it cannot be read or written: then there is nothing of ours
        lock.sweep(snapshots.STORE.folder)
        for path in sorted(snapshots.STORE.folder.glob("pytest-*")):
            match = _SNAPSHOT.fullmatch(path.name)
            if match is None or not wanted.match(match[1]):
                continue
            with lock.attempt(snapshots.STORE.path(match[1])) as ours:
                if ours:
                    with suppress(SnapshotError):  # another was faster
                        snapshots.STORE.remove(path.name)
                    rmtree(Path(gettempdir()) / f"{_FOLDER}{match[1]}", ignore_errors=True)
