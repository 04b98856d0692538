"""Tests of the synchronous pool of real machines."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.support.polling import eventually
from tests.support.processes import children, exists

from microvm import UsageError
from microvm.images import Image
from microvm.sync import Pool

DEADLINE = 60


@pytest.fixture(autouse=True)
def _deadline() -> Iterator[None]:
    """Fail a test that waits forever, such as for a machine whose lease is lost."""

    def end(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(2 * DEADLINE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def pool(image: Image) -> Iterator[Pool]:
    """A pool of two machines, none of which may remain afterwards."""
    before = children(os.getpid())
    with Pool(2, image) as pool:
        yield pool
    assert children(os.getpid()) == before


def test_source_may_block_and_its_error_is_raised_last(pool: Pool) -> None:
    answered = threading.Event()

    def source() -> Iterator[list[str]]:
        yield ["echo", "first"]
        assert answered.wait(DEADLINE)
        yield ["echo", "second"]
        raise ZeroDivisionError

    outcomes = pool.map(source())
    assert next(outcomes).result().stdout == b"first\n"
    answered.set()
    assert next(outcomes).result().stdout == b"second\n"
    with pytest.raises(ZeroDivisionError):
        next(outcomes)


@pytest.mark.thorough
def test_leaving_a_block_in_any_way_returns_the_machine(pool: Pool) -> None:
    with pytest.raises(ZeroDivisionError), pool.machine() as first:
        raise ZeroDivisionError
    lease = pool.machine()
    left = lease.__enter__()
    pids = {first.pid, left.pid}
    del lease  # and its block is never left
    gc.collect()
    with pool.machine() as second, pool.machine() as third:
        assert pids.isdisjoint({second.pid, third.pid})
        second.stop()
        with pytest.raises(UsageError, match="not running"):
            second.run(["true"])
        assert third.run(["echo", "hello"]).stdout == b"hello\n"


def test_ctrl_c_ends_the_running_commands_and_not_the_pool(pool: Pool) -> None:
    def source() -> Iterator[list[str]]:
        yield ["sleep", "60"]
        os.kill(os.getpid(), signal.SIGINT)
        yield ["sleep", "60"]

    with pytest.raises(KeyboardInterrupt):
        next(pool.map(source()))
    with pool.machine() as vm:
        assert vm.run(["echo", "hello"]).stdout == b"hello\n"


def test_dropped_pool_is_closed(image: Image) -> None:
    pool = Pool(1, image)
    pool.__enter__()
    lease = pool.machine()
    vm = lease.__enter__()
    pid = vm.pid or 0
    del pool, lease
    with pytest.warns(ResourceWarning, match="a pool was never closed"):  # noqa: PT031 - by a collection, perhaps
        del vm
        gc.collect()
    eventually(lambda: not exists(pid))


LEFT_OPEN = """
import os, sys
from microvm import UsageError
from microvm.sync import Pool
pool = Pool(1, sys.argv[1]).__enter__()
lease = pool.machine()
vm = lease.__enter__()
pid = os.fork()
if pid == 0:
    run, map = (lambda: vm.run(["true"])), (lambda: next(pool.map([["true"]])))
    for use in (run, map, pool.machine().__enter__):
        try:
            use()
        except UsageError as error:
            print(error, flush=True)
    lease.__exit__(None, None, None)
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), vm.run(["true"]).returncode, vm.pid)
"""


def test_forked_child_has_no_pool_and_no_exit_leaves_qemu(image: Image) -> None:
    warn = ("-W", "ignore", "-W", "default::ResourceWarning")
    command = [sys.executable, *warn, "-c", LEFT_OPEN, str(image.path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    *refusals, last = result.stdout.splitlines()
    assert refusals == ["the pool belongs to the parent process, in which it was created"] * 3
    assert last.startswith("7 0 "), result.stderr
    assert "a pool was never closed" in result.stderr
    eventually(lambda: not exists(int(last.split()[2])))
