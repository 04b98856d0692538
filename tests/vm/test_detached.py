"""Tests of detached commands: from Python and the command line, with several clients."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from subprocess import PIPE
from typing import Any

import pexpect
import pytest
import pytest_asyncio
from click.testing import CliRunner
from tests.support.ctrl_c import interrupt_again_until_end
from tests.support.parameters import accelerator
from tests.vm.conftest import Command, processes

from microvm import (
    AttachedVM,
    Busy,
    DetachedProcess,
    MicroVM,
    UsageError,
)
from microvm.cli.verbs.detached import kill
from microvm.supervisor.client import detached_command, machines

COUNT = "for n in 1 2 3; do echo $n; done; echo err >&2; exit 3"

LEAVES = """
import asyncio, os, signal, sys
from microvm import MicroVM

async def main():
    vm = MicroVM.attach("shared")
    process = await vm.exec(["cat"], stdin=-1, detach=True)
    print(process.id, flush=True)
    process.stdin.write(b"from the first\\n")
    await process.stdout.readline()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def name(_runtime: None, microvm: Command) -> Iterator[str]:
    """The name of a running machine that the tests share."""
    started = microvm("start", "shared", f"--accel={accelerator()}", "--commands=1")
    assert started.returncode == 0, started.stderr
    yield "shared"
    microvm("stop", "--all")


@pytest.fixture(autouse=True)
def _idle() -> Iterator[None]:
    """Kill the command that a failed test has left running in the shared machine."""
    yield
    for machine in machines.inspect()[0]:
        for command in machine.get("commands", []):
            detached_command.send_signal(machine["name"], command["id"], signal.SIGKILL)


@pytest_asyncio.fixture(loop_scope="session")
async def there(name: str) -> AsyncIterator[AttachedVM]:
    """The attached machine."""
    async with MicroVM.attach(name) as attached:
        yield attached


def begin(microvm: Command, *arguments: str) -> str:
    """Start a detached command, and return its id as text."""
    started = microvm("exec", "--detach", *arguments)
    assert (started.returncode, started.stderr) == (0, b"")
    return str(int(started.stdout))


def known(microvm: Command) -> list[dict[str, Any]]:
    """Return the descriptions of the detached commands of the shared machine."""
    [found] = json.loads(microvm("inspect", "--json", "shared").stdout)
    commands: list[dict[str, Any]] = found["commands"]
    return commands


async def test_a_command_is_found_again_by_its_id(there: AttachedVM) -> None:
    process = await there.exec(["sh", "-c", COUNT], detach=True)
    assert await process.communicate() == (b"1\n2\n3\n", b"err\n")
    for _ in range(2):
        again = await there.process(process.id)
        assert again.args == ["sh", "-c", COUNT]
        assert await again.wait() == 3  # without reading
        assert (again.id, again.returncode, again.dropped) == (process.id, 3, (0, 0))
        assert await again.stdout.read() == b"1\n2\n3\n"
        assert await again.stderr.read() == b"err\n"
        assert (again.memory or 0) > 0
        again.kill()


async def test_a_command_outlives_every_kind_of_leaving(there: AttachedVM, name: str) -> None:
    async with await there.exec(["sleep", "700"], detach=True) as process:
        pass
    assert process.returncode is None
    with pytest.raises(UsageError, match="has detached from its command"):
        await process.wait()
    with pytest.raises(UsageError, match=r"`await vm.process\(ID\)` attaches again"):
        process.kill()
    dropped = await there.process(process.id)
    del dropped
    gc.collect()
    async with MicroVM.attach(name) as other:
        left = await other.process(process.id)
    assert left.returncode is None
    waiting = asyncio.create_task((await there.process(process.id)).communicate())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    last = await there.process(process.id)
    assert last.returncode is None
    last.terminate()
    assert await last.wait() == -signal.SIGTERM


@pytest.mark.thorough
async def test_a_machine_with_a_detached_command_is_busy(there: AttachedVM, name: str) -> None:
    process = await there.exec(["sleep", "701"], detach=True)
    number = process.id
    says = rf"is busy: {number}: sleep 701 .*`microvm logs shared {number}` .*`microvm kill shared"
    for use in (there.run(["true"]), there.checkpoint(), there.exec(["true"], detach=True)):
        with pytest.raises(Busy, match=says):
            await use
    async with MicroVM.attach(name, wait=True) as patient:
        waiting = asyncio.create_task(patient.exec(["echo", "next"], detach=True))
        await there.ping()
        process.kill()
        assert await (await waiting).communicate() == (b"next\n", b"")
    assert await process.wait() == -signal.SIGKILL
    assert not await processes(there, "sleep 701")


async def test_only_one_client_has_the_input(there: AttachedVM, name: str) -> None:
    process = await there.exec(["cat"], stdin=PIPE, detach=True)
    async with MicroVM.attach(name) as other:
        with pytest.raises(Busy, match=f"attached to the input of command {process.id} .*-n"):
            await other.process(process.id, stdin=PIPE)
        reader = await other.process(process.id)
        assert reader.stdin is None
        assert process.stdin is not None
        process.stdin.write(b"one\n")
        assert await reader.stdout.readline() == b"one\n"
        process.abandon()
        writer = await _with_input(other, process.id)
        assert writer.stdin is not None
        writer.stdin.write(b"two\n")
        assert await reader.stdout.readline() == b"two\n"
        writer.stdin.close()
        assert await writer.wait() == await reader.wait() == 0
        assert await writer.stdout.read() == b"one\ntwo\n"
    closed = await there.exec(["true"], detach=True)
    await closed.wait()
    with pytest.raises(UsageError, match="has no input"):
        await there.process(closed.id, stdin=PIPE)


async def _with_input(vm: AttachedVM, number: int) -> DetachedProcess:
    """Attach to the input of a command as soon as the client before it has disconnected."""
    while True:
        try:
            return await vm.process(number, stdin=PIPE)
        except Busy:
            await asyncio.sleep(0.01)


async def test_a_killed_client_leaves_the_command_and_its_input(there: AttachedVM) -> None:
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", LEAVES, stdout=PIPE)
    number, _ = await client.communicate()
    assert client.returncode == -signal.SIGKILL
    process = await _with_input(there, int(number))
    assert await process.communicate(b"from the second\n") == (
        b"from the first\nfrom the second\n",
        b"",
    )


def test_commands_show_a_detached_command(name: str, microvm: Command) -> None:
    number = begin(microvm, name, "--", "sh", "-c", COUNT)
    assert microvm("wait", name, number).stdout == b"3\n"
    for verb, status in (("logs", 0), ("attach", 3)):
        shown = microvm(verb, name, number)
        assert (shown.returncode, shown.stdout, shown.stderr) == (status, b"1\n2\n3\n", b"err\n")
    [found] = [each for each in known(microvm) if each["id"] == int(number)]
    assert found == {"id": int(number), "command": f"sh -c '{COUNT}'", "returncode": 3}
    assert (
        f"  {number}: sh -c '{COUNT}' (returncode 3)\n" in microvm("inspect", name).stdout.decode()
    )


def test_a_detached_command_can_be_followed_and_killed(name: str, microvm: Command) -> None:
    number = begin(microvm, name, "--", "sh", "-c", "echo up; sleep 704")
    command = [sys.executable, "-m", "microvm", "logs", "-f", name, number]
    with subprocess.Popen(command, stdout=PIPE) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"up\n"
        assert f"  {number}: sh -c" in microvm("ps").stdout.decode()
        assert microvm("kill", "-s", "TERM", name, number).returncode == 0
        assert following.wait() == 0
    assert microvm("wait", name, number).stdout == b"143\n"
    assert microvm("kill", name, number).returncode == 0
    missing = microvm("kill", name, "99")
    assert missing.stderr.startswith(b"microvm: machine shared has no detached command 99 (")


@pytest.mark.parametrize("given", ["sigterm", "15"])
def test_signals_have_names_and_numbers(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, int, int]] = []
    monkeypatch.setattr(detached_command, "send_signal", lambda *each: sent.append(each))
    assert CliRunner().invoke(kill, ["-s", given, "web", "1"]).exit_code == 0
    assert sent == [("web", 1, signal.SIGTERM)]
    refused = CliRunner().invoke(kill, ["-s", "NONE", "web", "1"])
    assert refused.exit_code == 2
    assert "no signal is called NONE" in refused.output


def test_input_is_passed_to_a_detached_command(name: str, microvm: Command) -> None:
    number = begin(microvm, "-i", name, "--", "cat")
    ignored = subprocess.Popen([sys.executable, "-m", "microvm", "attach", "-n", name, number])
    done = microvm("attach", name, number, input=b"through")
    assert (done.returncode, done.stdout) == (0, b"through")
    assert ignored.wait() == 0
    late = microvm("attach", name, number, input=b"unread")
    assert (late.returncode, late.stdout) == (0, b"through")
    number = begin(microvm, "-i", name, "--", "cat")
    command = ["-m", "microvm", "attach", name, number]
    with pexpect.spawn(sys.executable, command, timeout=60, echo=False) as typed:
        typed.sendline("a line")
        typed.expect_exact("a line")
        typed.sendeof()
        typed.expect(pexpect.EOF)
        assert typed.wait() == 0


@pytest.mark.thorough
def test_a_detached_terminal_can_be_left_by_keys(name: str, microvm: Command) -> None:
    number = begin(microvm, "-t", name, "--", "sh")
    command = ["-m", "microvm", "attach", name, number]
    for keys in ("\x10\x11", "\x10 \x11"):
        with pexpect.spawn(sys.executable, command, timeout=60, dimensions=(31, 97)) as shell:
            shell.expect_exact("attached to sh: Ctrl-P Ctrl-Q detaches\r\n")
            assert b"31 97" not in shell.before  # no earlier output is shown
            shell.sendline("stty size")
            shell.expect_exact("31 97\r\n")
            shell.expect_exact("# ")
            for key in keys.split():
                shell.send(key)
            shell.expect(pexpect.EOF)
            assert shell.wait() == 0
    with pexpect.spawn(sys.executable, command, timeout=60) as shell:
        shell.sendline("exit 5")
        shell.expect(pexpect.EOF)
        assert b"31 97" not in shell.before
        assert shell.wait() == 5
    assert microvm("logs", name, number).stdout.count(b"31 97\r\n") == 2


def test_ctrl_c_reaches_the_command_and_twice_detaches(name: str, microvm: Command) -> None:
    script = "trap 'echo caught' INT; while :; do echo goes on; sleep 0.1; done"
    number = begin(microvm, name, "--", "sh", "-c", script)
    command = ["-m", "microvm", "attach", name, number]
    with pexpect.spawn(sys.executable, command, timeout=60) as attached:
        for _ in range(5):  # its last line is printed when `microvm attach` has sent its request
            attached.expect_exact("goes on")
        attached.sendcontrol("c")
        attached.expect_exact("caught")
        attached.expect_exact("sh continues after Ctrl-C; press Ctrl-C twice within a second to")
        attached.expect_exact("detach from it")
        interrupt_again_until_end(attached)
        assert attached.signalstatus == signal.SIGINT
    assert known(microvm)[-1]["returncode"] is None
    microvm("kill", name, number)
    assert microvm("wait", name, number).stdout == b"137\n"
