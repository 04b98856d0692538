"""A batch: the jobs of one call of `map`, which run in machines of a Dask cluster."""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
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
from microvm.units import parse_size

if TYPE_CHECKING:
    from microvm.images import Image

# Number of jobs that are sent for each thread of a worker, so that the next job has already arrived
# when a job finishes.
_AHEAD = 2

# Setting of Dask: the size from which it warns that a job is large. With this value, it never
# warns.
_NO_LIMIT = {"distributed.admin.large-graph-warning-threshold": sys.maxsize}

_INTERVAL = 0.02  # seconds between two empty events, which `_listen` sends
_PROGRAMS = 32  # maximum number of programs whose jobs Dask shows by the program's name
_NOTICES = 1000  # maximum number of notices of all workers that the user gets

_MAX_OUTPUT = parse_size(options_of(ExecOptions)["max_output"].default_for("map") or "")
"""Default of the option `max_output`, the same as for `microvm map`."""

# Maximum time to wait until the workers have loaded the plugin `Machines`, in seconds.
_ANSWER_TIMEOUT = 10.0

# Maximum time for the workers to stop their machines at the end of a batch, in seconds.
_END_TIMEOUT = 10.0


class BatchOptions(PoolOptions, RunOptions, total=False):
    """Options of `map`, as keyword arguments: the options of its machines and of its commands."""


@document_options(BatchOptions)
async def map(  # noqa: A001 - as `Pool.map` is called
    commands: Commands,
    *,
    client: Client | None = None,
    scheduler: str = cluster.LOCAL,
    image: Image | Snapshot | str | Path | None = None,
    registry: str | None = None,
    pool: str | None = None,
    size: int | None = None,
    ordered: bool = True,
    **options: Unpack[BatchOptions],
) -> AsyncGenerator[Outcome[Any], None]:
    """Run each command in a machine of its own on a cluster, and yield its outcome.

    The outcomes are those of `Pool.map`, except that `max_output` is 16M by default. If a worker
    exits, another worker repeats its jobs, as often as Dask's setting `allowed-failures` permits.
    If a machine fails, its job is not repeated. Commands are taken as the caller asks for outcomes.
    Each worker keeps one machine ready for each of its threads, or fewer if its resource `machines`
    or its memory is smaller.

    If a worker cannot start machines, the jobs on other workers finish, and all further jobs have
    the error `NotRun`. If the connection to the scheduler is lost, each job that was sent has the
    error MicroVMError, because it may have run.

    :param commands: See `Pool.map`.
    :param client: Client of a cluster, in any event loop. A further connection to its cluster is
        made.
    :param scheduler: Address of the cluster if no client is given, such as `tcp://HOST:8786`.
        `local` or `local:N` starts a cluster on this host, with N workers, for this call.
    :param image: See `MicroVM`. A snapshot must have a name.
    :param registry: Repository `docker://HOST/REPOSITORY` from which workers download the image or
        snapshot that they lack. It is uploaded there first if necessary. By default, the client
        sends it through Dask.
    :param pool: Name of a pool. Each worker uses the pool of this name on its host, if there is one
        that fits; see `Pool.attach`.
    :param size: Maximum number of commands that are taken ahead of the outcomes that the caller has
        received. The default is twice the number of threads of the workers.
    :param ordered: See `Pool.map`.
    :raises UsageError: If an option or a command is invalid.
    :raises TypeError: If an option does not exist.
    :raises ImageError: If the image does not exist on this host.
    :raises MicroVMError: If the scheduler cannot be reached, or a worker has another version.
    """
    checked = read_options(BatchOptions, options, "map")
    batch = run_batch(commands, client or scheduler, image, registry, pool, size, ordered, checked)
    async with aclosing(batch) as outcomes:
        async for outcome in outcomes:
            yield outcome


async def run_batch(
    commands: Commands,
    cluster_at: Client | str,
    image: Image | Snapshot | str | Path | None,
    registry: str | None,
    pool: str | None,
    size: int | None,
    ordered: bool,
    options: Mapping[str, Any],
) -> AsyncGenerator[Outcome[Any], None]:
    """Run commands on a Dask cluster, like `map`.

    :param cluster_at: Client whose cluster is used, or address of the scheduler.
    :param options: Options of `BatchOptions`, which `read_options` has already checked.
    """
    running_loop("batch")
    if size is not None and size < 1:
        raise UsageError(f"the size of a batch must be at least 1, not {size}")
    repository = None if registry is None else Repository(registry)
    notify = complete_options(BatchOptions, options)["notify"]
    given = {name: value for name, value in options.items() if name in options_of(PoolOptions)}
    how = {name: value for name, value in options.items() if name not in given}
    given.pop("notify", None)
    reference: ImageReference | SnapshotReference
    if isinstance(image, Snapshot):
        reference = SnapshotReference.to(image)
    else:
        found = await readymade.find_or_build(image, notify, given.get("arch"))
        reference = ImageReference.to(found)
    async with (
        cluster.connected(cluster_at, size) as connection,
        _begun(connection, reference, repository, cast(PoolOptions, given), pool, notify) as batch,
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
    pool: str | None,
    notify: Callable[[str], None],
) -> AsyncIterator[_Batch]:
    """Context manager that lets all workers start machines from `reference`; yields a `_Batch`.

    The plugin runs the batch's jobs in machines. Workers that join later get the plugin, too.
    """
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
        await cluster.check_versions(client, notify)
        machines = worker.Machines(batch, client.id, reference, repository, machine, pool)
        tasks.append(await _registered(client, machines, notify))
        assert client.scheduler is not None  # noqa: S101 - the client is connected
        workers = (await client.scheduler.identity())["workers"].values()
        if not workers:
            notify("there is no worker in the cluster; jobs wait for one")
        offered = any(worker.RESOURCE in each["resources"] for each in workers)
        yield _Batch(client, batch, {worker.RESOURCE: 1} if offered else {})
    finally:
        await cancel(tasks)
        # Ignore errors when the plugin is removed: a worker may have exited, or may lack the
        # plugin.
        with suppress(Exception):
            async with asyncio.timeout(_END_TIMEOUT):
                await client.unregister_worker_plugin(batch)


async def _registered(
    client: Client, machines: worker.Machines, notify: Callable[[str], None]
) -> asyncio.Task[Any]:
    """Send the plugin `machines` to all workers; return the task that waits for their answers."""
    task = asyncio.ensure_future(cast(Awaitable[Any], client.register_plugin(machines)))
    await asyncio.wait([task], timeout=_ANSWER_TIMEOUT)
    if not task.done():
        notify("some workers do not answer; the others begin")
        return task
    try:
        task.result()
    except OSError as error:
        notify(f"some workers cannot be reached; the others begin: {error}")
    except MicroVMError:
        raise
    # Catch all errors, because a worker that cannot load the plugin may raise any kind of error.
    except Exception as error:
        said = f"a worker cannot load the plugin for machines: {error}"
        raise MicroVMError(said, hint=cluster.EVERYWHERE) from error
    return task


async def _listen(client: Client, topic: str, hear: Callable[[Any], None]) -> None:
    """Subscribe to a topic of Dask, and call a function with each event of the topic.

    Dask does not report when a subscription is active, so this sends empty events until one
    arrives.
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
    """A batch of jobs on a cluster whose workers have the plugin `Machines`, which runs the jobs.

    :param resources: Resources that a worker needs to run a job.
    """

    def __init__(self, client: Client, name: str, resources: dict[str, int]) -> None:
        self._client = client
        self._name = name
        self._resources = resources
        self._numbers = itertools.count(1)
        self._programs: set[str] = set()

    def room(self) -> int:
        """Return the maximum number of jobs that are sent to the cluster at the same time."""
        return max(1, _AHEAD * int(self._client.scheduler_info()["total_threads"]))

    async def run(self, job: Job, options: RunOptions) -> Outcome[Any]:
        """Run a job on a worker of the cluster, and return its outcome."""
        begun = time.monotonic()
        merged = {"max_output": _MAX_OUTPUT, **options, **job.options}
        if merged.get("capture_output") is False:
            raise UsageError(
                "capture_output: output on a worker cannot be seen, so it must be captured"
            )
        sent = job._with_options(merged)
        key = f"{self._label(job)}-{self._name}-{next(self._numbers)}"
        with config.set(_NO_LIMIT):
            task = self._client.submit(
                worker.run,
                self._name,
                key,
                sent,
                key=key,
                resources=self._resources,
                # Give earlier jobs a higher priority. By default, Dask gives the same priority to
                # all jobs that are submitted within a tenth of a second.
                fifo_timeout=0,
                pure=False,
            )
        try:
            result = await task
        except KilledWorker as error:
            lost = MachineError(
                f"{error.allowed_failures + 1} workers exited while they ran the job",
                hint="see their logs; Dask's setting allowed-failures limits the repetitions",
            )
            return Outcome(job, time.monotonic() - begun, error=lost)
        except FutureCancelledError as error:
            raise MicroVMError(f"Dask has cancelled the batch: {error.reason}") from error
        except Exception as error:  # for example, the job or its result cannot be unpickled
            raise MicroVMError(f"Dask cannot run {key}: {error}") from error
        finally:
            task.release()  # this also cancels the task if it still runs
        if isinstance(result, MicroVMError):
            raise NotRun(result)
        if isinstance(result, Exception):
            raise result
        if not isinstance(result, Outcome):
            raise MicroVMError(f"the worker of {key} has sent an invalid outcome")
        return replace(result, job=job)

    def _label(self, job: Job) -> str:
        """Return the name under which Dask shows a job: `microvm_PROGRAM`, or `microvm`.

        Dask never forgets a name, so the number of names is limited.
        """
        argv = ["sh"] if isinstance(job.argv, str | bytes) else job.argv
        path = to_bytes(argv[0]) if argv else b""
        program = re.sub(rb"[^\w.]", b"", path.rpartition(b"/")[2])[:32].decode()
        if len(self._programs) < _PROGRAMS:
            self._programs.add(program)
        return f"microvm_{program}" if program in self._programs else "microvm"
