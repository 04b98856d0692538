"""The images, and the snapshots of prepared machines, from which the machines of tests start.

If the fixture `microvm_setup` returns a function (a set-up), it prepares one machine, of which a
snapshot is saved. Each test gets a fork of that snapshot. A failed start or set-up is remembered,
so that other tests do not try it again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest

from microvm.errors import BootError, CacheError, ImageError, MicroVMError, QemuError, SnapshotError
from microvm.machine.snapshot import Snapshot
from microvm.start.retry import Attempt, Retries
from microvm.testing.recorded import SyncMicroVM
from microvm.testing.run import Run
from microvm.testing.transcript import Transcript
from microvm.testing.wanted import WantedMachine

_LACKS = (QemuError, CacheError, ImageError, BootError, SnapshotError, ModuleNotFoundError)
"""Errors that the start of a machine raises if the host lacks something, such as QEMU."""


class Origins:
    """The store of snapshots of prepared machines, from which the machines of tests start.

    :param run: Object to share snapshots with other processes of the test run; None if there are
        none.
    :param skips: True to skip a test, instead of failing it, if no machine can be started.
    """

    def __init__(self, run: Run | None, *, skips: bool) -> None:
        self._run = run
        self._skips = skips
        # The factories of `async def` tests call `find` in several threads, so this lock is needed.
        self._lock = threading.Lock()
        self._of_set_up: BaseException | None = None
        self._had: set[str] = set()
        self._outcomes: dict[str, tuple[str, str]] = {}
        self._starts: defaultdict[str, Retries] = defaultdict(Retries)
        self._set_ups: defaultdict[str, Retries] = defaultdict(Retries)
        self._snapshots: dict[str, Snapshot] = {}

    def close(self) -> None:
        """Close this process's snapshots. The controller of pytest-xdist removes shared ones."""
        for snapshot in self._snapshots.values():
            snapshot.close()
        if self._run is not None:
            self._run.leave()

    def find(self, wanted: WantedMachine, transcripts: list[Transcript]) -> WantedMachine:
        """Return `wanted`, or if it has a set-up, a description of a fork of the prepared machine.

        A machine without a set-up function is started as `wanted`. Otherwise, prepare a machine
        with the set-up function and save its snapshot, unless the snapshot exists already. Its
        transcript is added to `transcripts`.

        :raises BaseException: If the set-up raises it, or if the set-up has failed before.
        """
        if wanted.setup is None:
            return wanted
        with self._lock:
            if wanted.kind not in self._snapshots:
                self._again(wanted.kind)
                self._snapshots[wanted.kind] = self._prepare(wanted, transcripts)
            return wanted.fork(self._snapshots[wanted.kind])

    @contextmanager
    def trial(self, kind: str) -> Iterator[None]:
        """Context manager: skip or fail the test if the block cannot start this `kind` of machine.

        If the host lacks something that machines need, such as QEMU, the context manager skips or
        fails the test. It does so at once if the start of an equal machine has failed in an earlier
        test.
        """
        self._again(kind)
        retries = self._starts[kind]
        attempt = retries.begin()
        try:
            yield
        except _LACKS as error:
            if kind not in self._had:
                if _is_final(retries, attempt, error):
                    self._outcomes[kind] = "lack", str(error)
                if self._skips:
                    self._lack(str(error))
            raise
        self._had.add(kind)

    @contextmanager
    def plain_errors(self) -> Iterator[None]:
        """Context manager: if its block fails to start a machine, show the error without traceback.

        Errors that the user's set-up raises keep their traceback.
        """
        try:
            yield
        except (MicroVMError, ModuleNotFoundError) as error:
            if error is self._of_set_up:
                raise
            detail = getattr(error, "detail", "")
            said = f"no machine for this test: {error}\n{detail}".rstrip()
            raise pytest.fail.Exception(said, pytrace=False) from None

    def _again(self, kind: str) -> None:
        """Skip or fail the test if the start or set-up of this `kind` of machine has failed before.

        Machines with equal images, options and set-up functions have the same `kind`.
        """
        match self._outcomes.get(kind):
            case "lack", message:
                self._lack(message)
            case "skipped", message:
                pytest.skip(message)
            case "failed", message:
                pytest.fail(f"the set-up of its machine has failed before: {message}", False)

    def _lack(self, message: str) -> NoReturn:
        said = f"no machine for this test: {message}"
        if self._skips:
            pytest.skip(said)
        pytest.fail(said, pytrace=False)

    def _prepare(self, wanted: WantedMachine, transcripts: list[Transcript]) -> Snapshot:
        run = self._run
        if run is None:
            return self._set_up(wanted, transcripts, None)
        name = run.snapshot(wanted.kind)
        with run.turn(wanted.kind):
            if (noted := run.noted(wanted.kind)) is not None:
                self._outcomes[wanted.kind] = noted
                self._again(wanted.kind)
            try:
                return Snapshot.find(name)
            except SnapshotError:  # no process has saved the snapshot yet, so run the set-up here
                run.sweep()
            try:
                return self._set_up(wanted, transcripts, name)
            finally:
                if outcome := self._outcomes.get(wanted.kind):
                    run.note(wanted.kind, *outcome)

    def _set_up(
        self, wanted: WantedMachine, transcripts: list[Transcript], name: str | None
    ) -> Snapshot:
        assert wanted.setup is not None  # noqa: S101 - for the type checker
        with self.trial(wanted.kind):
            vm = SyncMicroVM(wanted.origin(), **wanted.options)
            vm.transcript.name = "the set-up"
            transcripts.append(vm.transcript)
            vm.start()
        retries = self._set_ups[wanted.kind]
        attempt = retries.begin()
        try:
            try:
                wanted.setup(vm)
                return vm.checkpoint(name)
            except pytest.skip.Exception as error:
                self._outcomes[wanted.kind] = "skipped", str(error)
                raise
            except (Exception, pytest.fail.Exception) as error:
                said = str(error).partition("\n")[0]
                self._of_set_up = error
                if _is_final(retries, attempt, error):
                    self._outcomes[wanted.kind] = "failed", f"{type(error).__name__}: {said}"
                raise
        finally:
            vm.stop()


def _is_final(retries: Retries, attempt: Attempt, error: BaseException) -> bool:
    """Record a failed attempt in `retries`. Return True if later tests must not try again."""
    try:
        retries.fail(attempt, error)
    except BaseException:
        return True
    return False
