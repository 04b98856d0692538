"""The public class `Snapshot`: the saved state of a machine, from which other machines start."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from microvm import machine
from microvm.concurrency.threads import in_stoppable_thread
from microvm.errors import SnapshotError, UsageError
from microvm.images import tags
from microvm.log import Area
from microvm.no_constructor import NoConstructor
from microvm.qemu.launch import os_errors
from microvm.start import snapshots, template
from microvm.start.restorer import Restorer, image_of
from microvm.units import format_size

if TYPE_CHECKING:
    from pathlib import Path

    from microvm.images import Image
    from microvm.option import ParsedOptions
    from microvm.options import Confinement
    from microvm.qemu.command_line import Memory
    from microvm.start.checkpoint import Checkpoint
    from microvm.start.origin import Origin
    from microvm.start.running_vm import RunningVM
    from microvm.start.saved import SavedManifest
    from microvm.start.store import Store

_logger = Area("start")

FIXED_OPTIONS = ("memory", "cpus", "disk", "arch", "accel")
"""Options that a machine takes from the snapshot from which it starts."""


class Snapshot(NoConstructor):
    """The saved memory, processes and files of a machine.

    ::

        async with MicroVM("python") as vm:
            await vm.run(["python3", "/srv/prepare.py"], check=True)
            async with await vm.checkpoint() as snapshot:
                async with MicroVM(snapshot) as clone: ...

    A snapshot with a name is stored in the cache until it is removed, and every process can use it.
    A snapshot without a name is deleted when it is closed, when it is garbage-collected, or when
    its process exits. Machines that were started from it continue to run.

    :ivar name: Name of the snapshot, or None.
    :ivar image: Name of the image of the saved machine.
    :ivar arch: Architecture of the saved machine.
    :ivar accel: Accelerator of the saved machine.
    :ivar memory: Memory of the guest in bytes.
    :ivar cpus: Number of CPUs of the guest.
    :ivar disk: Size in bytes of the disk for files that the guest writes; 0 if there is no disk.
    :ivar pause: Time for which the machine was paused to save it, in seconds; 0.0 for a snapshot
        that was returned by `find`.
    """

    def _init(
        self,
        origin: Origin,
        opened: Callable[[], AbstractContextManager[Memory]],
        *,
        name: str | None = None,
        files: ExitStack | None = None,
        pause: float = 0.0,
    ) -> Self:
        """Set the attributes for a saved snapshot, and return self; `opened` opens its memory.

        :param files: Open files of a snapshot without a name. They are closed with the snapshot.
        """
        self.name = name
        self.image = origin.image
        self.arch = tags.arch_of(origin.image)
        self.accel = origin.accel
        self.memory = origin.memory << 20
        self.cpus = origin.cpus
        self.disk = origin.scratch
        self.pause = pause
        self._label = f"snapshot {name}" if name else "the snapshot"
        self._origin = origin
        self._opened = opened
        self._closed = False
        self._taken: Checkpoint | None = None
        # Protects the snapshot if one thread closes it while another thread opens it.
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, files.close) if files else None
        return self

    @classmethod
    def find(cls, name: str) -> Self:
        """Return the snapshot that is stored under a name.

        :raises SnapshotError: If the snapshot does not exist or cannot be read.
        """
        manifest = snapshots.STORE.manifest(name)
        if manifest is None:
            raise snapshots.STORE.missing(name)
        return cls._new()._init(
            manifest.origin, partial(_opened, snapshots.STORE, manifest), name=name
        )

    @staticmethod
    def _state_of(name: str) -> str | None:
        """Return the digest of the snapshot `name`, which changes when it is saved again.

        Return None if the snapshot does not exist.
        """
        manifest = snapshots.STORE.manifest(name)
        return None if manifest is None else manifest.state_sha256

    @classmethod
    def _of_template(cls, name: str) -> Self | None:
        """Return the snapshot that is stored as a template, or None if it does not exist.

        :raises TemplateError: If the template cannot be read.
        """
        manifest = template.STORE.manifest(name)
        if manifest is None:
            return None
        return cls._new()._init(manifest.origin, partial(_opened, template.STORE, manifest))

    def _keep_as_template(self, name: str) -> None:
        """Store a snapshot without a name as a template, whose lock the caller must hold."""
        assert self._taken is not None  # noqa: S101 - set without a name
        self._taken.keep_as_template(name)

    @classmethod
    async def _take(cls, vm: RunningVM, image: Image, name: str | None) -> Self:
        """Save a snapshot of a running machine, and return it; see `MicroVM.checkpoint`."""
        if name is not None:
            snapshots.STORE.path(name)  # raises the error for an invalid name before the snapshot
        with os_errors("cannot take a snapshot", SnapshotError), ExitStack() as files:
            taken = await machine.checkpoint.take(vm, image, files)
            _logger.info("took a snapshot, for which what runs stood %.1f ms", 1000 * taken.pause)
            if name is not None:
                await in_stoppable_thread(taken.keep, name)
                found = cls.find(name)
                found.pause = taken.pause
                return found
            return cls._of(taken, files.pop_all())

    @classmethod
    def _of(cls, taken: Checkpoint, files: ExitStack) -> Self:
        snapshot = cls._new()._init(taken.origin, taken.opened, files=files, pause=taken.pause)
        snapshot._taken = taken
        return snapshot

    def _export(self) -> tuple[dict[str, Any], list[int]]:
        """Return the properties and descriptors with which another process can use the snapshot."""
        assert self._taken is not None  # noqa: S101 - set without a name
        return self._taken.parts()

    @classmethod
    def _from_export(cls, facts: dict[str, Any], descriptors: list[int]) -> Self:
        """Create a snapshot from the result of `_export`. Its `close` closes the `descriptors`."""
        with ExitStack() as files:
            for descriptor in descriptors:
                files.callback(os.close, descriptor)
            taken = machine.checkpoint.Checkpoint.of(facts, descriptors)
            return cls._of(taken, files.pop_all())

    def __repr__(self) -> str:
        name = self.name or ("closed" if self._closed else "without a name")
        return f"<{type(self).__name__} of {self.image}: {name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the snapshot, and delete it if it has no name. Further calls have no effect.

        No machine can be started from the snapshot afterwards. Running machines are not affected.
        """
        with self._lock:
            self._closed = True
            if self._finalizer is not None:
                self._finalizer()

    def _options_of_clone(self, options: ParsedOptions) -> ParsedOptions:
        """Return `options` of a new machine, with those that this snapshot fixes, such as memory.

        :param options: Options that the user has given to the machine, and defaults.
        :raises UsageError: Raised if the user has given an option that contradicts the snapshot.
        """
        if options["cold"]:
            raise UsageError("cold: a machine from a snapshot is not booted")
        own = {name: getattr(self, name) for name in FIXED_OPTIONS}
        for name, value in own.items():
            if name in options.given and options[name] not in {value, "auto"}:
                have, given = (
                    format_size(each) if name in {"memory", "disk"} and each else each or "none"
                    for each in (value, options[name])
                )
                raise UsageError(
                    f"{name}: machines from {self._label} have {have}, not {given}",
                    hint=f"leave out {name}, or start the machine from an image",
                )
        return options.replace(**own)

    def _find_image(self) -> Image:
        """Return the image of the saved machine, after checking that this host can restore it."""
        return image_of(self._label, self._origin)

    def _make_restorer(self, console: Path | None, confinement: Confinement) -> Restorer:
        """Return an object that starts one machine, with these two options, from the snapshot."""
        self._check_open()
        return Restorer(self._label, self._origin, self._open, console, confinement)

    @contextmanager
    def _open(self) -> Iterator[Memory]:
        with ExitStack() as files:
            with self._lock:
                self._check_open()
                memory = files.enter_context(self._opened())
            yield memory

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the snapshot is closed")


@contextmanager
def _opened(store: Store, manifest: SavedManifest) -> Iterator[Memory]:
    with store.opened(manifest.name, manifest) as memory:
        if memory is None:
            raise store.missing(manifest.name)
        yield memory
