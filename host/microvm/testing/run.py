"""A run of pytest in several processes of this host, which share snapshots of prepared machines.

The controller of pytest-xdist creates a folder for the run and sends its path to the workers. The
snapshots are in the cache, under names that begin with the name of the run, and the controller
removes them at the end. If the controller is killed, a later run removes them. Each process of a
run holds a lock until it exits, so a run without locks has ended.
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
_FOLDER = "microvm-"  # prefix of the name of a test run's temporary folder


class Run:
    """A run of pytest in several processes, such as workers of pytest-xdist, including this one."""

    def __init__(self, folder: Path) -> None:
        """Join the test run whose processes share this temporary folder."""
        self.name = folder.name.removeprefix(_FOLDER)
        self._folder = folder
        self._stack = ExitStack()

    @classmethod
    def joined(cls, folder: str | None) -> Run | None:
        """Return the test run whose processes share `folder`, after this process has joined it.

        Return None if the folder is None, or if the cache cannot be written.
        """
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
        """Leave the test run: this process needs no more snapshots. Further calls do nothing."""
        self._stack.close()

    def snapshot(self, kind: str) -> str:
        """Return the name of the run's snapshot for this `kind` of machine; see `WantedMachine`."""
        return f"{self.name}-{kind}"

    @contextmanager
    def turn(self, kind: str) -> Iterator[None]:
        """Context manager: while its block prepares a machine of `kind`, other processes wait."""
        # Create this file, because its existence tells the controller of pytest-xdist that the test
        # run may have saved snapshots, which the controller then removes.
        (self._folder / kind).touch()
        with lock.held(self._folder / kind, NullReporter()):
            yield

    def note(self, kind: str, outcome: str, message: str) -> None:
        """Store the `outcome` of the set-up of this `kind`, so that no other process repeats it."""
        with suppress(OSError):
            (self._folder / f"{kind}.json").write_text(json.dumps([outcome, message]))

    def noted(self, kind: str) -> tuple[str, str] | None:
        """Return the `outcome` and `message` that a process has stored with `note`, or None."""
        with suppress(OSError, ValueError):
            outcome, message = json.loads((self._folder / f"{kind}.json").read_text())
            return outcome, message
        return None

    def remove(self) -> None:
        """Remove the snapshots of the test run. Call this after its other processes have exited."""
        _remove(re.compile(re.escape(self.name)))

    @staticmethod
    def sweep() -> None:
        """Remove the snapshots of test runs whose processes have all exited."""
        _remove(re.compile(""))


def _remove(wanted: re.Pattern[str]) -> None:
    """Remove the snapshots of test runs whose names match `wanted`, unless a process uses them."""
    with suppress(CacheError):  # a cache that cannot be used contains no snapshots
        lock.sweep(snapshots.STORE.folder)
        for path in sorted(snapshots.STORE.folder.glob("pytest-*")):
            match = _SNAPSHOT.fullmatch(path.name)
            if match is None or not wanted.match(match[1]):
                continue
            with lock.attempt(snapshots.STORE.path(match[1])) as ours:
                if ours:
                    # ignore the error: another process may have removed the snapshot meanwhile
                    with suppress(SnapshotError):
                        snapshots.STORE.remove(path.name)
                    rmtree(Path(gettempdir()) / f"{_FOLDER}{match[1]}", ignore_errors=True)
