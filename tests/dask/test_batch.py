"""Tests of batches on a cluster with real machines."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Future, Worker
from tests.support.polling import comes_true, eventually
from tests.support.processes import exists

import microvm.dask.sync
from microvm import (
    ExecTimeout,
    GuestDied,
    Job,
    MicroVMError,
    NotRun,
    Outcome,
    Pool,
    UsageError,
)
from microvm.dask import cluster, worker
from microvm.images import Image
from microvm.jobs import lease as leases
from microvm.start import retry
from microvm.start.warmup import Run, warm_up

from .conftest import VARIABLE, machines

Command = Callable[..., bytes]

pytestmark = pytest.mark.usefixtures("_nothing_left")

JOBS: list[Job | list[str]] = [
    Job(["sh", "-c", "echo $A; cat in; echo gone >out"], files={"in": "read"}, collect=["out"]),
    Job(["sleep", "60"], timeout=0.2),
    Job(["wc", "-c"], input=bytes(11 << 20), env={"A": "2"}),
    ["nonexistent"],
    ["sh", "-c", "kill -9 $$"],
    ["uname"],
    Job(["false"], check=True),
]


def comparable(outcome: Outcome[Any]) -> object:
    """Return the parts of a job's result that are equal in every run."""
    shown = type(outcome.error), str(outcome.error), outcome.completed, dict(outcome.files)
    return outcome.job, *shown


@pytest.mark.thorough
async def test_outcomes_are_those_of_a_pool(client: Client, image: Image) -> None:
    async with Pool(2, image) as pool:
        ours = [each async for each in pool.map(JOBS, env={"A": "1"})]
    batch = microvm.dask.map(JOBS, client=client, image=image, env={"A": "1"})
    theirs = [each async for each in batch]
    assert [comparable(each) for each in theirs] == [comparable(each) for each in ours]
    assert isinstance(theirs[1].error, ExecTimeout)
    assert theirs[0].job is JOBS[0]


@pytest.mark.thorough
def test_synchronous_batch_reads_commands_on_demand(client: Client) -> None:
    taken = []

    def endless() -> Iterator[list[str]]:
        for number in itertools.count():
            taken.append(number)
            yield ["echo", str(number)]

    for asked, outcome in enumerate(microvm.dask.sync.map(endless(), client=client, size=3)):
        assert outcome.result().stdout == f"{asked}\n".encode()
        assert len(taken) <= asked + 4
        if asked == 5:
            break


@pytest.mark.thorough
async def test_a_worker_that_dies_costs_no_outcome(client: Client) -> None:
    jobs = [["sh", "-c", f"sleep 0.3; echo {number}"] for number in range(6)]
    shown = []
    async for outcome in microvm.dask.map(jobs, client=client, ordered=False, text=True):
        shown.append(int(outcome.result().stdout))
        if len(shown) == 2:
            address, pid = next(iter(client.run(os.getpid).items()))
            await comes_true(lambda: all(machines(client).values()))
            orphans = machines(client)[address]
            os.kill(pid, signal.SIGKILL)
    assert sorted(shown) == list(range(6))
    eventually(lambda: not any(map(exists, orphans)))


@pytest.mark.thorough
async def test_a_worker_that_retires_gives_its_jobs_to_others(client: Client) -> None:
    jobs = [["sh", "-c", "sleep 1; echo $0", str(number)] for number in range(4)]
    outcomes = microvm.dask.map(jobs, client=client, text=True)
    first = asyncio.create_task(anext(outcomes))
    await comes_true(lambda: any(machines(client).values()))
    await asyncio.to_thread(client.restart_workers, list(client.processing())[:1])
    assert (await first).result().stdout == "0\n"
    assert [each.result().stdout async for each in outcomes] == ["1\n", "2\n", "3\n"]


@pytest.fixture
def pool(client: Client, image: Image, tmp_path: Path) -> Iterator[Command]:
    """Start the pool `tools`, which the workers see. Return a function to run `microvm pool`."""
    name = "XDG_RUNTIME_DIR"
    tmp_path.chmod(0o700)

    def run(*words: str) -> bytes:
        command = [sys.executable, "-m", "microvm", "pool", *words]
        environment = {**os.environ, name: str(tmp_path)}
        return subprocess.run(command, env=environment, check=True, capture_output=True).stdout

    def set_variable(value: str | None) -> None:
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value

    client.run(set_variable, str(tmp_path))
    run("start", "--linger", "--size", "2", "--image", str(image.path), "tools")
    try:
        yield run
    finally:
        run("stop", "tools")
        client.run(set_variable, os.environ.get(name))


@pytest.mark.thorough
@pytest.mark.parametrize(("memory", "uses"), [("256M", True), ("300M", False)])
async def test_workers_use_the_pool_of_their_host_if_it_fits(
    client: Client, image: Image, pool: Command, memory: str, uses: bool
) -> None:
    jobs = [["cat", "/proc/sys/kernel/random/boot_id"]] * 4
    batch = microvm.dask.map(jobs, client=client, image=image, pool="tools", memory=memory)
    identities = {each.result().stdout async for each in batch}
    assert len(identities) == 4
    [facts] = json.loads(pool("inspect", "--json", "tools"))
    assert (facts["served"] > 0) == uses


async def test_a_job_that_ends_its_machine_is_run_once(client: Client, image: Image) -> None:
    batch = microvm.dask.map([["poweroff", "-f"], ["true"]], client=client, image=image)
    died, after = [each async for each in batch]
    assert isinstance(died.error, GuestDied)
    assert after.result().returncode == 0


@contextmanager
def _killing(client: Client, *kills: bool) -> Iterator[None]:
    """Kill QEMUs of the workers when their machines begin to warm up, in a repeated pattern."""

    def begin() -> None:
        turns = itertools.cycle(kills)

        async def warm_up_killed(run: Run, is_wanted: Callable[[], bool]) -> None:
            if next(turns):
                os.kill(run.__self__.pid, signal.SIGKILL)  # type: ignore[attr-defined]
            await warm_up(run, is_wanted)

        setattr(leases, "warm_up", warm_up_killed)  # noqa: B010 - mypy does not know the attribute
        retry.LONGEST_PAUSE = 0.1

    client.run(begin)
    try:
        yield
    finally:
        client.run(setattr, leases, "warm_up", warm_up)
        client.run(setattr, retry, "LONGEST_PAUSE", retry.LONGEST_PAUSE)


@pytest.mark.thorough
async def test_each_job_has_an_outcome_where_no_machine_starts(client: Client) -> None:
    jobs = [Job(["echo", str(number)]) for number in range(20)]
    with _killing(client, True):
        outcomes = [each async for each in microvm.dask.map(jobs, client=client)]
    assert [each.job for each in outcomes] == jobs
    for each in outcomes:
        with pytest.raises(
            NotRun, match=r"worker tcp://.*: 12 starts of a machine failed in a row"
        ):
            each.result()


async def test_a_job_whose_workers_die_ends_with_an_error(client: Client) -> None:
    outcomes = microvm.dask.map([["sleep", "60"]], client=client)
    outcome = asyncio.create_task(anext(outcomes))
    killed: set[str] = set()
    while not outcome.done():
        busy = [address for address, keys in client.processing().items() if keys]
        with suppress(OSError):  # a worker that was killed just now cannot answer
            pids = client.run(os.getpid)
            for address in set(busy) - killed:
                if address in pids and machines(client).get(address):
                    killed.add(address)
                    os.kill(pids[address], signal.SIGKILL)
        await asyncio.sleep(0.1)
    assert str(outcome.result().error).startswith("2 workers exited while they ran the job")
    assert len(killed) == 2
    await outcomes.aclose()


@pytest.mark.parametrize(
    ("how", "says"),
    [("closed", None), ("cancelled", None), ("by Dask", "Dask has cancelled the batch: unknown")],
)
async def test_jobs_stop_when_their_batch_ends(client: Client, how: str, says: str | None) -> None:
    outcomes = microvm.dask.map([["true"], *[["sleep", "60"]] * 4], client=client)
    async with aclosing(outcomes):
        (await anext(outcomes)).result()
        await comes_true(lambda: all(machines(client).values()))
        if how != "closed":
            waiting = asyncio.create_task(anext(outcomes))
            await asyncio.sleep(0)
            if how == "cancelled":
                waiting.cancel()
            else:
                assert client.cluster
                tasks = [*client.cluster.scheduler.tasks]
                client.cancel([Future(key, client) for key in tasks], force=True)
            with pytest.raises((asyncio.CancelledError, MicroVMError), match=says):
                (await waiting).result()
    assert not any(machines(client).values())


async def test_machines_start_only_on_workers_that_offer_them(client: Client, image: Image) -> None:
    assert client.cluster
    first, second = client.run(os.getpid)

    def offer(dask_worker: Worker) -> None:
        dask_worker.state.total_resources[worker.RESOURCE] = 4
        dask_worker.state.available_resources[worker.RESOURCE] = 4

    def offer_none(dask_worker: Worker) -> None:
        dask_worker.state.total_resources.clear()
        dask_worker.state.available_resources.clear()

    scheduler = client.cluster.scheduler
    async with cluster.connected(client, None) as connection:
        assert await cluster.shape(connection) == "workers: 2, machines: 2 at most"
        client.run(offer, workers=[first])
        scheduler.add_resources(worker=first, resources={worker.RESOURCE: 4})
        try:
            assert await cluster.shape(connection) == "workers: 1, machines: 1 at most"
            batch = microvm.dask.map([["true"]] * 2, client=client, image=image)
            async with aclosing(batch):
                await anext(batch)
                await comes_true(lambda: bool(machines(client)[first]))
                assert not machines(client)[second]
        finally:
            client.run(offer_none, workers=[first])
            scheduler.remove_resources(first)
            scheduler.workers[first].resources.clear()


@pytest.mark.thorough
async def test_a_guest_sees_nothing_of_its_worker(client: Client) -> None:
    assert set(client.run(os.environ.get, VARIABLE).values()) == {"of-the-host"}
    jobs = [["env"], ["sh", "-c", "cat /proc/*/environ /proc/cmdline"]]
    async for outcome in microvm.dask.map(jobs, client=client):
        assert b"of-the-host" not in outcome.result().stdout


FORGET = "from distributed.versions import _version_cached; _version_cached.cache_clear(); "
USE_VERSION = FORGET + "import sys; sys.path.insert(0, {0!r})"
FORGET_VERSION = FORGET + "import sys; sys.path.remove({0!r})"


@pytest.fixture
def other_version(tmp_path: Path) -> Path:
    """Return a folder for `sys.path` with the metadata of another version of microvm."""
    other = tmp_path / "microvm_proto-0.0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: microvm-proto\nVersion: 0.0.1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("change", "undo", "says"),
    [
        (USE_VERSION, FORGET_VERSION, "has microvm 0.0.1, but this process has "),
        (
            "from microvm.dask import worker; worker.gone = worker.__dict__.pop('Machines')",
            "from microvm.dask import worker; worker.Machines = worker.gone",
            "a worker cannot load the plugin for machines: .*Machines",
        ),
    ],
    ids=["by its version", "by what is in it"],
)
async def test_a_worker_with_another_microvm_is_told_of(
    client: Client, other_version: Path, change: str, undo: str, says: str
) -> None:
    client.run(exec, change.format(str(other_version)))
    try:
        with pytest.raises(MicroVMError, match=says):
            await anext(microvm.dask.map([["true"]], client=client))
    finally:
        client.run(exec, undo.format(str(other_version)))
    [after] = [each async for each in microvm.dask.map([["true"]], client=client)]
    assert after.result().returncode == 0


@pytest.mark.thorough
async def test_versions_are_checked_where_workers_answer(
    client: Client, other_version: Path
) -> None:
    (silent, stopped), (other, _) = client.run(os.getpid).items()
    notices: list[str] = []
    client.run(exec, USE_VERSION.format(str(other_version)), workers=[other])
    os.kill(stopped, signal.SIGSTOP)
    try:
        async with cluster.connected(client, None) as connection:
            with pytest.raises(MicroVMError, match=f"worker {other} has microvm 0.0.1"):
                await cluster.check_versions(connection, notices.append)
    finally:
        os.kill(stopped, signal.SIGCONT)
        client.run(exec, FORGET_VERSION.format(str(other_version)), workers=[other])
    assert notices == [f"no answer from {silent}: the version of microvm there is unknown"]


async def test_invalid_batch_is_refused(client: Client, image: Image, tmp_path: Path) -> None:
    for options, says in (
        ({"memory": "1K"}, "too little memory for a guest"),
        ({"scheduler": "head"}, "not a scheduler: 'head'"),
        ({"size": 0}, "size of a batch must be at least 1, not 0"),
        ({"client": client, "capture_output": False}, "capture_output: "),
    ):
        with pytest.raises(UsageError, match=says):
            await anext(microvm.dask.map([["true"]], image=image, **options))
    batch = microvm.dask.map([["true"]], image=image, client=client, memory="100G")
    async with aclosing(batch):
        outcome = await anext(batch)
    with pytest.raises(NotRun, match=r"^not run: worker tcp://.*: a guest of 100G"):
        outcome.result()
    with pytest.raises(MicroVMError, match=r"cannot reach the scheduler tls://.*TLS expects"):
        await anext(microvm.dask.map([["true"]], image=image, scheduler="tls://127.0.0.1:1"))
    with pytest.raises(UsageError, match="list of arguments"):
        await anext(microvm.dask.map(["true"], client=client, image=image))


@pytest.mark.long
async def test_jobs_have_outcomes_if_the_scheduler_is_killed(image: Image, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    where = ["--scheduler-file", str(file), "--no-dashboard"]
    commands = [
        ["scheduler", *where, "--host", "tcp://127.0.0.1", "--port", "0"],
        ["worker", *where, "--nthreads", "1", "--no-nanny"],
    ]
    processes = []
    try:
        for command in commands:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "dask", *command, stderr=subprocess.DEVNULL
            )
            processes.append(process)
            await comes_true(file.exists)
        address = json.loads(file.read_text())["address"]
        jobs = [["true"], *[["sleep", "60"]] * 2, *[["true"]] * 5]
        batch = microvm.dask.map(jobs, scheduler=address, image=image, size=2)
        async with aclosing(batch):
            (await anext(batch)).result()
            processes[0].kill()
            errors = [outcome.error async for outcome in batch]
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    lost = "Dask has cancelled the batch: scheduler-connection-lost"
    assert [str(error) for error in errors] == [lost] * 2 + [f"not run: {lost}"] * 5
    assert [type(error) for error in errors] == [MicroVMError] * 2 + [NotRun] * 5


LINES = b"""echo hi; exit 3
{"argv": ["sleep", "60"], "timeout": 0.2, "id": "c1"}
{"argv": ["cat"], "stdin": "in"}
"""


@pytest.mark.thorough
def test_lines_and_status_are_those_of_map(client: Client, registry: str) -> None:
    command = [sys.executable, "-m", "microvm", "map", "-", "--ordered"]
    address = client.scheduler_info()["address"]
    on_cluster = ["--scheduler", address, "--registry", registry, "--quiet"]
    results = []
    for more in ([], on_cluster, ["--scheduler", "local:1"]):
        done = subprocess.run([*command, *more], input=LINES, capture_output=True, check=False)
        lines = [
            json.loads(line) | {"seconds": 0, "memory": 0} for line in done.stdout.splitlines()
        ]
        results.append((done.returncode, done.stderr, lines))
    assert results[0][:2] == (1, b"")
    assert results[1:] == results[:1] * 2


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_no_machine(client: Client, number: int) -> None:
    address = client.scheduler_info()["address"]
    killed = number == signal.SIGKILL
    client.run(setattr, worker, "IDLE", 0.2 if killed else worker.IDLE)
    with subprocess.Popen(
        [sys.executable, "-m", "microvm", "map", "-", "--scheduler", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"true\nsleep 60\n")
        process.stdin.flush()
        assert process.stdout.readline()
        eventually(lambda: any(machines(client).values()))
        process.send_signal(number)
    if killed:
        assert client.cluster
        plugins = client.cluster.scheduler.worker_plugins
        eventually(lambda: not any(machines(client).values()))
        eventually(lambda: plugins.keys() == {"shuffle"})  # from Dask itself
    else:
        assert not any(machines(client).values())
    client.run(setattr, worker, "IDLE", worker.IDLE)
