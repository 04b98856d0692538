"""Test that finished jobs leave no memory in client, scheduler and workers."""

from __future__ import annotations

import pytest

from .scale import stubbed

JOBS = 2000
ROOM = 8


@pytest.mark.alone
async def test_jobs_leave_nothing_behind() -> None:
    samples = [each async for each in stubbed(JOBS, workers=2, threads=ROOM // 4, every=JOBS // 4)]
    assert [each.jobs for each in samples] == [0, 500, 1000, 1500, JOBS]
    assert all(number <= 2 * ROOM for each in samples for number in each.left.values())
    left = samples[-1].left
    assert (left["futures"], left["tasks"], left["notes"]) == (0, 0, 0)
