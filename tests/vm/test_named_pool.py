"""Tests of named pools: `microvm pool`, `microvm run --pool`, and `Pool.attach`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.examples import EXAMPLES, check
from tests.support.named_pools import NAME, facts, full
from tests.support.polling import eventually
from tests.support.processes import children, is_alive
from tests.vm.conftest import Command

from microvm import Job, Pool, sync
from microvm.errors import MicroVMError
from microvm.supervisor.client.pooled import PooledVM

pytestmark = pytest.mark.usefixtures("_runtime")

IDENTITY = "/proc/sys/kernel/random/boot_id"


@pytest.fixture(scope="module")
def pool(microvm: Command, _runtime: None) -> Iterator[str]:
    """The name of a pool that tests share. Each test leaves it running."""
    microvm("run", "--", "true")  # if KVM is broken here, this prints a notice once
    started = microvm("pool", "start", "--linger", "--size", "2", NAME)
    assert (started.returncode, started.stdout, started.stderr) == (0, b"tools\n", b"")
    yield NAME
    stopped = microvm("pool", "stop", NAME)
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (0, b"tools\n", b"")
    assert not [*Path(os.environ["XDG_RUNTIME_DIR"], "microvm").iterdir()]


@pytest.mark.thorough
def test_listing_has_the_documented_fields(microvm: Command, pool: str) -> None:
    for verb in (["ls"], ["inspect", pool]):
        found = json.loads(microvm("pool", *verb, "--json").stdout)
        check(json.loads(EXAMPLES["microvm pool ls --json"]), found, verb[0])


@pytest.mark.thorough
def test_each_command_gets_a_machine_of_its_own(microvm: Command, pool: str) -> None:
    before = full(microvm)
    script = f"cat {IDENTITY}; test -e /left && echo again; touch /left"
    found = [microvm("run", "--pool", pool, "--", "sh", "-c", script).stdout for _ in range(2)]
    assert len(set(found)) == 2
    assert b"again" not in b"".join(found)
    after = full(microvm)
    assert after["served"] == before["served"] + 2
    assert after["missed"] == before["missed"]


@pytest.mark.parametrize(
    ("options", "command", "status", "output"),
    [
        ((), "cat; exit 3", 3, b"input"),
        (("-u", "nobody", "-w", "/tmp"), "id -un; pwd", 0, b"nobody\n/tmp\n"),
        (("--timeout", "0.2s"), "sleep 9", 124, b""),
        (("--max-processes", "1"), "sleep 1 & wait", 2, b""),
        (("--entrypoint", "echo"), "words", 0, b"sh -c words\n"),
        (("-t",), "test -t 0 && echo terminal", 0, b"terminal\r\n"),
    ],
)
def test_options_of_commands_work(
    microvm: Command,
    pool: str,
    options: tuple[str, ...],
    command: str,
    status: int,
    output: bytes,
) -> None:
    served = full(microvm)["served"]
    words = ("run", "--pool", pool, *options, "--", "sh", "-c", command)
    done = microvm(*words, input=b"" if "-t" in options else b"input")
    assert (done.returncode, done.stdout) == (status, output)
    assert facts(microvm)["served"] == served + 1


@pytest.mark.thorough
def test_files_json_and_snapshots_work(microvm: Command, pool: str, tmp_path: Path) -> None:
    served = full(microvm)["served"]
    (tmp_path / "given").write_bytes(b"content")
    files = ("--copy", f"{tmp_path}/given:/tmp/x", "--collect", f"/tmp/y:{tmp_path}/got")
    words = ("run", "--pool", pool, *files, "--json", "--save", "named-pool", "--")
    done = microvm(*words, "cp", "/tmp/x", "/tmp/y")
    assert json.loads(done.stdout)["status"] == 0, done.stderr
    assert (tmp_path / "got").read_bytes() == b"content"
    assert facts(microvm)["served"] == served + 1
    try:
        assert microvm("run", "--from", "named-pool", "--", "cat", "/tmp/y").stdout == b"content"
    finally:
        microvm("snapshot", "rm", "named-pool")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "is_notified", "timeout"),
    [
        (("--size", "4", "--max-memory", "300M"), True, 3600.0),
        (("--size", "1", "--idle-timeout", "0s"), False, None),
    ],
)
def test_limits_are_shown(
    microvm: Command, options: tuple[str, ...], is_notified: bool, timeout: float | None
) -> None:
    started = microvm("pool", "start", "--linger", *options, "limited")
    try:
        notice = b"machines kept ready: 1 instead of 4, because of --max-memory"
        assert (notice in started.stderr) == is_notified
        found = facts(microvm, "limited")
        assert (found["size"], found["idle_timeout"]) == (1, timeout)
    finally:
        microvm("pool", "stop", "limited")


@pytest.mark.thorough
def test_a_command_can_refuse_the_preset_pool(
    microvm: Command, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = full(microvm)["served"]
    monkeypatch.setenv("MICROVM_POOL", pool)
    assert microvm("run", "--pool", "", "--", "echo", "hello").stdout == b"hello\n"
    assert microvm("map", "--pool", "", "-", input=b"true\n").returncode == 0
    assert facts(microvm)["served"] == served
    assert microvm("run", "--", "echo", "hello").stdout == b"hello\n"
    assert facts(microvm)["served"] == served + 1


@pytest.mark.thorough
def test_map_uses_the_machines(microvm: Command, pool: str) -> None:
    served = full(microvm)["served"]
    done = microvm("map", "--pool", pool, "-", input=f"cat {IDENTITY}\n".encode() * 4)
    outputs = {json.loads(line)["stdout"] for line in done.stdout.splitlines()}
    assert (done.returncode, done.stderr, len(outputs)) == (0, b"", 4)
    assert facts(microvm)["served"] >= served + 2
    done = microvm("map", "-v", "--pool", pool, "--memory", "300M", "-", input=b"echo hello\n")
    assert json.loads(done.stdout)["stdout"] == "hello\n"
    assert b"its machines have --memory 256M, and not 300M" in done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("-m", "300M"), "its machines have --memory 256M, and not 300M"),
        (("--cold",), "--cold needs a new machine"),
    ],
)
def test_options_of_another_machine_start_one(
    microvm: Command, pool: str, options: tuple[str, ...], why: str
) -> None:
    served = full(microvm)["served"]
    done = microvm("run", "-v", "--pool", pool, *options, "--", "echo", "hello")
    assert done.stdout == b"hello\n"
    assert f"pool tools is not used: {why}; starting a machine" in done.stderr.decode()
    assert facts(microvm)["served"] == served


@pytest.mark.thorough
def test_a_machine_that_is_started_instead_is_of_the_same_kind(
    microvm: Command, small: str
) -> None:
    done = microvm("run", "--pool", small, "--", "cat", "/proc/meminfo")
    total = int(done.stdout.split()[1])  # in kB
    assert total < 96 << 10
    other = microvm("run", "--pool", small, "-m", "200M", "--", "cat", "/proc/meminfo")
    assert int(other.stdout.split()[1]) > 96 << 10


@pytest.fixture(scope="module")
def small(microvm: Command, _runtime: None) -> Iterator[str]:
    """A pool whose only machine is in use."""
    options = ("--size", "1", "--max", "1", "--memory", "96M")
    assert microvm("pool", "start", "--linger", *options, "small").returncode == 0
    command = [sys.executable, "-m", "microvm", "run", "--pool", "small", "--", "sh", "-c"]
    with subprocess.Popen(
        [*command, "echo up; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as user:
        assert user.stdout
        assert user.stdout.readline() == b"up\n"
        yield "small"
        user.communicate()
    microvm("pool", "stop", "small")


def test_a_pool_that_does_not_exist_is_no_error(microvm: Command) -> None:
    assert microvm("run", "--pool", "missing", "--", "echo", "hello").stdout == b"hello\n"
    done = microvm("run", "-v", "--pool", "missing", "--", "echo", "hello")
    assert "pool missing is not used: there is no pool missing" in done.stderr.decode()


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_pool_that_does_not_answer_is_no_error(microvm: Command, number: int) -> None:
    microvm("pool", "start", "--linger", "--size", "1", "broken")
    supervisor = facts(microvm, "broken")["supervisor"]
    os.kill(supervisor, number)
    try:
        assert microvm("run", "--pool", "broken", "--", "echo", "hello").stdout == b"hello\n"
        done = microvm("run", "-n", "--pool", "broken", "--", "echo", "hello")
        assert (done.returncode, done.stdout) == (0, b"hello\n")
        mapped = microvm("map", "-v", "-j", "1", "--pool", "broken", "-", input=b"true\ntrue\n")
        assert mapped.returncode == 0
        # A stopped supervisor is asked once. One that was killed is not asked at all.
        asked_once = mapped.stderr.count(b"the last request failed a short time ago") == 1
        assert asked_once == (number == signal.SIGSTOP)
    finally:
        os.kill(supervisor, signal.SIGCONT) if number == signal.SIGSTOP else None
        assert microvm("pool", "stop", "broken").returncode == 0
    eventually(lambda: not is_alive(supervisor))


def test_killed_machines_are_replaced(microvm: Command, pool: str) -> None:
    supervisor = full(microvm)["supervisor"]
    for child in children(supervisor):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    assert microvm("run", "--pool", pool, "--", "echo", "hello").stdout == b"hello\n"
    full(microvm)


@pytest.mark.thorough
def test_an_idle_pool_stops_its_machines_until_it_is_used(microvm: Command) -> None:
    microvm("pool", "start", "--linger", "--size", "1", "--idle-timeout", "5s", "lazy")
    try:
        eventually(lambda: facts(microvm, "lazy")["ready"] == 0)
        assert microvm("run", "--pool", "lazy", "--", "echo", "hello").stdout == b"hello\n"
        assert facts(microvm, "lazy")["missed"] == 1
        eventually(lambda: facts(microvm, "lazy")["ready"] == 1)
    finally:
        microvm("pool", "stop", "lazy")


@pytest.mark.thorough
def test_the_pool_ends_with_its_login_session(microvm: Command) -> None:
    command = f"{sys.executable} -m microvm pool start --size 1 brief && read line"
    session = subprocess.Popen(
        ["sh", "-c", command],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert session.stdout
    assert session.stdout.readline() == b"brief\n"
    supervisor = facts(microvm, "brief")["supervisor"]
    session.communicate()
    eventually(lambda: not is_alive(supervisor))
    eventually(lambda: b"there is no pool" in microvm("pool", "inspect", "brief").stderr)


def test_other_verbs_do_not_take_pools_for_machines(microvm: Command, pool: str) -> None:
    assert microvm("ps", "-q").stdout == b""
    assert b"there is no pool one" in microvm("pool", "stop", "one").stderr
    assert b"there is a pool tools already" in microvm("pool", "start", pool).stderr
    for words in (["exec", pool, "true"], ["stop", pool], ["logs", pool], ["inspect", pool]):
        assert b"tools is a pool, and not a machine" in microvm(*words).stderr


@pytest.mark.thorough
async def test_programs_share_the_machines(microvm: Command, pool: str) -> None:
    async with Pool.attach(pool) as attached, Pool.attach(pool, size=1) as other:
        async with attached.machine() as one, other.machine() as two:
            assert isinstance(one, PooledVM)
            assert await one.read_file(IDENTITY) != await two.read_file(IDENTITY)
            await one.write_file("/tmp/x", b"mine")
            assert not await two.exists("/tmp/x")
        jobs = [Job(["cat", "/x"], files={"/x": str(n).encode()}) for n in range(5)]
        outcomes = [each.result().stdout async for each in attached.map(jobs)]
    assert outcomes == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.thorough
async def test_a_program_starts_machines_when_the_pool_has_ended(microvm: Command) -> None:
    microvm("pool", "start", "--linger", "--size", "1", "-m", "200M", "ending")
    async with Pool.attach("ending") as attached:
        microvm("pool", "stop", "ending")
        async with attached.machine() as vm:
            assert not isinstance(vm, PooledVM)
            assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"
    with pytest.raises(MicroVMError, match="there is no pool ending"):
        Pool.attach("ending")


def test_programs_without_async_use_the_pool(microvm: Command, pool: str) -> None:
    with sync.Pool.attach(pool) as attached, attached.machine() as vm:
        assert vm.run(["echo", "hello"]).stdout == b"hello\n"


@pytest.mark.thorough
def test_a_program_that_exits_gives_its_machine_back(microvm: Command, pool: str) -> None:
    script = (
        "import asyncio, os, sys\nfrom microvm import Pool\n"
        "async def main():\n"
        f"    async with Pool.attach({pool!r}) as pool, pool.machine():\n"
        "        print('taken', flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())"
    )
    child = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
    assert child.stdout == b"taken\n"
    eventually(lambda: facts(microvm)["used"] == 0)
