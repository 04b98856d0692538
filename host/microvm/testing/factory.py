"""The makers of a test's machines, which end them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Self, TypeVar, Unpack

from microvm.option import document_options
from microvm.options import MachineOptions
from microvm.testing.recorded import MicroVM, SyncMicroVM
from microvm.testing.transcript import Transcript
from microvm.testing.wanted import MicroVMOptions, Setup, Wanted, marked

if TYPE_CHECKING:
    import pytest

    from microvm import sync
    from microvm.images import Image
    from microvm.machine import machine
    from microvm.machine.snapshot import Snapshot
    from microvm.testing.origins import Origins

V = TypeVar("V", MicroVM, SyncMicroVM)
R = TypeVar("R")
"""What a call gives: a machine, or in coroutines one to be awaited."""


class _Factory(Generic[V, R]):
    """What both makers have in common.

    :param node: the test, whose marks count, or the session, which has none.
    :param options: what counts less.
    :param setup: prepares a machine, of which forks are made.
    :param variant: see `Wanted.of`.
    :param transcripts: gets those of its machines.
    :param name: what reports call its machines; by default nothing, and then by their numbers.
    """

    def __init__(
        self,
        origins: Origins,
        node: pytest.Item | pytest.Session,
        options: MicroVMOptions,
        setup: Setup | None,
        variant: str,
        transcripts: list[Transcript],
        *,
        name: str = "",
    ) -> None:
        self._origins = origins
        self._node = node
        self._options = options
        self._setup = setup
        self._variant = variant
        self._transcripts = transcripts
        self._name = name
        self._count = 0

    @document_options(MachineOptions)
    def __call__(
        self,
        image: Image | str | Path | None = None,
        *,
        snapshot: Snapshot | str | None = None,
        **options: Unpack[MachineOptions],
    ) -> R:
        """Return a machine that runs, and that is ended after the test; `async def` tests await it.

        :param image: as `MicroVM` takes it.
        :param snapshot: what to start from in the place of an image, or the name of it.
        :raises MicroVMError: as `MicroVM` and its start do.
        """
        return self._started({"image": image, "snapshot": snapshot, **options})

    def _started(self, given: MicroVMOptions) -> R:
        raise NotImplementedError

    def _plain_errors(self) -> AbstractContextManager[None]:
        """See `Origins`."""
        return self._origins.plain_errors()

    def _wanted(self, options: MicroVMOptions) -> Wanted:
        layers = (self._options, *marked(self._node), options)
        return Wanted.of(layers, self._setup, self._variant)

    def _found(self, wanted: Wanted) -> Wanted:
        return self._origins.find(wanted, self._transcripts)

    def _made(self, kind: type[V], wanted: Wanted) -> V:
        vm = kind(wanted.origin(), **wanted.options)
        self._count += 1
        vm.transcript.name = self._name or (f"machine {self._count}" if self._count > 1 else "")
        self._transcripts.append(vm.transcript)
        return vm


class MicroVMFactory(_Factory[SyncMicroVM, "sync.MicroVM"]):
    """A function that gives machines: `microvm_factory` of tests that are not `async`."""

    def __enter__(self) -> Self:
        self._machines = ExitStack()
        return self

    def __exit__(self, *_: object) -> None:
        self._machines.close()

    def _started(self, given: MicroVMOptions) -> sync.MicroVM:
        wanted = self._found(self._wanted(given))
        with self._origins.trial(wanted.kind):
            vm = self._made(SyncMicroVM, wanted)
            self._machines.callback(vm.stop)
            vm.start()
        return vm


class AsyncMicroVMFactory(_Factory[MicroVM, Awaitable["machine.MicroVM"]]):
    """A function that gives machines: `microvm_factory` of `async def` tests, which await them."""

    async def __aenter__(self) -> Self:
        self._machines = AsyncExitStack()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._machines.aclose()

    async def _started(self, given: MicroVMOptions) -> machine.MicroVM:
        wanted = self._wanted(given)
        # A set-up waits: neither this loop nor what else runs in it does.
        wanted = await asyncio.to_thread(self._found, wanted)
        with self._origins.trial(wanted.kind):
            vm = self._made(MicroVM, wanted)
            self._machines.push_async_callback(vm.stop)
            await vm.start()
        return vm
