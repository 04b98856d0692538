"""Tests of interpreters in real machines, with the host's own Python in the guest."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from microvm import (
    Busy,
    Image,
    Interpreter,
    InterpreterDied,
    InterpreterError,
    MachineError,
    MicroVM,
    Pool,
    SnapshotError,
    UsageError,
)
from microvm.interpreter import launch
from microvm.interpreter.program import program
from microvm.machine.base import Machine
from microvm.start import snapshots, template

pytestmark = pytest.mark.deadline(120)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def python(with_python: Image) -> AsyncIterator[Interpreter]:
    """A running interpreter that the tests share. Each test leaves it alive."""
    async with Interpreter(image=with_python, imports=["json"]) as python:
        yield python


async def until(vm: Machine, condition: str) -> None:
    """Wait until a condition of the shell is true in a machine."""
    command = ["sh", "-c", f"until {condition}; do sleep 0.05; done"]
    await vm.run(command, check=True, timeout=60)


async def test_state_is_kept_between_cells(python: Interpreter) -> None:
    assert (await python.run("x = 20\nprint('set')")).stdout == "set\n"
    cell = await python.run("import sys; print(x, file=sys.stderr); x + 1")
    assert (cell.result, cell.stderr, cell.ok) == ("21", "20\n", True)
    assert (await python.run("json.dumps([x])")).result == "'[20]'"


async def test_first_cell_of_the_user_is_cell_1(with_python: Image) -> None:
    async with Interpreter(image=with_python, imports=["json"]) as python:
        first, second = await python.run("1 / 0"), await python.run("1 / 0")
    assert first.error is not None
    assert second.error is not None
    assert '"<cell 1>"' in first.error.traceback
    assert '"<cell 2>"' in second.error.traceback


async def test_files_can_be_used_while_a_cell_runs(python: Interpreter) -> None:
    code = """
import os, time
while not os.path.exists("/tmp/go"): time.sleep(0.01)
open("/tmp/go").read()
"""
    cell = asyncio.create_task(python.run(code, timeout=60))
    await python.vm.write_file("/tmp/go.new", "gone")
    await python.vm.run(["mv", "/tmp/go.new", "/tmp/go"], check=True)
    assert (await cell).result == "'gone'"


@pytest.mark.thorough
async def test_death_is_a_typed_error_and_restart_begins_anew(with_python: Image) -> None:
    async with Interpreter(image=with_python, imports=["json"]) as python:
        await python.run("x = 1")
        with pytest.raises(InterpreterDied, match="exited with status 3") as caught:
            await python.run("import os; os.write(1, b'out'); os._exit(3)")
        assert (caught.value.cause, caught.value.status) == ("exited", 3)
        assert caught.value.stdout == "out"
        with pytest.raises(InterpreterDied):
            await python.run("1")
        await python.restart()
        cell = await python.run("json, x")
        assert cell.error is not None
        assert cell.error.type == "NameError"


async def test_restart_works_after_the_machine_has_failed(with_python: Image) -> None:
    async with Interpreter(image=with_python, imports=["json"]) as python:
        assert python.vm.pid is not None
        os.kill(python.vm.pid, signal.SIGKILL)
        with pytest.raises(MachineError):
            await python.run("1")
        await python.restart()
        assert (await python.run("1")).result == "1"


async def test_restart_ends_the_running_cell(with_python: Image) -> None:
    async with Interpreter(image=with_python, imports=["json"]) as python:
        begun = asyncio.Event()
        code = "print('begun', flush=True)\nwhile True: pass"
        running = asyncio.create_task(python.run(code, on_stdout=lambda _: begun.set()))
        await begun.wait()
        await python.restart()
        with pytest.raises(InterpreterDied, match="was stopped"):
            await running
        assert (await python.run("1")).result == "1"


@pytest.mark.parametrize("delay", [0, 0.1])
async def test_cancelled_fork_leaves_the_interpreter_alive(
    python: Interpreter, delay: float
) -> None:
    await python.run("kept = 1")
    fork = asyncio.create_task(python.fork())
    await asyncio.sleep(delay)
    fork.cancel()
    await asyncio.wait([fork])
    if not fork.cancelled():
        await fork.result().close()
    assert (await python.run("kept")).result == "1"


async def drawn_in_forks(python: Interpreter, code: str) -> list[str | None]:
    """Return the result of a cell in each of two forks."""
    async with await python.fork(2) as forks:
        return [(await fork.run(code)).result for fork in forks]


async def test_forks_have_the_state(python: Interpreter) -> None:
    await python.run("shared = [1]")
    async with await python.fork() as one, await python.fork() as other:
        await one.run("shared.append(2)")
        assert [await each.get("shared") for each in (python, one, other)] == [[1], [1, 2], [1]]


@pytest.mark.thorough
@pytest.mark.parametrize("code", ["random.random()", "os.urandom(8)"])
async def test_forks_are_no_twins(python: Interpreter, code: str) -> None:
    await python.run("import os, random; random.seed(1)")
    one, other = await drawn_in_forks(python, code)
    assert one != other


@pytest.mark.thorough
async def test_forks_can_be_closed_and_restarted(python: Interpreter) -> None:
    await python.run("shared = [1]")
    async with await python.fork(3) as forks:
        for number, fork in enumerate(forks):
            await fork.run(f"shared.append({number})")
        await forks[0].close()
        await forks[1].restart()
        assert [await each.get("shared") for each in forks[1:]] == [[1], [1, 2]]
    with pytest.raises(UsageError):
        await python.fork(0)
    assert await python.get("shared") == [1]


@pytest.mark.thorough
async def test_saved_interpreter_continues(
    python: Interpreter, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: snapshots.STORE.remove("test-interpreter"))
    await python.run("saved = 'yes'")
    await python.checkpoint("test-interpreter")
    async with Interpreter("test-interpreter") as later:
        assert await later.get("saved") == "yes"
        assert later.vm.commands == 16
        await later.restart()
        assert await later.get("saved") == "yes"


@pytest.mark.thorough
async def test_dead_interpreter_is_not_saved(with_python: Image) -> None:
    async with Interpreter(image=with_python, imports=["json"]) as python:
        code = "import os, threading; threading.Timer(0.3, os._exit, [3]).start(); os.getpid()"
        pid = (await python.run(code)).result
        await until(python.vm, f"! kill -0 {pid} 2>/dev/null")
        with pytest.raises(InterpreterDied, match="exited with status 3"):
            await python.checkpoint("test-dead")
        with pytest.raises(InterpreterDied, match="exited with status 3"):
            await python.fork()
    assert snapshots.STORE.manifest("test-dead") is None


@pytest.mark.thorough
async def test_snapshot_of_another_version_is_an_error(
    with_python: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, count = re.subn(r"^DIGEST = \w+$", "DIGEST = 1", program(), flags=re.MULTILINE)
    assert count == 1
    monkeypatch.setattr(launch, "program", lambda: other)
    async with MicroVM(with_python) as vm:
        await launch.start(vm)
        snapshot = await vm.checkpoint()
    with pytest.raises(SnapshotError, match="another version of microvm has saved it") as caught:
        await Interpreter(snapshot).start()
    assert "save a new snapshot" in caught.value.hint


@pytest.mark.thorough
async def test_module_that_cannot_be_imported_is_an_error(with_python: Image) -> None:
    with pytest.raises(InterpreterError, match="cannot import absent: ModuleNotFoundError"):
        await Interpreter(image=with_python, imports=["absent"]).start()


@pytest.mark.thorough
async def test_damaged_template_is_made_again(with_python: Image) -> None:
    notices: list[str] = []
    smaller = partial(Interpreter, image=with_python, memory="384M", notify=notices.append)
    async with smaller():
        notices.clear()
    for each in template.STORE.installed():
        is_prepared = "-python-" in each.name
        if is_prepared and each.manifest and each.manifest.origin.memory == 384:
            state = template.STORE.path(each.name) / "state"
            state.chmod(0o600)
            state.write_bytes(b"damaged")
    async with smaller() as python:
        assert (await python.run("1")).result == "1"
    assert len(notices) == 2
    assert "making it again" in notices[0]


@pytest.mark.thorough
async def test_interpreters_in_one_machine_have_users_and_limits(with_python: Image) -> None:
    whoami = "import os; (os.getuid(), x)"
    async with MicroVM(with_python, commands=8) as vm:
        async with Interpreter.within(vm) as root, Interpreter.within(vm, user=1000) as other:
            await root.run("x = 'root'")
            await other.run("x = 'other'")
            assert (await root.run(whoami)).result == "(0, 'root')"
            assert (await other.run(whoami)).result == "(1000, 'other')"
            with pytest.raises(UsageError, match="cannot be saved, forked, or used"):
                await other.fork()
            assert (await vm.run(["find", "/tmp", "-type", "s"])).stdout == b""
            assert (await other.run("x")).result == "'other'"
        async with Interpreter.within(vm, max_memory="64M") as small:
            with pytest.raises(InterpreterDied) as caught:
                await small.run("bytearray(200 << 20)")
            assert caught.value.cause == "memory"
            await small.restart()
            assert (await small.run("1")).result == "1"
        assert (await vm.run(["true"])).returncode == 0


@pytest.mark.thorough
async def test_pool_has_started_interpreters(with_python: Image) -> None:
    prototype = Interpreter(image=with_python, imports=["json"])
    async with Pool(2, interpreter=prototype) as pool:
        async with pool.interpreter() as one, pool.interpreter() as other:
            await one.run("x = 1")
            await other.run("x = 2")
            assert (await one.run("json.dumps(x)")).result == "'1'"
        async with pool.interpreter() as third:
            assert not (await third.run("x")).ok
        with pytest.raises(UsageError, match="this is a pool of interpreters"):
            async with pool.machine():
                ...


async def test_checkpoint_beside_a_command_is_busy(python: Interpreter) -> None:
    async with await python.vm.exec(["sleep", "1000"]):
        with pytest.raises(Busy):
            await python.checkpoint()
    assert (await python.run("1")).result == "1"
