"""The clusters that run batches: an existing cluster, or a temporary one on this host."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from dask import config
from distributed import Client, LocalCluster, Security
from distributed.versions import get_versions

from microvm._version import DISTRIBUTION
from microvm.dask.transfer import ask
from microvm.dask.worker import RESOURCE
from microvm.errors import MicroVMError, UsageError
from microvm.system import private
from microvm.system.capacity import usable_cpus

LOCAL = "local"
"""Name of the default scheduler: a temporary cluster on this host. `local:N` has N workers."""

EVERYWHERE = "install the same microvm, with its extra dask, on all workers and here"
"""Hint for a worker that lacks microvm or has another version."""

# Settings of Dask for a temporary cluster. Every user of this host could read Dask's dashboard, so
# the dashboard is off, and so are the measurements that only the dashboard shows. On a busy host,
# the restart of a worker may take longer than 15 s, after which Dask gives up by default. So the
# limit is a day.
_SETTINGS: dict[str, object] = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.deploy.lost-worker-timeout": "1 day",
}

# By default, Dask keeps the last 1,000 messages of each connection in memory. They contain whole
# jobs, so we keep fewer.
_FEW = {"distributed.admin.low-level-log-length": 100}

_ANSWER_TIMEOUT = 10.0  # maximum time for the answer of a scheduler or a worker, in seconds


@asynccontextmanager
async def connected(scheduler: str | Client, machines: int | None) -> AsyncIterator[Client]:
    """Context manager that connects to a cluster, or starts one for `machines` machines.

    A temporary cluster stops after the block.

    :param scheduler: Address, `local` or `local:N`, or a client whose cluster is used.
    :raises UsageError: If the address is invalid.
    :raises MicroVMError: If the scheduler cannot be reached.
    """
    if isinstance(scheduler, Client):
        # Use the address to which the caller's client has connected. If this client uses a tunnel,
        # the scheduler's own address may be unreachable.
        reached = scheduler.scheduler
        if reached is None or reached.address is None:
            raise UsageError(
                "the client is not connected", hint="use it inside of its `with` block"
            )
        async with _client(reached.address, scheduler.security) as client:
            yield client
    elif (workers := _local(scheduler)) is not None:
        async with (
            _local_cluster(workers, machines) as local,
            _client(local.scheduler_address, local.security) as client,
        ):
            yield client
    else:
        async with _client(scheduler, None) as client:
            yield client


@asynccontextmanager
async def _local_cluster(workers: int, machines: int | None) -> AsyncIterator[LocalCluster]:
    """Context manager that runs a cluster of `workers` processes, which only this user can use.

    :param machines: Number of machines of all workers, which is rounded up to a multiple of
        `workers`. The default is the number of CPUs.
    """
    with ExitStack() as stack:
        # By default, Dask imports modules from a folder with a fixed name in TMPDIR, even if
        # another user has created this folder. So give Dask a private folder.
        folder = stack.enter_context(private.temporary())
        stack.enter_context(config.set(_SETTINGS | _FEW | {"temporary-directory": folder}))
        # Every client of a scheduler can execute programs on its workers. So connections use TLS
        # with keys that are created for this cluster and that other users do not have.
        local = LocalCluster(
            n_workers=workers,
            threads_per_worker=-(-(machines or usable_cpus()) // workers),
            security=True,
            dashboard_address="127.0.0.1:0",
            # switch off the dashboard, which Dask serves by default if bokeh is installed
            scheduler_kwargs={"dashboard": False},
            silence_logs=logging.CRITICAL,
            asynchronous=True,
        )
        async with local:
            yield local


async def check_versions(client: Client, notify: Callable[[str], None]) -> None:
    """Check that the workers have the same version of microvm as this process.

    :param notify: Function that gets a notice with the addresses of the workers that do not answer
        in time.
    :raises MicroVMError: If a worker has another version.
    """
    assert client.scheduler is not None  # noqa: S101 - the client is connected
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT):
            workers = (await client.scheduler.identity())["workers"]
    except TimeoutError:
        notify("no answer from the scheduler: the versions of microvm on the workers are unknown")
        return
    question = {"op": "versions", "packages": [DISTRIBUTION]}
    # A single broadcast to all workers would return no answer until the slowest worker has
    # answered. So ask each worker separately.
    answers = await asyncio.gather(
        *(ask(client, address, question, _ANSWER_TIMEOUT) for address in workers)
    )
    found = dict(zip(workers, answers, strict=True))
    if silent := [address for address, answer in found.items() if answer is None]:
        notify(f"no answer from {', '.join(silent)}: the version of microvm there is unknown")
    ours = get_versions(packages=[DISTRIBUTION])["packages"][DISTRIBUTION]
    for address, answer in found.items():
        version = answer and answer["packages"][DISTRIBUTION]
        if ours and version and ours != version:
            said = f"worker {address} has microvm {version}, but this process has {ours}"
            raise MicroVMError(said, hint=EVERYWHERE)


async def shape(client: Client) -> str:
    """Return a text with the number of workers and machines of a cluster."""
    assert client.scheduler is not None  # noqa: S101 - the client is connected
    workers = list((await client.scheduler.identity())["workers"].values())
    with_machines = [each for each in workers if RESOURCE in each["resources"]] or workers
    machines = sum(
        min(each["nthreads"], int(each["resources"].get(RESOURCE, each["nthreads"])))
        for each in with_machines
    )
    return f"workers: {len(with_machines)}, machines: {machines} at most"


def _local(scheduler: str) -> int | None:
    """Return the number of workers if `scheduler` is `local` or `local:N`; None for an address."""
    if scheduler == LOCAL:
        return usable_cpus()
    if match := re.fullmatch(rf"{LOCAL}:([1-9][0-9]{{0,3}})", scheduler):
        return int(match[1])
    if "://" in scheduler:
        return None
    raise UsageError(
        f"not a scheduler: {scheduler!r}",
        hint=f"tcp://HOST:8786, tls://HOST:8786, {LOCAL}, or {LOCAL}:N for N workers here",
    )


class Connection(Client):
    """A client of Dask whose finished tasks use no memory in the scheduler."""

    # Send no metadata with each `submit`, because the scheduler would keep it for ever.
    def _graph_to_futures(self, *arguments: Any, **options: Any) -> Any:
        return super()._graph_to_futures(
            *arguments, **options | {"span_metadata": {"collections": []}}
        )


@asynccontextmanager
async def _client(address: str, security: Security | None) -> AsyncIterator[Client]:
    client = Connection(address, security=security, timeout=_ANSWER_TIMEOUT, asynchronous=True)
    try:
        try:
            with config.set(_FEW):
                # A server that is not a scheduler may never answer, so we limit the time.
                async with asyncio.timeout(2 * _ANSWER_TIMEOUT):
                    await client
        except (
            OSError,
            ValueError,
            TypeError,
        ) as error:  # a TypeError if the keys for TLS are missing
            hint = (
                "`dask scheduler` prints its address when it starts; for TLS, see Dask's settings"
            )
            said = f"cannot reach the scheduler {address}: {str(error) or 'it does not answer'}"
            raise MicroVMError(said, hint=hint) from error
        yield client
    finally:
        await client.close()
