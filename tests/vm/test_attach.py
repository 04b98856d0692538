"""Tests of attaching to named machines, from Python, and by `microvm cp` and `checkpoint`."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE

import pytest
import pytest_asyncio
from click.testing import CliRunner
from tests.support.parameters import accelerator
from tests.vm.conftest import Command, processes

from microvm import (
    AttachedVM,
    Busy,
    FileNotFound,
    GuestDied,
    MicroVM,
    MicroVMError,
    Snapshot,
    UsageError,
    sync,
)
from microvm.cli.verbs.cp import cp
from microvm.start.snapshots import STORE

MIB = 1 << 20

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


async def test_options_reach_the_command_unchanged(there: AttachedVM) -> None:
    argv: list[str | bytes] = ["sh", "-c"]
    argv += ['printf "%s\\n" "$ODD" "$(pwd)" "$(id -un)" "$1"', "sh", b"\xfe"]
    env = {b"ODD": b"\xff\n"}
    done = await there.run(argv, env=env, cwd="/tmp", user="nobody", command="/bin/sh")
    assert done.stdout == b"\xff\n\n/tmp\nnobody\n\xfe\n"


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


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
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
