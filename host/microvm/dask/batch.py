"""A batch: jobs for the machines of a Dask cluster, and their outcomes."""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from dask import config
from distributed import Client, KilledWorker
from distributed.client import FutureCancelledError

from microvm.concurrency.tasks import cancel, running_loop
from microvm.concurrency.threads import in_stoppable_thread
from microvm.dask import cluster, worker
from microvm.dask.reference import ImageReference, SnapshotReference
from microvm.dask.repository import Repository
from microvm.dask.transfer import Sender
from microvm.errors import MachineError, MicroVMError, NotRun, UsageError
from microvm.images import readymade
from microvm.jobs.job import Commands, Job, Outcome, jobs
from microvm.jobs.spread import spread
from microvm.machine.snapshot import Snapshot
from microvm.option import complete_options, document_options, options_of, read_options
from microvm.options import ExecOptions, PoolOptions, RunOptions, to_bytes
from microvm.progress import NoticeReporter

if TYPE_CHECKING:
    from microvm.images import Image

# Jobs that are under way for each thread of a worker: the next one is there when one has ended.
_AHEAD = 2

# Of the bytes of a job, above which Dask warns.
_NO_LIMIT = {"distributed.admin.large-graph-warning-threshold": sys.maxsize}

_INTERVAL = 0.02  # between two events of our own, in seconds

_PROGRAMS = 32  # that Dask shows by their names
_NOTICES = 1000  # that a user is told, of all workers

_MAX_OUTPUT = options_of(ExecOptions)["max_output"].default_for("map")
"""What an outcome holds where nobody says otherwise: as for `microvm map`."""

# How long workers have to say that they can have machines, in seconds.
_ANSWER_TIMEOUT = 10.0

# How long the workers have to end their machines when a batch ends, in seconds.
_END_TIMEOUT = 10.0


class BatchOptions(PoolOptions, RunOptions, total=False):
    """Keyword arguments of `map`: those of `Pool`, and those of its `map`."""


@document_options(BatchOptions)
async def map(  # noqa: A001 - as `Pool.map` is called
    commands: Commands,
    *,
    client: Client | None = None,
    scheduler: str = cluster.LOCAL,
    image: Image | Snapshot | str | Path | None = None,
    registry: str | None = None,
    size: int | None = None,
    ordered: bool = True,
    **options: Unpack[BatchOptions],
) -> AsyncGenerator[Outcome[Any], None]:
    """Run each command in a machine of its own on a cluster, and yield its outcome.

    Outcomes are those of `Pool.map`, but that `max_output` is 16M where nothing else is said. A job
    whose worker dies is run by another one, as often as the scheduler's `allowed-failures` says;
    one whose machine dies is not run again. Commands are taken as outcomes are asked for. Each
    worker has machines that wait, as many as it has threads, or fewer where its resource `machines`
    or its memory says so.

    If a worker cannot start machines, even after repeated attempts, the jobs on other workers
    finish, and all others have the error `NotRun`. If the connection to the scheduler is lost, each
    job that was sent to it has a `MicroVMError`, since the job may have run.

    :param commands: see `Pool.map`.
    :param client: a client of a cluster, of whatever loop, to which another connection is made.
    :param scheduler: the address of the cluster, where there is no client: `tcp://HOST:8786`; or
        `local`, or `local:N` for N workers, for a cluster on this machine that ends with this.
    :param image: see `MicroVM`; workers have to have it, or the snapshot, which needs a name.
    :param registry: `docker://HOST/REPOSITORY`, which workers get it from where they have not got
        it, and where it is put first if it is not there; by default the client sends it by Dask.
    :param size: how many commands there are at most that have been taken and whose outcome has not
        been asked for; by default twice as many as the workers have threads.
    :param ordered: see `Pool.map`.
    :raises UsageError: an option or a command cannot be.
    :raises ImageError: there is no such image here.
    :raises MicroVMError: the scheduler cannot be reached, or a worker has another microvm.
    """
    running_loop("batch")
    if size is not None and size < 1:
        raise UsageError(f"a batch needs room for at least one job, not {size}")
    repository = None if registry is None else Repository(registry)
    checked = read_options(BatchOptions, options, "map")
    notify = complete_options(BatchOptions, checked)["notify"]
    given = {name: value for name, value in checked.items() if name in options_of(PoolOptions)}
    how = {name: value for name, value in checked.items() if name not in given}
    given.pop("notify", None)
    reference: ImageReference | SnapshotReference
    if isinstance(image, Snapshot):
        reference = SnapshotReference.to(image)
    else:
        reference = ImageReference.to(await readymade.find_or_build(image, notify))
    async with (
        cluster.connected(client or scheduler, size) as connection,
        _begun(connection, reference, repository, cast(PoolOptions, given), notify) as batch,
    ):
        outcomes = spread(
            jobs(commands),
            lambda job: batch.run(job, cast(RunOptions, how)),
            room=lambda: size or batch.room(),
            ordered=ordered,
            spawn=asyncio.create_task,
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome


@asynccontextmanager
async def _begun(
    client: Client,
    reference: ImageReference | SnapshotReference,
    repository: Repository | None,
    machine: PoolOptions,
    notify: Callable[[str], None],
) -> AsyncIterator[_Batch]:
    """Have all workers, also those to come, begin with machines, which end with the block."""
    if repository is not None:
        loop = asyncio.get_running_loop()
        report = NoticeReporter(lambda text: loop.call_soon_threadsafe(notify, text))
        for part in reference.parts:
            await in_stoppable_thread(repository.offer, part, report)
    batch = uuid.uuid4().hex[:12]
    told: set[str] = set()
    sender = Sender(client, batch, reference.parts)

    def hear(said: Any) -> None:
        if not isinstance(said, str):
            sender.hear(said)
        elif said not in told and len(told) < _NOTICES:
            told.add(said)
            notify(said)

    await _listen(client, batch, hear)
    tasks = [asyncio.create_task(sender.serve())]
    try:
        await cluster.check_versions(client)
        machines = worker.Machines(batch, client.id, reference, repository, machine)
        tasks.append(await _registered(client, machines, notify))
        assert client.scheduler is not None  # noqa: S101 - it is connected
        workers = (await client.scheduler.identity())["workers"].values()
        if not workers:
            notify("there is no worker in the cluster; jobs wait for one")
        offered = any(worker.RESOURCE in each["resources"] for each in workers)
        yield _Batch(client, batch, {worker.RESOURCE: 1} if offered else {})
    finally:
        await cancel(tasks)
        with suppress(Exception):  # of workers that have not got it, and of those that are gone
            async with asyncio.timeout(_END_TIMEOUT):
                await client.unregister_worker_plugin(batch)


async def _registered(
    client: Client, machines: worker.Machines, notify: Callable[[str], None]
) -> asyncio.Task[Any]:
    """Give machines to the workers; return the task that waits for one which does not answer.

    :raises MicroVMError: a worker cannot take them.
    """
    task = asyncio.ensure_future(cast(Awaitable[Any], client.register_plugin(machines)))
    await asyncio.wait([task], timeout=_ANSWER_TIMEOUT)
    if not task.done():
        notify("there are workers that do not answer; the others begin")
        return task
    try:
        task.result()
    except OSError as error:
        notify(f"there are workers that cannot be reached; the others begin: {error}")
    except MicroVMError:
        raise
    except Exception as error:  # whatever it is that a worker fails to load
        said = f"a worker cannot take machines: {error}"
        raise MicroVMError(said, hint=cluster.EVERYWHERE) from error
    return task


async def _listen(client: Client, topic: str, hear: Callable[[Any], None]) -> None:
    """Have what a topic's events say heard from now on.

    Dask does not tell when it has subscribed; an event of our own that is heard does.
    """
    listening = asyncio.Event()

    def handle(event: tuple[float, Any]) -> None:
        _, said = event
        if said is None:
            listening.set()
        else:
            hear(said)

    client.subscribe_topic(topic, handle)
    while not listening.is_set():
        await client.log_event(topic, None)
        with suppress(TimeoutError):
            async with asyncio.timeout(_INTERVAL):
                await listening.wait()


class _Batch:
    """A batch whose machines are there.

    :param name: in the keys of its tasks.
    :param resources: what a worker has to have to be given a job.
    """

    def __init__(self, client: Client, name: str, resources: dict[str, int]) -> None:
        self._client = client
        self._name = name
        self._resources = resources
        self._numbers = itertools.count(1)
        self._programs: set[str] = set()

    def room(self) -> int:
        """How many jobs may be under way."""
        return max(1, _AHEAD * int(self._client.scheduler_info()["total_threads"]))

    async def run(self, job: Job, options: RunOptions) -> Outcome[Any]:
        """Run a job on a worker.

        :raises UsageError: the job does not capture its output.
        :raises NotRun: no machine could be started for the job.
        :raises MicroVMError: the scheduler no longer answers, or another client has cancelled the
            job.
        """
        begun = time.monotonic()
        merged: Any = {"max_output": _MAX_OUTPUT, **options, **job.options}
        if merged.get("capture_output") is False:
            raise UsageError("capture_output: what a worker does not capture, nobody sees")
        sent = Job(job.argv, files=job.files, collect=job.collect, **merged)
        key = f"{self._label(job)}-{self._name}-{next(self._numbers)}"
        with config.set(_NO_LIMIT):
            task = self._client.submit(
                worker.run,
                self._name,
                key,
                sent,
                key=key,
                resources=self._resources,
                fifo_timeout=0,  # else those that come within 100 ms have one priority
                pure=False,
            )
        try:
            result = await task
        except KilledWorker as error:
            lost = MachineError(
                f"{error.allowed_failures + 1} workers have died while they ran it",
                hint="their logs may say why; Dask's allowed-failures says how many may",
            )
            return Outcome(job, time.monotonic() - begun, error=lost)
        except FutureCancelledError as error:
            raise MicroVMError(f"Dask has cancelled the batch: {error.reason}") from error
        except Exception as error:  # whatever of ours a worker fails to load, or we of its own
            raise MicroVMError(f"Dask cannot run {key}: {error}") from error
        finally:
            task.release()  # which ends it, too, if it runs
        if isinstance(result, MicroVMError):
            raise NotRun(result)
        if isinstance(result, Exception):
            raise result
        if not isinstance(result, Outcome):
            raise MicroVMError(f"the worker of {key} has sent what is no outcome")
        return replace(result, job=job)

    def _label(self, job: Job) -> str:
        """Return what Dask shows of a job; it remembers each for ever, so there are few."""
        path = to_bytes(job.argv[0]) if job.argv else b""
        program = re.sub(rb"[^\w.]", b"", path.rpartition(b"/")[2])[:32].decode()
        if len(self._programs) < _PROGRAMS:
            self._programs.add(program)
        return f"microvm_{program}" if program in self._programs else "microvm"
