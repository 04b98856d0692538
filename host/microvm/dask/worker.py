"""The machines of a batch of jobs on one worker: a plugin of Dask, and the task that runs a job."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from copy import copy
from dataclasses import replace
from typing import Any, TypeVar, cast

from distributed import Reschedule, Worker, WorkerPlugin, get_worker

from microvm import cache
from microvm.cache import lock
from microvm.concurrency.loop import BackgroundLoop
from microvm.concurrency.threads import in_stoppable_thread, in_thread
from microvm.dask.reference import ImageReference, Reference, SnapshotReference
from microvm.dask.repository import Repository
from microvm.dask.transfer import Receiver
from microvm.errors import MicroVMError
from microvm.images import Image
from microvm.jobs.job import Job, Outcome, carry_out
from microvm.jobs.machine_pool import MachinePool
from microvm.jobs.pool import Pool
from microvm.log import Area
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.options import PoolOptions
from microvm.printable import printable
from microvm.progress import NoticeReporter
from microvm.supervisor.client.attached_pool import AttachedPool
from microvm.supervisor.client.pool_fit import check_fit

T = TypeVar("T")

_logger = Area("start")

RESOURCE = "machines"
"""Resource of a worker that limits its machines, as in `dask worker --resources machines=N`."""

IDLE = 60.0
"""Time that machines wait for the next job before they stop, in seconds. If a client is killed, its
machines stop after this time, too."""

# Maximum time for the machines to stop when a worker closes, in seconds. Machines that have not
# stopped by then are killed when the worker's process exits.
_END_TIMEOUT = 10.0

# Maximum time that a job waits until the plugin `Machines` has arrived, and the time between two
# checks whether it has, in seconds. Dask sends the plugin separately, so the plugin may arrive some
# seconds after the first job.
_ARRIVAL, _INTERVAL = 10.0, 0.05

_NO_JOB = Job(())


class Machines(WorkerPlugin):
    """The machines of a batch of jobs on one worker: a pool, in an event loop in its own thread.

    QEMU is killed when the thread that started it exits, so it cannot be started in a thread of
    Dask.
    """

    def __init__(
        self,
        batch: str,
        client: str,
        reference: ImageReference | SnapshotReference,
        repository: Repository | None,
        options: PoolOptions,
        pool: str | None,
    ) -> None:
        """Store the arguments. Dask sends this object to the workers, where `setup` is called.

        :param batch: Name of the batch, and of the topic of its notices.
        :param repository: Repository to download missing images from. None asks the client.
        :param options: Options of the machines, without `notify`. Notices are sent as events.
        :param pool: Name of a pool on the worker's host, whose machines are used if they fit.
        """
        self.name = batch
        self._reference = reference
        self._repository = repository
        self._options = options
        self._client = client
        self._pool_name = pool

    async def setup(self, worker: Worker) -> None:
        """Prepare this worker for jobs. The first job starts machines."""
        self._worker = worker
        self._lock = threading.Lock()
        # Running jobs, by the keys of their tasks in Dask.
        self._jobs: dict[str, asyncio.Task[Any] | None] = {}
        self._busy = 0
        self._pool: MachinePool | None = None
        self._last_use: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._receiver = Receiver(worker, self.name)
        self._loop = BackgroundLoop(self._end, lambda: "", "batch")
        self._found: asyncio.Future[Image | Snapshot] | None = None

    async def teardown(self, worker: Worker) -> None:
        """Stop the machines when the worker closes. Other workers repeat the interrupted jobs."""
        del worker
        self._receiver.close()
        with self._lock:
            self._jobs.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_TIMEOUT):
                await in_thread(self._loop.close)

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Follow the state of a job in Dask, and stop a running job when Dask cancels it."""
        if f"-{self.name}-" not in str(key):
            return
        with self._lock:
            if finish == "executing":
                self._jobs[key] = None
            elif start == "executing" and (task := self._jobs.pop(key, None)) is not None:
                with suppress(RuntimeError):  # ignore the error if the event loop is closed
                    task.get_loop().call_soon_threadsafe(task.cancel)

    def run(self, key: str, job: Job) -> Outcome[Any] | Exception:
        """Run a job in a machine of its own, in a thread of the worker.

        An error is returned as a result, because Dask would write a raised error with the whole job
        to its log.

        :raises Reschedule: If the job was cancelled, or the worker is closing.
        """
        result: Outcome[Any] | Exception
        try:
            result = replace(self._loop.run(self._carry_out(key, job)), job=_NO_JOB)
        except MicroVMError as error:
            result = copy(error)  # copy the error, because other jobs get the same object
            result.message = f"worker {self._worker.address}: {error.message}"
        except Exception as error:
            result = error
        with self._lock:
            if key not in self._jobs:
                raise Reschedule
        return result

    async def _carry_out(self, key: str, job: Job) -> Outcome[Any]:
        with self._lock:
            if key not in self._jobs:
                raise asyncio.CancelledError
            self._jobs[key] = asyncio.current_task()
        pool = await self._begin()
        self._busy += 1
        try:
            async with pool.machine() as vm:
                return await carry_out(vm, job, {})
        finally:
            self._busy -= 1
            self._wait_for_next()

    async def _begin(self) -> MachinePool:
        """Return the worker's pool of machines, and start the pool if necessary."""
        if self._found is None:
            self._found = asyncio.ensure_future(in_stoppable_thread(self._find))
        found = self._found
        try:
            self._start = await asyncio.shield(found)
        except MicroVMError:
            if self._found is found:
                self._found = None  # let the next job look for the image again
            raise
        if self._pool is None:
            options: PoolOptions = {**self._options, "notify": self._notify}
            self._pool = self._attached() or Pool(self._size(), self._start, **options)
            await self._pool.__aenter__()
            self._wait_for_next()
        return self._pool

    def _attached(self) -> AttachedPool | None:
        """Attach to the named pool of this host. Return None if there is none that fits."""
        if self._pool_name is None:
            return None
        start = self._start
        image, snapshot = (None, start.name) if isinstance(start, Snapshot) else (start, None)
        try:
            found = AttachedPool(self._pool_name, self._size(), self._notify)
            check_fit(found.facts, self._options, image, snapshot)
        except (MicroVMError, OSError) as error:
            _logger.info("pool %s is not used: %s", printable(self._pool_name), error)
            return None
        return found

    def _wait_for_next(self) -> None:
        """Stop the pool of machines after `IDLE` seconds, unless another job arrives before."""
        if self._last_use is not None:
            self._last_use.cancel()
        self._last_use = asyncio.get_running_loop().call_later(IDLE, self._end_idle)

    def _end_idle(self) -> None:
        if not self._busy and self._pool is not None:
            # This pool is stopped now. Forget it, so that the next job starts a new pool.
            pool, self._pool = self._pool, None
            self._ending = asyncio.ensure_future(pool.__aexit__())
            self._worker.loop.add_callback(self._leave)

    async def _leave(self) -> None:
        """If the client exited without removing this plugin from the scheduler, remove it."""
        scheduler = self._worker.scheduler
        events = await scheduler.events(topic=self._client)
        if any(event.get("action") == "remove-client" for _, event in events):
            with suppress(ValueError):  # ignore the error if another worker has removed the plugin
                await scheduler.unregister_worker_plugin(name=self.name)

    async def _end(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.__aexit__()

    def _size(self) -> int:
        """Return the number of machines for which this worker has enough threads and memory."""
        state = self._worker.state
        size: int = state.nthreads
        offered = state.total_resources.get(RESOURCE)
        memory = self._worker.memory_manager.memory_limit
        if offered is not None:
            size = min(size, int(offered))
        elif memory:
            size = min(size, memory // MicroVM(self._start, **self._options).memory)
        return max(1, size)

    def _find(self) -> Image | Snapshot:
        """Return the batch's image or snapshot; a snapshot's image if the snapshot is unusable."""
        reference = self._reference
        if isinstance(reference, ImageReference):
            return self._have(reference)
        image = self._have(reference.image)
        if obstacle := reference.obstacle():
            made = reference.manifest.origin
            same = {"memory": made.memory << 20, "cpus": made.cpus, "disk": made.scratch}
            self._options = cast(PoolOptions, {**self._options, **same})
            self._notify(f"{obstacle}; booting its image instead")
            return image
        return self._have(reference)

    def _have(self, reference: Reference[T]) -> T:
        """Return this host's copy of an image or snapshot. If there is none, receive a copy.

        A lock ensures that only one worker of the host receives it.
        """
        found = reference.find()
        if found is None:
            path = cache.folder("downloads") / reference.key[:16]
            report = NoticeReporter(lambda text: self._notify(f"{reference}: {text}"))
            with lock.held(path, report):
                if (found := reference.find()) is None:
                    self._notify(f"has no {reference}: receiving it")
                    (self._repository or self._receiver).receive(reference)
                    found = reference.find()
        if found is None:
            raise MicroVMError(f"{reference} is gone again")
        return found

    def _notify(self, text: str) -> None:
        said = f"worker {self._worker.address}: {text}"
        self._worker.loop.add_callback(self._worker.log_event, self.name, said)


def run(batch: str, key: str, job: Job) -> Outcome[Any] | Exception:
    """Run a job, the Dask task `key`, in this worker's machines for `batch`; see `Machines.run`."""
    worker, end = get_worker(), time.monotonic() + _ARRIVAL
    while not isinstance(machines := worker.plugins.get(batch), Machines):
        if time.monotonic() > end:
            return MicroVMError(
                f"worker {worker.address} has not received the machines of the batch"
            )
        time.sleep(_INTERVAL)
    return machines.run(key, job)
