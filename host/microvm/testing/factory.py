"""The classes behind the fixture `microvm_factory`, which starts machines for a test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Generic, Self, TypeVar, Unpack

import pytest

from microvm import sync
from microvm.images import Image
from microvm.machine import machine
from microvm.machine.snapshot import Snapshot
from microvm.option import document_options
from microvm.options import MachineOptions
from microvm.testing.origins import Origins
from microvm.testing.recorded import MicroVM, SyncMicroVM
from microvm.testing.transcript import Transcript
from microvm.testing.wanted import MicroVMOptions, Setup, WantedMachine, marked

V = TypeVar("V", MicroVM, SyncMicroVM)
R = TypeVar("R")
"""The result of calling a factory: a machine, or an awaitable that returns a machine."""


class _Factory(Generic[V, R]):
    """The common code of the machine factories `MicroVMFactory` and `AsyncMicroVMFactory`.

    :param node: Test, whose marks contain options of machines, or session, which has no marks.
    :param setup: Function that prepares a machine. The test gets a fork of this machine.
    :param name: Name of the machines in reports. By default, they are numbered.
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
        """Start a machine, which is stopped after the test. An `async def` test awaits the call.

        :param image: See `MicroVM`.
        :param snapshot: Snapshot to start from, or its name, instead of an image.
        :raises MicroVMError: In the same cases as by `MicroVM` and `MicroVM.start`.
        """
        return self._started({"image": image, "snapshot": snapshot, **options})

    def _started(self, given: MicroVMOptions) -> R:
        raise NotImplementedError

    def _wanted(self, options: MicroVMOptions) -> WantedMachine:
        layers = (self._options, *marked(self._node), options)
        return WantedMachine.of(layers, self._setup, self._variant)

    def _made(self, kind: type[V], wanted: WantedMachine) -> V:
        vm = kind(wanted.origin(), **wanted.options)
        self._count += 1
        vm.transcript.name = self._name or (f"machine {self._count}" if self._count > 1 else "")
        self._transcripts.append(vm.transcript)
        return vm


class MicroVMFactory(_Factory[SyncMicroVM, "sync.MicroVM"]):
    """A function that starts machines: the fixture `microvm_factory` of ordinary tests."""

    def __enter__(self) -> Self:
        self._machines = ExitStack()
        return self

    def __exit__(self, *_: object) -> None:
        self._machines.close()

    def _started(self, given: MicroVMOptions) -> sync.MicroVM:
        wanted = self._origins.find(self._wanted(given), self._transcripts)
        with self._origins.trial(wanted.kind):
            vm = self._made(SyncMicroVM, wanted)
            self._machines.callback(vm.stop)
            vm.start()
        return vm


class AsyncMicroVMFactory(_Factory[MicroVM, Awaitable["machine.MicroVM"]]):
    """A function that starts machines: the fixture `microvm_factory` of `async def` tests."""

    async def __aenter__(self) -> Self:
        self._machines = AsyncExitStack()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._machines.aclose()

    async def _started(self, given: MicroVMOptions) -> machine.MicroVM:
        wanted = self._wanted(given)
        # Call `find` in a thread, because it may call the user's set-up function, which blocks.
        wanted = await asyncio.to_thread(self._origins.find, wanted, self._transcripts)
        with self._origins.trial(wanted.kind):
            vm = self._made(MicroVM, wanted)
            self._machines.push_async_callback(vm.stop)
            await vm.start()
        return vm
