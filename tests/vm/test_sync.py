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
from tests.support.parameters import accelerator
from tests.support.polling import eventually
from tests.support.processes import exists

import microvm
from microvm import Busy, ExecTimeout, GuestDied, MemoryLimit, OutputLimit, UsageError
from microvm.images import Image
from microvm.sync import Interpreter, MicroVM, OutputStream, Pool, Process


@pytest.fixture(scope="module")
def machine(image: Image) -> Iterator[MicroVM]:
    with MicroVM(image) as machine:
        yield machine


@pytest.mark.parametrize(
    ("name", "of"),
    [
        *((name, MicroVM) for name in "__init__ start stop exec run ping status".split()),
        *((name, MicroVM) for name in "write_file read_file put get stat list".split()),
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


def test_run_works_like_subprocess_run(machine: MicroVM) -> None:
    result = machine.run(["sh", "-c", "cat; echo err >&2; exit 3"], input="hello\n", text=True)
    assert (result.returncode, result.stdout, result.stderr) == (3, "hello\n", "err\n")
    with pytest.raises(subprocess.CalledProcessError):
        machine.run(["false"], check=True)


def test_results_resemble_those_of_subprocess(machine: MicroVM) -> None:
    argv = ["printf", "ab\\303\\244"]
    assert machine.run(argv).args is argv
    with pytest.raises(OutputLimit) as caught:
        machine.run(argv, max_output=3, text=True)
    assert (caught.value.stdout, caught.value.stderr) == ("ab\ufffd", "")
    with pytest.raises(MemoryLimit):
        machine.run(["tail", "-c", "60m", "/dev/zero"], max_memory="20M")
    with machine.exec(["sleep", "60"]) as process:
        assert repr(process) == "<Process ['sleep', '60']: running>"
    assert repr(process) == "<Process ['sleep', '60']: returncode -9>"
    with pytest.raises(UsageError, match="unknown encoding: utf-99"):
        machine.run(argv, encoding="utf-99")


def test_machine_reports_its_state(image: Image) -> None:
    with MicroVM(image, accel=accelerator()) as machine:
        said = repr(machine)
        name = f"{machine.id} of {image.name}"
        assert said == f"<MicroVM {name}: running, tcg, QEMU is process {machine.pid}>"
        with pytest.raises(GuestDied):
            machine.run(["reboot", "-f"])
        assert ": dead, tcg" in repr(machine)
    assert repr(machine) == f"<MicroVM {name}: stopped, tcg>"


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


@pytest.mark.thorough
def test_pause_between_calls_is_not_treated_as_a_dead_guest(machine: MicroVM) -> None:
    process = machine.exec(["sh", "-c", "yes & yes >&2; wait"], timeout=0.5)
    next(iter(process.stdout))
    time.sleep(1)
    process.poll()  # it gets SIGTERM and some seconds to exit
    time.sleep(6)  # its exit status follows unread output
    process.poll()
    with pytest.raises(ExecTimeout):
        process.wait()
    assert machine.run(["echo", "next"]).stdout == b"next\n"


def test_a_process_is_read_by_lines_and_polled(machine: MicroVM) -> None:
    process = machine.exec(["sh", "-c", "echo one; read x; echo $x; exit 3"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout.readline() == b"one\n"
    assert process.poll() is None
    process.stdin.write(b"two\n")
    assert process.stdout.readline() == b"two\n"
    assert process.stdout.readline() == b""
    while process.poll() is None:
        pass
    assert process.returncode == 3


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


def test_uncaptured_output_goes_to_our_streams(
    machine: MicroVM, capfd: pytest.CaptureFixture[str]
) -> None:
    result = machine.run(["sh", "-c", "echo out; echo err >&2"], capture_output=False)
    assert (result.stdout, result.stderr) == (None, None)
    assert capfd.readouterr() == ("out\n", "err\n")


def test_threads_can_have_a_machine_each(image: Image) -> None:
    def in_a_machine(word: str) -> bytes:
        with MicroVM(image) as vm:
            return bytes(vm.run(["echo", word]).stdout)

    with ThreadPoolExecutor(2) as executor:
        assert list(executor.map(in_a_machine, "abcd")) == [b"a\n", b"b\n", b"c\n", b"d\n"]


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
from microvm.sync import MicroVM
vm = MicroVM(sys.argv[1])
vm.start()
print(vm.pid, flush=True)
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("rest", "status", "said"),
    [
        ("", 0, "never stopped"),
        ("process = vm.exec(['sleep', '60'])", 0, "never stopped"),
        ("sys.exit(3)", 3, "never stopped"),
        ("os._exit(4)", 4, ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("vm.stop()", 0, ""),
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
