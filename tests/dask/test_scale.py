"""A batch of very many jobs; there are no machines, so that nothing but its own costs are left."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from distributed import Client, Worker
from tests.support.processes import memory

import microvm.dask
from microvm import CompletedProcess, Job, Outcome
from microvm.dask import worker
from microvm_image import Image

MOST_GROWTH = 32 << 10  # KiB


class NoMachines(worker.Machines):
    """What runs no job, and says that it has."""

    async def setup(self, worker: Worker) -> None:
        """Prepare nothing."""

    async def teardown(self, worker: Worker) -> None:
        """End nothing."""

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Follow nothing."""

    def run(self, key: str, job: Job) -> Outcome[bytes]:
        """Return the outcome of `true`."""
        return Outcome(Job(()), 0.0, CompletedProcess(job.argv, 0, b"", b""))


@pytest.mark.long
@pytest.mark.deadline(6 * 3600.0)
async def test_a_million_jobs_take_no_more_memory_than_a_few(
    client: Client, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "Machines", NoMachines)
    jobs, done, before = 1_000_000, 0, 0
    begun = time.monotonic()
    commands = (["true"] for _ in range(jobs))
    async for outcome in microvm.dask.map(commands, client=client, image=image, size=64):
        assert outcome.result().returncode == 0
        done += 1
        if done % (jobs // 20) == 0:  # client and scheduler are both in this process
            seen = memory(os.getpid())
            before = before or seen
            print(f"{done} jobs, {done / (time.monotonic() - begun):.0f}/s, {seen >> 10} MiB")
            assert seen < before + MOST_GROWTH
    assert done == jobs
