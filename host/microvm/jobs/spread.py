"""Runs jobs at the same time. Takes the next job from an iterator when a machine is free."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from microvm.concurrency.tasks import cancel
from microvm.errors import MicroVMError, NotRun, UsageError
from microvm.jobs.job import Job, Outcome

T = TypeVar("T")


async def spread(
    source: AsyncGenerator[Job, None],
    run: Callable[[Job], Coroutine[Any, Any, Outcome[Any]]],
    *,
    room: Callable[[], int],
    ordered: bool,
    spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
) -> AsyncGenerator[Outcome[Any], None]:
    """Run the jobs of `source` in tasks from `spawn`, at most `room()` at once; yield outcomes.

    If `run` raises an error, the error is the outcome of that job. Later jobs are not run, and
    their outcome is `NotRun`. This generator itself raises a UsageError of `run` at once, and an
    error of the iterator after the outcomes of all jobs.

    :param source: Iterator that is asked for one job at a time, and is closed at the end.
    :param room: Function that returns the maximum number of jobs that have been taken from the
        iterator and whose outcomes the caller has not received yet.
    :param ordered: True to yield outcomes in the order of the jobs, False to yield them as jobs
        finish.
    :param spawn: Function that creates a task for a coroutine.
    """
    running: OrderedDict[asyncio.Task[Outcome[Any]], None] = OrderedDict()
    done: deque[asyncio.Task[Outcome[Any]]] = deque()  # in the order in which the jobs finished
    pull: asyncio.Task[Job | None] | None = None
    more, failure = True, None
    moved = asyncio.Event()
    ended_by: MicroVMError | None = None

    async def outcome(job: Job) -> Outcome[Any]:
        nonlocal ended_by
        if ended_by is not None:
            return Outcome(job, 0.0, error=NotRun(ended_by))
        try:
            return await run(job)
        except UsageError:
            raise
        except MicroVMError as error:
            ended_by = ended_by or (error.reason if isinstance(error, NotRun) else error)
            return Outcome(job, 0.0, error=error)

    def begin(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = spawn(coroutine)
        task.add_done_callback(lambda _: moved.set())
        return task

    def next_done() -> asyncio.Task[Outcome[Any]] | None:
        if not ordered:
            return done.popleft() if done else None
        first = next(iter(running), None)
        return first if first is not None and first.done() else None

    try:
        while True:
            if more and pull is None and len(running) < room():
                pull = begin(_next(source))
            if pull is not None and pull.done():
                failure = pull.exception()
                job = None if failure else pull.result()
                more, pull = job is not None, None
                if job is not None:
                    task = begin(outcome(job))
                    running[task] = None
                    if not ordered:
                        task.add_done_callback(done.append)
            elif (ended := next_done()) is not None:
                del running[ended]
                yield ended.result()
            elif pull is None and not running:
                break
            else:
                moved.clear()
                await moved.wait()
        if failure is not None:
            raise failure
    finally:
        await cancel([*running, *([pull] if pull else [])])
        await source.aclose()


async def _next(source: AsyncGenerator[Job, None]) -> Job | None:
    return await anext(source, None)
