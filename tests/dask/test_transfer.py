"""Tests of transfers from the client to workers that hang or have to wait."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import BinaryIO

import pytest
from distributed import Client, Worker
from tests.support.polling import comes_true
from tests.support.processes import state

from microvm import MicroVMError
from microvm.concurrency.tasks import cancel
from microvm.concurrency.threads import in_thread
from microvm.dask import transfer
from microvm.dask.batch import _listen
from microvm.dask.transfer import Receiver, Sender

pytestmark = pytest.mark.thorough

BATCH = "transfer"
DATA = Random(1).randbytes(16 << 20)
TIMEOUT = 1.5

Receive = Callable[["Held"], Awaitable[object]]


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Held:
    """A reference to data. Its export and its reader may block at the beginning."""

    writing: Callable[[], object] = nothing
    reading: Callable[[], object] = nothing
    key: str = "data"
    size: int = len(DATA)

    def find(self) -> None:
        """Return None, as if no copy existed."""

    def write(self, out: BinaryIO) -> None:
        """Export the data."""
        self.writing()
        out.write(DATA)

    def read(self, file: BinaryIO) -> None:
        """Receive the data."""
        first = file.read(1)
        self.reading()
        assert first + file.read() == DATA


@pytest.fixture(autouse=True)
def _impatient(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(transfer, "REMINDER", TIMEOUT / 10)
    before = transfer.PIECE_TIMEOUT
    client.run(setattr, transfer, "PIECE_TIMEOUT", TIMEOUT)
    yield
    client.run(setattr, transfer, "PIECE_TIMEOUT", before)


@asynccontextmanager
async def sending(client: Client, *references: Held) -> AsyncIterator[dict[int, Receive]]:
    """Yield a function for each worker, which sends it a reference, by the worker's process id."""

    async def receive(reference: Held, dask_worker: Worker) -> None:
        receiver = Receiver(dask_worker, BATCH)
        try:
            await in_thread(receiver.receive, reference)
        finally:
            receiver.close()

    async with Client(client.scheduler_info()["address"], asynchronous=True) as connection:
        sender = Sender(connection, BATCH, references)
        await _listen(connection, BATCH, sender.hear)
        serving = asyncio.create_task(sender.serve())
        yield {
            pid: partial(connection.run, receive, workers=[address])
            for address, pid in (await connection.run(os.getpid)).items()
        }
        await cancel([serving])


async def test_one_that_hangs_is_left_out(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "ANSWER_TIMEOUT", TIMEOUT)
    hanging = next(iter(client.run(os.getpid).values()))

    def hang() -> None:
        if os.getpid() == hanging:
            os.kill(hanging, signal.SIGSTOP)

    wanted = Held(reading=hang)
    async with sending(client, wanted) as receive:
        left_out = asyncio.ensure_future(receive.pop(hanging)(wanted))
        try:
            await comes_true(lambda: state(hanging) == "T")
            await asyncio.gather(*(each(wanted) for each in receive.values()))
        finally:
            os.kill(hanging, signal.SIGCONT)
        with pytest.raises(MicroVMError, match="the client has sent nothing"):
            await left_out


async def test_waiting_worker_is_reminded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "ROUND", 1)
    wanted = Held(writing=partial(time.sleep, 1.5 * TIMEOUT))
    async with sending(client, wanted) as receive:
        await asyncio.gather(*(each(wanted) for each in receive.values()))


async def test_failed_export_ends_no_other_transfer(client: Client) -> None:
    wrong, right = Held(writing=partial(divmod, 1, 0), key="wrong"), Held()
    async with sending(client, wrong, right) as receive:
        for each in receive.values():
            with pytest.raises(MicroVMError, match="the client cannot send it: ZeroDivision"):
                await each(wrong)
            await each(right)
