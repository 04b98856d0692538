"""Tests of several commands at once in named machines, from several clients."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from subprocess import PIPE
from typing import Any

import pexpect
import pytest
import pytest_asyncio
from tests.support.parameters import accelerator
from tests.support.polling import eventually
from tests.support.processes import is_alive
from tests.vm.conftest import Begin, Command

from microvm import AttachedVM, MicroVM
from microvm.options import NAMED_COMMANDS
from microvm.supervisor.client import machines
from microvm.supervisor.detached import FINISHED

SLOTS = 4


@pytest.fixture(scope="module")
def name(_runtime: None, microvm: Command) -> Iterator[str]:
    """Start a machine that the tests share, which permits `SLOTS` commands. Yield its name."""
    started = microvm("start", "several", f"--accel={accelerator()}", "--commands", str(SLOTS))
    assert started.returncode == 0, started.stderr
    yield "several"
    microvm("stop", "--all")


@pytest.fixture(autouse=True)
def _idle(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check after each test that no command runs in the shared machine."""
    yield
    if "name" in request.fixturenames:
        eventually(lambda: not known("several").get("running"))


@pytest_asyncio.fixture(loop_scope="session")
async def there(name: str) -> AsyncIterator[AttachedVM]:
    """Attach to a machine, and yield it."""
    async with MicroVM.attach(name) as attached:
        yield attached


def known(name: str) -> dict[str, Any]:
    """Return the description of a machine."""
    [found], failure = machines.inspect([name])
    assert failure is None
    return found


def running(name: str) -> list[str]:
    """Return the lines that show a machine's running commands."""
    return [each["command"] for each in known(name)["running"]]


def await_queue(name: str, length: int) -> None:
    """Wait until `length` requests wait in the queue of a machine."""
    eventually(lambda: known(name)["waiting"] == length)


def test_commands_of_several_clients_run_at_once(name: str, begin: Begin) -> None:
    """Each command waits for the next one, so they cannot run one after another."""
    script = "touch /tmp/{0}; until [ -e /tmp/{1} ]; do sleep 0.01; done; echo {0}"
    children = [begin(name, script.format(each, (each + 1) % SLOTS)) for each in range(SLOTS)]
    for number, child in enumerate(children):
        assert child.communicate(timeout=60) == (b"%d\n" % number, b"")
        assert child.returncode == 0


def test_a_full_machine_says_what_runs_and_the_way_out(
    name: str, begin: Begin, microvm: Command
) -> None:
    first, *_ = [begin(name, f"echo up; sleep 80{each}", says=b"up\n") for each in range(SLOTS)]
    refused = microvm("exec", name, "true")
    assert (refused.returncode, refused.stdout) == (125, b"")
    said = refused.stderr.decode()
    shown = "; ".join(f"sh -c 'echo up; sleep 80{each}'" for each in range(3))
    assert said.startswith(f"microvm: machine several is busy: {shown}; 1 more (--wait, ")
    assert "`microvm update several --commands N` permits more than 4 at once)\n" in said
    row = microvm("ps").stdout.decode().splitlines()[1]
    assert row.endswith("sh -c 'echo up; sleep 800' and 3 more")
    assert "  sh -c 'echo up; sleep 803'\n" in microvm("inspect", name).stdout.decode()
    waiting = []
    for number in range(3):
        waiting.append(begin(name, f"echo {number} >>/tmp/order", "--wait"))
        await_queue(name, number + 1)
    first.kill()
    for child in waiting:
        assert child.wait(60) == 0
    assert running(name) == [f"sh -c 'echo up; sleep 80{each}'" for each in range(1, SLOTS)]
    assert microvm("exec", name, "cat", "/tmp/order").stdout == b"0\n1\n2\n"


def test_a_checkpoint_waits_for_all_commands(name: str, begin: Begin, microvm: Command) -> None:
    children = [begin(name, "echo up; exec sleep 810", says=b"up\n") for _ in range(2)]
    refused = microvm("checkpoint", name, "several-test")
    assert refused.returncode == 125
    assert refused.stderr.startswith(b"microvm: machine several is busy: sh -c ")
    assert b"--commands" not in refused.stderr
    command = [sys.executable, "-m", "microvm", "checkpoint", "--wait", name, "several-test"]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE) as checkpoint:
        await_queue(name, 1)
        late = microvm("exec", name, "true")  # despite a free slot
        assert (late.returncode, b"; 1 waiting (--wait, " in late.stderr) == (125, True)
        patient = begin(name, "echo late", "--wait")
        await_queue(name, 2)
        children[0].kill()
        eventually(lambda: len(running(name)) == 1)
        assert checkpoint.poll() is None
        children[1].kill()
        assert checkpoint.communicate(timeout=60) == (b"", b"")
        assert checkpoint.returncode == 0
    assert patient.communicate(timeout=60) == (b"late\n", b"")
    assert microvm("snapshot", "rm", "several-test").returncode == 0


def test_two_shells_have_their_own_terminals(name: str) -> None:
    command = ["-m", "microvm", "exec", "-it", name, "sh"]
    with (
        pexpect.spawn(sys.executable, command, timeout=60, dimensions=(31, 97)) as one,
        pexpect.spawn(sys.executable, command, timeout=60, dimensions=(12, 34)) as two,
    ):
        for shell, size in ((one, "31 97"), (two, "12 34")):
            shell.sendline("stty size")
            shell.expect_exact(f"{size}\r\n")
        one.setwinsize(40, 50)
        one.sendline("until [ \"$(stty size)\" = '40 50' ]; do sleep 0.01; done; echo resi''zed")
        one.expect_exact("resized\r\n")
        two.sendline("stty size; tty")
        two.expect_exact("12 34\r\n")
        for shell in (one, two):
            shell.sendline("echo beg''un; sleep 830; echo st=$?")
            shell.expect_exact("begun\r\n")
        one.sendcontrol("c")
        one.expect_exact("^C")
        one.sendline("pgrep -x sleep | wc -l; exit 5")
        one.expect_exact("1\r\n")  # Ctrl-C has not killed the sleep of the other shell
        one.expect(pexpect.EOF)
        two.sendcontrol("c")
        two.sendline("exit 6")
        two.expect(pexpect.EOF)
        assert (one.wait(), two.wait()) == (5, 6)


def test_a_killed_client_ends_only_its_command(name: str, begin: Begin, microvm: Command) -> None:
    children = [begin(name, f"echo up; exec sleep 84{each}", says=b"up\n") for each in range(3)]
    children[1].kill()
    eventually(lambda: len(running(name)) == 2)
    assert microvm("exec", name, "pgrep", "-f", "sleep 841").stdout == b""
    assert len(microvm("exec", name, "pgrep", "-f", "sleep 84[02]").stdout.split()) == 2
    children[0].send_signal(signal.SIGINT)  # kills only the command of this client
    assert children[0].wait(60) == -signal.SIGINT
    assert running(name) == ["sh -c 'echo up; exec sleep 842'"]


async def test_the_result_of_a_lasting_command_is_kept(there: AttachedVM) -> None:
    """A result is forgotten in the order of the exits: first those of the short commands."""
    lasting = await there.exec(["sh", "-c", "read line; exit 7"], stdin=PIPE, detach=True)
    short = [await there.exec(["true"], detach=True) for _ in range(SLOTS - 1)]
    for _ in range(FINISHED - len(short)):
        await short[-1].wait()
        short.append(await there.exec(["true"], detach=True))
    for each in short:
        await each.wait()
    assert await lasting.communicate(b"\n") == (b"", b"")
    assert await (await there.process(lasting.id)).wait() == 7
    kept = [each["id"] for each in known("several")["commands"]]
    assert len(kept) == FINISHED
    assert lasting.id in kept


@pytest.mark.usefixtures("_runtime")
@pytest.mark.parametrize(
    ("end", "why"),
    [("stop", "it was stopped"), ("supervisor", "its supervisor was killed")],
)
def test_each_client_learns_of_the_end(microvm: Command, begin: Begin, end: str, why: str) -> None:
    assert microvm("start", "own", f"--accel={accelerator()}", "--commands=3").returncode == 0
    found = known("own")
    started = microvm("exec", "-d", "own", "sleep", "860")
    assert started.stderr == b""
    number = started.stdout.decode().strip()
    command = [sys.executable, "-m", "microvm", "wait", "own", number]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE) as waiting:
        children = [begin("own", "echo up; sleep 861", says=b"up\n"), waiting]
        flood = begin("own", "yes")
        eventually(lambda: len(running("own")) == 3)
        queued = [begin("own", "true", "--wait", *each) for each in ((), ("--detach",))]
        await_queue("own", 2)
        if end == "stop":
            assert microvm("stop", "own").returncode == 0
        else:
            os.kill(found["supervisor"], signal.SIGKILL)
        for child in (*children, flood, *queued):
            said = child.communicate(timeout=60)[1].decode()
            assert said.startswith(f"microvm: machine own is gone: {why}")
            assert child.returncode == 125
    eventually(lambda: not is_alive(found["qemu"]) and not is_alive(found["supervisor"]))
    microvm("stop", "own")


async def test_a_server_is_reached_beside_its_command(there: AttachedVM) -> None:
    server = await there.exec(["nc", "-lk", "-p", "8080", "-e", "cat"])
    while (await there.run(["nc", "-z", "127.0.0.1", "8080"])).returncode:
        pass
    reader, writer = await there.connect(8080)
    writer.write(b"through\n")
    assert await reader.readline() == b"through\n"
    assert (await there.run(["echo", "beside"])).stdout == b"beside\n"
    writer.close()
    await writer.wait_closed()
    server.kill()
    await server.wait()


@pytest.mark.usefixtures("_runtime")
def test_the_configuration_sets_the_number(microvm: Command) -> None:
    env = {**os.environ, "MICROVM_COMMANDS": "2"}
    assert microvm("start", "two", f"--accel={accelerator()}", env=env).returncode == 0
    assert known("two")["max_commands"] == 2
    microvm("stop", "two")
    for number in ("0", "65"):
        refused = microvm("start", "two", "--commands", number)
        assert refused.returncode == 2
        assert b"--commands" in refused.stderr


@pytest.mark.usefixtures("_runtime")
def test_named_machine_runs_several_commands_by_default(microvm: Command, begin: Begin) -> None:
    assert microvm("start", "usual", f"--accel={accelerator()}").returncode == 0
    assert known("usual")["max_commands"] == NAMED_COMMANDS
    begin("usual", "echo up; exec sleep 820", says=b"up\n")
    assert microvm("update", "usual", "--commands", "1").stdout == b"usual\n"
    refused = microvm("exec", "usual", "true")
    assert b"`microvm update usual --commands N` permits more than 1 at once" in refused.stderr
    waiting = begin("usual", "echo late", "--wait")
    await_queue("usual", 1)
    assert microvm("update", "usual", "--commands", "2").returncode == 0
    assert waiting.communicate(timeout=60) == (b"late\n", b"")
    assert MicroVM.attach("usual").commands == 2
    microvm("stop", "usual")
