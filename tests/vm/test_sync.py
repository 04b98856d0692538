"""Tests of the synchronous API."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.polling import eventually
from tests.support.processes import exists

import microvm
from microvm import Busy, ExecTimeout, UsageError
from microvm.images import Image
from microvm.sync import Interpreter, MicroVM, OutputStream, Pool, Process


@pytest.fixture(scope="module")
def machine(image: Image) -> Iterator[MicroVM]:
    with MicroVM(image) as machine:
        yield machine


@pytest.mark.parametrize(
    ("name", "of"),
    [
        *((name, MicroVM) for name in "__init__ stop exec run status put get list".split()),
        *((name, Process) for name in "wait communicate send_signal terminate kill".split()),
        *((name, Process) for name in "abandon resize".split()),
        *((name, OutputStream) for name in "read readline readuntil readexactly at_eof".split()),
        ("__init__", Pool),
    ],
)
def test_sync_and_async_api_take_the_same_arguments(name: str, of: type) -> None:
    """Their names, kinds and types are equal, and defaults that can be compared."""

    def arguments(function: Callable[..., object]) -> list[tuple[object, ...]]:
        found = list(inspect.signature(function).parameters.values())[1:]
        return [
            (p.name, p.kind, p.annotation, None if callable(p.default) else p.default)
            for p in found
        ]

    theirs = getattr(microvm, of.__name__)
    assert arguments(getattr(of, name)) == arguments(getattr(theirs, name))


def test_process_can_be_written_and_read_while_it_runs(machine: MicroVM) -> None:
    process = machine.exec(["cat"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"one\n")
    chunks = iter(process.stdout)
    assert next(chunks) == b"one\n"
    assert process.returncode is None
    with pytest.raises(Busy):
        machine.run(["true"])
    process.stdin.close()
    assert list(chunks) == []
    assert process.wait() == 0


def test_killed_or_abandoned_process_has_exited_by_signal_9(machine: MicroVM) -> None:
    with machine.exec(["yes"]) as process:  # the end of the block kills it
        assert bytes(next(iter(process.stdout))).startswith(b"y\n")
    assert process.returncode == -9
    process = machine.exec(["sleep", "60"])
    process.kill()
    assert process.communicate() == (b"", b"")
    assert process.wait() == -9
    process = machine.exec(["sleep", "60"])
    process.abandon()
    assert machine.run(["echo", "next"]).stdout == b"next\n"
    assert process.wait() == -9


def test_dropped_process_is_killed(machine: MicroVM) -> None:
    for chunk in machine.exec(["yes"]).stdout:
        assert bytes(chunk).startswith(b"y\n")
        break
    assert machine.run(["echo", "next"]).stdout == b"next\n"


def test_machine_can_be_stopped_twice_and_not_used_afterwards(image: Image) -> None:
    with MicroVM(image) as machine:
        process = machine.exec(["sleep", "60"])
        machine.stop()
        for use in (machine.ping, machine.status, process.wait, process.kill):
            with pytest.raises(UsageError, match="not running"):
                use()
    machine.stop()


def test_use_before_the_start_is_an_error_with_a_next_step() -> None:
    for use in (MicroVM().ping, lambda: MicroVM().run(["true"]), lambda: MicroVM().exec(["true"])):
        with pytest.raises(UsageError, match="not running") as caught:
            use()
        assert caught.value.hint == "start it by `with MicroVM() as vm:`"
    with pytest.raises(UsageError, match="not running") as caught:
        Interpreter().run("1")
    assert caught.value.hint == "use it inside its `with` block"


def test_sync_api_works_in_a_running_loop(image: Image) -> None:
    async def notebook() -> bytes:
        with MicroVM(image) as vm:
            return bytes(vm.run(["echo", "hello"]).stdout)

    assert asyncio.run(notebook()) == b"hello\n"


def test_threads_share_a_machine(machine: MicroVM) -> None:
    process = machine.exec(["sleep", "60"])
    with ThreadPoolExecutor(3) as executor:
        waiting = executor.submit(process.wait)
        with pytest.raises(Busy):
            executor.submit(machine.run, ["true"]).result()
        executor.submit(machine.ping).result()
        executor.submit(process.kill).result()
        assert waiting.result() == -9


def test_time_out_expires_during_a_call_and_between_calls(machine: MicroVM) -> None:
    with pytest.raises(ExecTimeout):
        machine.run(["sleep", "60"], timeout=0.2)
    process = machine.exec(["sleep", "60"], timeout=0.2)
    while process.returncode is None:
        time.sleep(0.05)  # although no call is active
    with pytest.raises(ExecTimeout):
        process.wait()


@pytest.mark.thorough
def test_dropped_machine_ends(image: Image) -> None:
    vm = MicroVM(image)
    vm.start()
    pid = vm.pid or 0
    process = vm.exec(["sh", "-c", "read x; echo $x"], stdin=subprocess.PIPE)
    del vm
    gc.collect()
    assert process.stdin  # it is in use as long as one of its objects is
    process.stdin.write(b"still\n")
    assert process.stdout.readline() == b"still\n"
    warned = f"never stopped: QEMU, process {pid}"
    with pytest.warns(ResourceWarning, match=warned):  # noqa: PT031 - by a collection, perhaps
        del process
        gc.collect()
    eventually(lambda: not exists(pid))


BEGIN = """
import os, signal, sys
from microvm.sync import MicroVM, OutputStream, Pool, Process
vm = MicroVM(sys.argv[1])
vm.start()
print(vm.pid, flush=True)
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("rest", "status", "said"),
    [
        ("process = vm.exec(['sleep', '60']); sys.exit(3)", 3, "never stopped"),
        ("os._exit(4)", 4, ""),
    ],
)
def test_no_kind_of_exit_leaves_qemu(image: Image, rest: str, status: int, said: str) -> None:
    command = [sys.executable, "-W", "default::ResourceWarning", "-c", BEGIN + rest]
    command += [str(image.path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == status, result.stderr
    assert ("ResourceWarning" in result.stderr) == bool(said)
    assert said in result.stderr
    pid = int(result.stdout)
    eventually(lambda: not exists(pid))


CTRL_C = """
for number in range(2):
    try:
        vm.run(["sleep", "60"])
    except KeyboardInterrupt:
        print(vm.run(["echo", "next"], text=True).stdout, end="", flush=True)
vm.stop()
"""


def test_ctrl_c_ends_the_call_and_not_the_machine(image: Image) -> None:
    command = [sys.executable, "-c", BEGIN + CTRL_C, str(image.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        for _ in range(2):
            time.sleep(0.2)  # it may be at any point of the call
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == b"next\n"
        assert process.communicate() == (b"", b"")
        assert process.returncode == 0
