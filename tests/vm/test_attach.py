"""Tests of attaching to named machines, from Python, and by `microvm cp` and `checkpoint`."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, CalledProcessError

import pytest
import pytest_asyncio
import uvloop
from click.testing import CliRunner
from tests.support.parameters import accelerator
from tests.vm.conftest import Command, processes

from microvm import (
    AttachedVM,
    Busy,
    ExecTimeout,
    FileNotFound,
    GuestDied,
    MemoryLimit,
    MicroVM,
    MicroVMError,
    OutputLimit,
    Snapshot,
    StartError,
    UsageError,
    sync,
)
from microvm.cli.verbs.cp import cp
from microvm.start.snapshots import STORE
from microvm.wire.session import WINDOW

MIB = 1 << 20
LOUD = ["sh", "-c", "echo out; echo err >&2; sleep 600"]

HALF = """
import asyncio, sys
from microvm import MicroVM

async def data():
    yield bytes(8 << 20)
    print("half", flush=True)
    await asyncio.sleep(600)

async def main():
    async with MicroVM.attach(sys.argv[1]) as vm:
        await vm.run(["mkdir", "/var/half"], check=True)
        await vm.write_file("/var/half/file", data())

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def name(_runtime: None, microvm: Command) -> Iterator[str]:
    """The name of a running machine that the tests share. Each test leaves it as it was."""
    started = microvm("start", "shared", f"--accel={accelerator()}", "--commands=1")
    assert started.returncode == 0, started.stderr
    yield "shared"
    microvm("stop", "--all")


@pytest.fixture
def own(_runtime: None, microvm: Command) -> Iterator[str]:
    """The name of a machine for one test, which may stop it."""
    assert microvm("start", "own", f"--accel={accelerator()}").returncode == 0
    yield "own"
    microvm("stop", "own")


@pytest_asyncio.fixture(loop_scope="session")
async def there(name: str) -> AsyncIterator[AttachedVM]:
    """The attached machine. The test may leave no descriptor open."""
    await asyncio.sleep(0)
    gc.collect()
    before = descriptors()
    async with MicroVM.attach(name) as attached:
        yield attached
    gc.collect()
    assert sorted(descriptors() - before) == []


def descriptors() -> set[tuple[str, Path]]:
    """Return the number of each open descriptor, and the object to which it refers.

    Compare two of these sets, and not the number of descriptors: a descriptor of an earlier test
    may be closed meanwhile, when its event loop runs again.
    """
    found = set[tuple[str, Path]]()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor by which this folder was listed
            found.add((link.name, link.readlink()))
    return found


@pytest.mark.thorough
async def test_both_streams_arrive_unchanged_and_complete(there: AttachedVM) -> None:
    script = "head -c 1000000 /dev/urandom >/tmp/x; cat /tmp/x; cat /tmp/x >&2; sha256sum </tmp/x"
    done = await there.run(["sh", "-c", script])
    data, digest = done.stdout[:1_000_000], done.stdout[1_000_000:].split()[0].decode()
    assert hashlib.sha256(data).hexdigest() == digest
    assert done.stderr == data
    assert (done.memory or 0) > 1_000_000  # the file uses memory
    assert (await there.run(["sh", "-c", "kill -9 $$"])).returncode == -signal.SIGKILL
    with pytest.raises(CalledProcessError):
        await there.run(["false"], check=True)


@pytest.mark.thorough
async def test_connections_lead_to_a_server_of_the_machine(there: AttachedVM) -> None:
    listens = "until netstat -ltn | grep -q :7000; do :; done"
    script = f"nc -lk -p 7000 -e cat >/dev/null 2>&1 & {listens}"
    await there.run(["sh", "-c", script], check=True)
    reader, writer = await there.connect(7000)
    with pytest.raises(Busy):
        await there.run(["true"])
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()
    await writer.wait_closed()
    async with await there.forward(0, 7000) as forward:
        reader, writer = await asyncio.open_connection(*forward.address)
        writer.write(bytes(MIB))
        assert await reader.readexactly(MIB) == bytes(MIB)
        writer.close()
    await there.run(["pkill", "nc"], check=True)


@pytest.mark.thorough
async def test_a_command_waits_for_a_reader_that_stops(there: AttachedVM) -> None:
    command = ["dd", "if=/dev/zero", "bs=64k", "count=80"]
    async with await there.exec(command) as process:
        while len(process.stdout._buffer) < WINDOW:  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.01)
        assert process.returncode is None
        assert len(process.stdout._buffer) < 2 * WINDOW
        assert len(await process.stdout.read()) == 5 * MIB
        assert await process.wait() == 0


@pytest.mark.thorough
async def test_all_input_reaches_the_command(there: AttachedVM) -> None:
    data = os.urandom(MIB)
    assert (await there.run(["cat"], input=data)).stdout == data
    async with await there.exec(["cat"], stdin=PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"a line\n")
        assert await process.stdout.readline() == b"a line\n"
        process.stdin.close()
        assert await process.stdout.read() == b""
        assert await process.wait() == 0
    async with await there.exec(["sh", "-c", "exec <&-; echo closed; sleep 600"], stdin=PIPE) as p:
        assert p.stdin is not None
        assert await p.stdout.readline() == b"closed\n"
        p.stdin.write(bytes(2 * MIB))
        with pytest.raises(BrokenPipeError):
            await p.stdin.drain()


@pytest.mark.thorough
async def test_terminal_gets_its_size_and_sends_signals(there: AttachedVM) -> None:
    script = "stty size; trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.1; done"
    async with await there.exec(["sh", "-c", script], tty=(30, 90)) as process:
        assert await process.stdout.readline() == b"30 90\r\n"
        assert await process.stdout.readline() == b"ready\r\n"
        process.resize(31, 91)
        assert await process.stdout.readline() == b"31 91\r\n"
        assert await process.wait() == 7


@pytest.mark.thorough
async def test_errors_are_those_of_an_own_machine(there: AttachedVM) -> None:
    for timeout in (0.2, 1.0, 20.0):
        with pytest.raises(ExecTimeout, match=f"sh: timed out after {timeout:g} s") as late:
            await there.run(LOUD, timeout=timeout, text=True)
        if late.value.stderr:  # on a busy host, the command needs longer to start
            break
    assert (late.value.stdout, late.value.stderr) == ("out\n", "err\n")
    assert late.value.timeout == timeout
    with pytest.raises(OutputLimit) as much:
        await there.run(["yes"], max_output=5)
    assert (much.value.stdout, much.value.limit) == (b"y\ny\ny", 5)
    with pytest.raises(MemoryLimit) as large:
        await there.run(["sh", "-c", "echo some; exec tail -c 60m /dev/zero"], max_memory="20M")
    assert (large.value.stdout, large.value.limit) == (b"some\n", 20 * MIB)
    with pytest.raises(StartError) as missing:
        await there.run(["none"])
    assert (missing.value.stage, missing.value.errno, missing.value.exit_status) == (
        "lookup",
        2,
        127,
    )
    with pytest.raises(StartError, match="its working directory /none"):
        await there.run(["true"], cwd="/none")
    with pytest.raises(UsageError, match="cannot be sent"):
        await there.run(["echo", "\0"])
    assert (await there.run(["true"])).returncode == 0


async def test_options_reach_the_command_unchanged(there: AttachedVM) -> None:
    argv: list[str | bytes] = ["sh", "-c"]
    argv += ['printf "%s\\n" "$ODD" "$(pwd)" "$(id -un)" "$1"', "sh", b"\xfe"]
    env = {b"ODD": b"\xff\n"}
    done = await there.run(argv, env=env, cwd="/tmp", user="nobody", command="/bin/sh")
    assert done.stdout == b"\xff\n\n/tmp\nnobody\n\xfe\n"


@pytest.mark.thorough
async def test_one_command_runs_at_a_time_and_others_may_wait(there: AttachedVM, name: str) -> None:
    async with MicroVM.attach(name) as other, MicroVM.attach(name, wait=True) as patient:
        async with await there.exec(["cat"], stdin=PIPE) as process:
            with pytest.raises(Busy, match="machine shared is busy: cat"):
                await other.run(["true"])
            waiting = asyncio.create_task(patient.run(["echo", "at last"]))
            await other.ping()
            await other.status()
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()
        assert (await waiting).stdout == b"at last\n"


@pytest.mark.thorough
async def test_cancelled_or_dropped_command_is_killed(there: AttachedVM) -> None:
    running = asyncio.create_task(there.run(["sleep", "601"]))
    async with asyncio.timeout(60):
        while not there._remote._commands:  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await there.exec(["sleep", "602"])
        assert (await there.run(["echo", "free"])).stdout == b"free\n"
        for left in ("601", "602"):
            assert not await processes(there, f"sleep {left}")


@pytest.mark.thorough
async def test_detaching_keeps_the_machine_and_ends_own_commands(
    there: AttachedVM, name: str
) -> None:
    async with MicroVM.attach(name) as attached:
        assert repr(attached).startswith("<AttachedVM shared of alpine")
        assert attached.id == "shared"
        assert attached.pid is not None
        process = await attached.exec(["sleep", "603"])
    assert process.returncode == -signal.SIGKILL
    assert not await processes(there, "sleep 603")
    with pytest.raises(UsageError, match="let go"):
        await attached.run(["true"])
    with pytest.raises(UsageError, match="let go"):
        await attached.stop()
    assert (await there.run(["true"])).returncode == 0


async def test_missing_machine_is_an_error_with_a_next_step(name: str) -> None:
    with pytest.raises(MicroVMError, match=r"there is no machine none .*`microvm ps`"):
        MicroVM.attach("none")


@pytest.mark.thorough
async def test_files_work_as_with_an_own_machine(there: AttachedVM, tmp_path: Path) -> None:
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/large").write_bytes(os.urandom(3 * MIB + 5))
    await there.put(tmp_path / "tree", "/srv/")
    received = await there.get("/srv/tree", tmp_path / "back")
    assert received.files == 3
    large = (tmp_path / "back/inner/large").read_bytes()
    assert large == (tmp_path / "tree/inner/large").read_bytes()
    await there.write_file("x", "grüße", mode=0o640)
    assert await there.read_file("/root/x", encoding="utf-8") == "grüße"
    assert (await there.stat("x")).mode & 0o7777 == 0o640
    assert [each.name for each in await there.list("/srv")] == ["tree"]
    with pytest.raises(FileNotFound) as missing:
        await there.read_file("/none")
    assert missing.value.filename == "/none"
    assert isinstance(missing.value, FileNotFoundError)
    await there.run(["rm", "-rf", "/srv/tree", "/root/x"], check=True)


@pytest.mark.thorough
async def test_unnamed_checkpoint_of_a_named_machine_can_be_forked(there: AttachedVM) -> None:
    await there.write_file("/tmp/before", "x")
    async with await there.fork(2) as forks:
        await there.run(["rm", "/tmp/before"], check=True)
        for fork in forks:
            assert await fork.read_file("/tmp/before") == b"x"
        assert {type(fork) for fork in forks} == {MicroVM}


async def test_user_of_a_machine_that_ends_gets_the_reason(own: str) -> None:
    async with MicroVM.attach(own) as vm, MicroVM.attach(own) as other:
        async with await vm.exec(["sh", "-c", "echo up; sleep 600"]) as process:
            assert await process.stdout.readline() == b"up\n"
            await other.stop()
            await other.stop()
            with pytest.raises(GuestDied, match=r"machine own is gone: it was stopped$"):
                await process.wait()  # its logs are removed with it
        for stopped in (vm, other):
            with pytest.raises(GuestDied, match="machine own was stopped"):
                await stopped.run(["true"])
        await vm.stop()
        with pytest.raises(GuestDied, match="machine own was stopped"):
            await vm.run(["true"])


@pytest.mark.thorough
async def test_reason_of_a_dead_guest_can_be_read_at_any_time(own: str) -> None:
    async with MicroVM.attach(own) as vm:
        with pytest.raises(GuestDied, match="the guest rebooted"):
            await vm.run(["sh", "-c", "echo b >/proc/sysrq-trigger; sleep 600"])
        for _ in range(2):
            with pytest.raises(GuestDied, match="machine own is gone: the guest rebooted"):
                await vm.run(["true"])
        await vm.stop()


async def test_machine_of_a_killed_supervisor_is_gone(own: str) -> None:
    async with (
        MicroVM.attach(own) as vm,
        await vm.exec(["sh", "-c", "echo up; sleep 600"]) as process,
    ):
        assert await process.stdout.readline() == b"up\n"
        os.kill(vm.facts["supervisor"], signal.SIGKILL)
        with pytest.raises(GuestDied, match="machine own is gone: its supervisor was killed"):
            await process.wait()
    with pytest.raises(GuestDied, match="its supervisor was killed"):
        MicroVM.attach(own)


@pytest.mark.thorough
async def test_a_new_machine_of_the_same_name_is_not_used(own: str, microvm: Command) -> None:
    async with MicroVM.attach(own) as vm:
        assert microvm("stop", own).returncode == 0
        assert microvm("start", own, f"--accel={accelerator()}").returncode == 0
        for use in (vm.run(["true"]), vm.ping(), vm.read_file("x"), vm.checkpoint(), vm.stop()):
            with pytest.raises(GuestDied, match="own was stopped; another has its name"):
                await use
    async with MicroVM.attach(own) as another:
        assert (await another.run(["true"])).returncode == 0


def test_commands_end_with_the_loop_that_started_them(name: str) -> None:
    kept = []

    async def leave() -> None:
        vm = MicroVM.attach(name)
        kept.append(await vm.exec(["sleep", "604"]))
        with pytest.raises(Busy):
            await vm.run(["true"])

    with pytest.warns(ResourceWarning, match="left running in machine shared: sleep"):
        asyncio.run(leave())
    with sync.MicroVM.attach(name, wait=True) as vm:
        assert vm.run(["pgrep", "-f", "sleep 604"]).stdout == b""


def test_a_copy_that_is_killed_leaves_nothing_in_the_machine(name: str) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", HALF, name], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"half\n"
    writer.kill()
    writer.communicate()
    with sync.MicroVM.attach(name, wait=True) as vm:
        assert vm.run(["ls", "-A", "/var/half"]).stdout == b""
        vm.run(["rmdir", "/var/half"], check=True)


def test_threads_wait_for_their_turns(name: str) -> None:
    def use(number: int) -> list[bytes]:
        with sync.MicroVM.attach(name, wait=True) as vm:
            return [vm.run(["echo", f"{number}.{each}"]).stdout for each in range(3)]

    with ThreadPoolExecutor(4) as threads:
        outputs = list(threads.map(use, range(4)))
    assert outputs == [[b"%d.%d\n" % (number, each) for each in range(3)] for number in range(4)]


@pytest.mark.thorough
def test_sync_api_attaches_too(name: str) -> None:
    gc.collect()
    before = descriptors()
    with sync.MicroVM.attach(name) as vm:
        with vm.exec(["cat"], stdin=PIPE) as process:
            assert process.communicate(b"through") == (b"through", b"")
        vm.ping()
        vm.write_file("/tmp/y", b"y")
        with vm.fork() as forks:
            assert forks[0].read_file("/tmp/y") == b"y"
        assert vm.name == name
    with pytest.raises(UsageError):
        vm.run(["true"])
    del forks, process, vm
    gc.collect()
    assert sorted(descriptors() - before) == []


def test_attaching_works_in_uvloop(name: str) -> None:
    async def use() -> None:
        async with MicroVM.attach(name) as vm:
            assert (await vm.run(["cat"], input=bytes(MIB))).stdout == bytes(MIB)
            with pytest.raises(ExecTimeout):
                await vm.run(LOUD, timeout=0.2)
            await vm.write_file("/tmp/z", "z")
            async with await vm.exec(["yes"]) as process:
                assert await process.stdout.read(2) == b"y\n"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use())


def test_files_are_copied_by_the_command(name: str, microvm: Command, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    copied = microvm("cp", str(tmp_path / "a"), "shared:/tmp/in/")
    assert (copied.returncode, copied.stderr) == (0, b"")
    packed = microvm("cp", f"{name}:/tmp/in", "-")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        assert archive.getnames() == ["in", "in/a"]
    assert microvm("cp", "-", f"{name}:/tmp/again", input=packed.stdout).returncode == 0
    fifo = tarfile.TarInfo("fifo")
    fifo.type = tarfile.FIFOTYPE
    put = microvm("cp", "-", f"{name}:/tmp/again", input=fifo.tobuf() + bytes(1024))
    assert (put.returncode, put.stderr) == (
        0,
        b"microvm: left out of the archive, because devices and FIFOs are not copied: fifo\n",
    )
    with sync.MicroVM.attach(name) as vm:
        vm.run(["ln", "-s", "/etc/passwd", "/tmp/again/out"], check=True)
    got = microvm("cp", f"{name}:/tmp/again", ".", cwd=tmp_path)
    assert (got.returncode, got.stderr) == (
        0,
        b"microvm: left out of again, because they point out of it: out\n",
    )
    assert (tmp_path / "again/in/a").read_text() == "content"


def test_copies_are_relative_to_the_folder_of_the_user(
    name: str, microvm: Command, tmp_path: Path
) -> None:
    script = tmp_path / "x.sh"
    script.write_text("#!/bin/sh\npwd\n")
    script.chmod(0o755)
    user = ("--user", "nobody")
    assert microvm("cp", *user, str(script), f"{name}:.").returncode == 0
    ran = microvm("exec", *user, name, "--", "./x.sh")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"/home/65534\n", b"")
    script.write_text("not written")
    microvm("exec", *user, name, "--", "chmod", "a-w", "x.sh")
    refused = microvm("cp", *user, str(script), f"{name}:.")
    assert (refused.returncode, refused.stderr) == (
        125,
        b"microvm: /home/65534/x.sh: Permission denied in the guest\n",
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["/none/a", "shared:/tmp"], b"cannot copy /none/a: No such file or directory"),
        (["shared:/none", "."], b"/none: No such file or directory in the guest"),
        (["--max-size", "4", "shared:/etc", "-"], b"(a higher --max-size allows more bytes)"),
        (["a", "none:b"], b"there is no machine none"),
    ],
)
def test_a_copy_that_fails_reports_the_reason(
    name: str, microvm: Command, arguments: list[str], why: bytes
) -> None:
    failed = microvm("cp", *arguments, stdin=None)
    assert (failed.returncode, failed.stdout) == (125, b"")
    assert why in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["a", "b"], "one of SRC and DST must be NAME:PATH"),
        (["x:a", "y:b"], "one of SRC and DST must be NAME:PATH"),
        (["a", "x:"], "has no path: write x:PATH"),
        (["--max-size", "1M", "a", "x:b"], "--max-size limits only copies out of a machine"),
        (["--owner", "0", "x:a", "b"], "files copied out of it are yours"),
    ],
)
def test_senseless_copies_are_refused(arguments: list[str], why: str) -> None:
    refused = CliRunner().invoke(cp, arguments)
    assert refused.exit_code == 2
    assert why in " ".join(refused.output.split())


def test_machines_start_from_a_named_checkpoint(name: str, microvm: Command) -> None:
    snapshot = "attach-test"
    with sync.MicroVM.attach(name) as vm:
        vm.write_file("/tmp/kept", "x")
        with vm.exec(["cat"], stdin=PIPE):
            busy = microvm("checkpoint", name, snapshot)
        assert (busy.returncode, busy.stdout) == (125, b"")
        assert b"is busy: cat" in busy.stderr
        try:
            taken = microvm("checkpoint", name, snapshot)
            assert (taken.returncode, taken.stdout, taken.stderr) == (0, b"", b"")
            with sync.MicroVM(Snapshot.find(snapshot)) as clone:
                assert clone.read_file("/tmp/kept") == b"x"
            again = vm.checkpoint(snapshot)
            assert (again.name, again.pause > 0) == (snapshot, True)
        finally:
            with suppress(MicroVMError):
                STORE.remove(snapshot)
