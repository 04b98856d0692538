"""Tests of standard input, users, limits and process trees in a real guest."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from tests.vm.conftest import kill, processes

from microvm import (
    ExecTimeout,
    FileForbidden,
    MachineError,
    MemoryLimit,
    MicroVM,
    OutputLimit,
    StartError,
)
from microvm.images import Image

MIB = 1 << 20


async def test_input_reaches_the_command_and_ends(vm: MicroVM) -> None:
    assert (await vm.run(["cat"], input=b"a\0b\xff")).stdout == b"a\0b\xff"
    assert (await vm.run(["cat"], input=b"")).stdout == b""
    assert (await vm.run(["cat"])).stdout == b""


@pytest.mark.parametrize("script", ["true", "exec <&-; sleep 0.2", "head -c 1 >/dev/null"])
async def test_a_command_that_does_not_read_its_input_is_no_error(vm: MicroVM, script: str) -> None:
    assert (await vm.run(["sh", "-c", script], input=bytes(8 * MIB))).returncode == 0


SHOW_HOME = ["sh", "-c", 'pwd; echo "$HOME"; stat -c "%u:%g %a" .; echo x >made && cat made']


@pytest.mark.parametrize(
    ("user", "uid", "gid"), [("nobody", 65534, 65534), (1234, 1234, 1234), ("daemon:0", 2, 0)]
)
@pytest.mark.parametrize("first", ["command", "copy"])
async def test_user_without_a_home_gets_a_home_folder(
    vm: MicroVM, user: str | int, uid: int, gid: int, first: str
) -> None:
    """Commands and copied files use the same home, whichever is first."""
    await vm.run(["rm", "-rf", f"/home/{uid}"], check=True)
    if first == "copy":
        await vm.write_file("script", "#!/bin/sh\necho ran\n", mode=0o755, user=user)
    shown = await vm.run(SHOW_HOME, user=user, text=True)
    home = f"/home/{uid}"
    assert (shown.stdout, shown.stderr) == (f"{home}\n{home}\n{uid}:{gid} 700\nx\n", "")
    if first == "command":
        await vm.write_file("script", "#!/bin/sh\necho ran\n", mode=0o755, user=user)
    assert (await vm.run(["./script"], user=user, text=True)).stdout == "ran\n"
    assert await vm.read_file("made", user=user) == b"x\n"


@pytest.mark.parametrize(
    "taken",
    ["mkdir -m 777 /home/1234; chown 77 /home/1234", "ln -s /tmp /home/1234", "touch /home/1234"],
    ids=["another's", "a link", "a file"],
)
async def test_home_folder_of_another_owner_is_not_used(vm: MicroVM, taken: str) -> None:
    await vm.run(["sh", "-c", f"rm -rf /home/1234; mkdir -p /home; {taken}"], check=True)
    try:
        shown = await vm.run(["sh", "-c", "pwd; echo $HOME"], user=1234, text=True)
        assert shown.stdout == "/\n/\n"
        with pytest.raises(FileForbidden, match="script"):
            await vm.write_file("script", "x", user=1234)
    finally:
        await vm.run(["rm", "-rf", "/home/1234"], check=True)


async def test_an_unprivileged_user_may_mount_proc_in_a_container(vm: MicroVM) -> None:
    unshare = ["unshare", "-U", "-r", "-p", "-f", "-m", "--mount-proc"]
    result = await vm.run([*unshare, "sh", "-c", "echo /proc/[0-9]*; id -u"], user="nobody")
    assert (result.stdout, result.stderr) == (b"/proc/1\n0\n", b"")


ESCAPES = {
    "silent": "exec sleep 300.1",
    "ignores SIGTERM": "trap '' TERM INT HUP; sleep 300.1 & wait; sleep 300.1",
    "in a session of its own": "setsid sleep 300.1 & sleep 300.1",
    "forked twice": "(setsid sh -c 'sleep 300.1 & sleep 300.1' &); sleep 300.1",
    "floods": "yes 300.1",
}


@pytest.mark.parametrize("escape", ESCAPES)
async def test_a_timeout_kills_the_whole_process_tree(vm: MicroVM, escape: str) -> None:
    with pytest.raises(ExecTimeout):
        await vm.run(["sh", "-c", ESCAPES[escape]], timeout=0.5, grace=0.1)
    assert await processes(vm, "300.1") == []


async def test_grace_lets_a_command_clean_up(vm: MicroVM) -> None:
    script = "trap 'echo cleaned; exit 0' TERM; echo started; while :; do sleep 0.05; done"
    with pytest.raises(ExecTimeout) as caught:
        await vm.run(["sh", "-c", script], timeout=0.5, grace=10)
    assert caught.value.stdout == b"started\ncleaned\n"


async def test_output_above_the_limit_is_an_error_with_the_rest(vm: MicroVM) -> None:
    with pytest.raises(OutputLimit) as caught:
        await vm.run(["yes"], max_output=1001)
    assert caught.value.stdout == b"y\n" * 500 + b"y"
    assert (await vm.run(["printf", "12345"], max_output=5)).stdout == b"12345"


@pytest.mark.thorough
async def test_fork_bomb_ends_without_effect_on_the_machine(vm: MicroVM) -> None:
    bomb = "f() { f | f; }; while :; do f; done"
    async with await vm.exec(["sh", "-c", bomb], max_processes=200) as process:
        reading = asyncio.create_task(process.stderr.readline())
        while not reading.done():
            await vm.ping(timeout=20)
        assert b"can't fork" in await reading
        for _ in range(10):
            await vm.ping(timeout=20)
    assert (await vm.run(["echo", "alive"])).stdout == b"alive\n"


@pytest.mark.thorough
async def test_memory_is_limited_if_asked(vm: MicroVM) -> None:
    script = "dd if=/dev/zero bs=30M count=1 | wc -c"
    with pytest.raises(MemoryLimit, match="sh: took more than 20M of memory") as caught:
        await vm.run(["sh", "-c", f"echo before; {script}; echo behind"], max_memory=20 * MIB)
    assert (caught.value.limit, caught.value.stdout) == (20 * MIB, b"before\n")
    async with await vm.exec(["sh", "-c", script], max_memory=20 * MIB) as process:
        with pytest.raises(MemoryLimit):
            await process.wait()
        assert process.returncode == -9
    killed = await vm.run(["sh", "-c", "kill -9 $$"], max_memory=20 * MIB)
    assert killed.returncode == -9
    assert (await vm.run(["sh", "-c", script])).stdout.strip() == str(30 * MIB).encode()


async def test_peak_memory_is_that_of_the_command_alone(vm: MicroVM) -> None:
    async def took(size: str, into: str = "/dev/null") -> float:
        script = f"dd if=/dev/zero of={into} bs={size} count=1"
        result = await vm.run(["sh", "-c", script], check=True)
        assert result.memory is not None
        return result.memory / MIB

    assert 40 < await took("40M") < 44
    assert 0 < await took("4k") < 4
    # The memory of a file in memory counts for this command, and not for later ones.
    assert 40 < await took("20M", "/dev/shm/left") < 44
    assert 0 < await took("4k") < 4
    script = "dd if=/dev/zero of=/dev/null bs=10M count=1; rm /dev/shm/left; echo; sleep 60"
    async with await vm.exec(["sh", "-c", script]) as process:
        assert (await process.stdout.readline(), process.memory) == (b"\n", None)
        process.kill()
        await process.wait()
    assert 10 * MIB < (process.memory or 0) < 14 * MIB


async def _eventually(vm: MicroVM, script: str) -> None:
    """Wait until a shell script, which checks a condition in the guest, succeeds."""
    deadline = time.monotonic() + 20
    while (await vm.run(["sh", "-c", script])).returncode:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_cgroups_of_finished_commands_are_removed(vm: MicroVM) -> None:
    count = ["sh", "-c", "ls -d /sys/fs/cgroup/*/ | wc -l"]
    for _ in range(5):
        await vm.run(["true"])
    before = (await vm.run(count)).stdout
    for _ in range(20):
        await vm.run(["true"])
    assert (await vm.run(count)).stdout == before


async def test_a_cgroup_that_was_removed_is_made_again(vm: MicroVM) -> None:
    # A process that leaves the cgroup, outlives its command, and removes the idle cgroup.
    script = """
        own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
        echo $$ >/sys/fs/cgroup/cgroup.procs
        (while [ -d /proc/$$ ]; do sleep 0.01; done
         until rmdir $own; do sleep 0.01; done
         touch /tmp/removed) >/dev/null 2>&1 </dev/null &
    """
    for _ in range(3):
        await vm.run(["rm", "-f", "/tmp/removed"], check=True)
        await vm.run(["sh", "-c", script], check=True)
        await _eventually(vm, "test -e /tmp/removed")
    with pytest.raises(ExecTimeout):
        await vm.run(["sh", "-c", ESCAPES["in a session of its own"]], timeout=0.3)
    assert await processes(vm, "300.1") == []


OWN = "/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)"
MISDEEDS = {
    "freezes itself": f"echo 1 >{OWN}/cgroup.freeze; sleep 300.1",
    "limits its processes": f"echo 1 >{OWN}/pids.max",
    "takes the controller away": "sleep 1.1 & echo -pids >/sys/fs/cgroup/cgroup.subtree_control",
    "freezes what is idle": f"own={OWN}; echo $$ >/sys/fs/cgroup/cgroup.procs;"
    "(while [ -d /proc/$$ ]; do sleep 0.01; done; echo 1 >$own/cgroup.freeze)"
    " >/dev/null 2>&1 </dev/null &",
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
async def test_changes_to_a_commands_cgroup_do_not_reach_the_next(
    vm: MicroVM, misdeed: str
) -> None:
    with contextlib.suppress(ExecTimeout):
        await vm.run(["sh", "-c", MISDEEDS[misdeed]], timeout=0.5)
    if "idle" in misdeed:  # the next command may have just started
        with contextlib.suppress(ExecTimeout):
            await vm.run(["sleep", "0.2"], timeout=0.5)
    for _ in range(5):
        result = await vm.run(["sh", "-c", "sleep 0.05 & wait; echo alive"], timeout=30)
        assert result.stdout == b"alive\n"


async def test_child_in_a_sub_cgroup_outlives_the_next_command(vm: MicroVM) -> None:
    below = f"mkdir {OWN}/b; sh -c 'echo $$ >{OWN}/b/cgroup.procs; exec sleep 300.3'"
    await vm.run(["sh", "-c", f"({below}) >/dev/null 2>&1 & sleep 0.2"])
    assert await processes(vm, "300.3")
    with pytest.raises(ExecTimeout):
        await vm.run(["sleep", "60"], timeout=0.2)
    await kill(vm, "300.3")


@pytest.mark.thorough
async def test_child_that_stops_its_siblings_does_not_stop_the_daemon(image: Image) -> None:
    async with MicroVM(image) as machine:
        after = "while [ -d /proc/$$ ]; do sleep 0.01; done"
        stop = f"({after}; while :; do kill -STOP -1; done) >/dev/null 2>&1 </dev/null &"
        await machine.run(["sh", "-c", stop], user="nobody")
        for _ in range(10):
            with contextlib.suppress(ExecTimeout, StartError):
                await machine.run(["true"], user="nobody", timeout=0.2)
            await machine.ping()
        await kill(machine, " nobody ")
        assert (await machine.run(["id", "-u"], user="nobody")).stdout == b"65534\n"


@pytest.mark.thorough
async def test_without_cgroups_only_the_process_group_is_killed(image: Image) -> None:
    async with MicroVM(image) as machine:
        # No cgroup can be created any more, and the process that lives on requires a new one.
        await machine.run(
            ["sh", "-c", "echo 0 >/sys/fs/cgroup/cgroup.max.descendants; sleep 300.2 &"], check=True
        )
        assert b"0::/\n" in (await machine.run(["cat", "/proc/self/cgroup"])).stdout
        with pytest.raises(ExecTimeout):
            await machine.run(["sh", "-c", ESCAPES["ignores SIGTERM"]], timeout=0.3)
        assert await processes(machine, "300.1") == []
        script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait; echo all"
        limited = await machine.run(["sh", "-c", script], max_processes=4, max_memory=MIB)
        assert limited.stdout == b"all\n"
        process = await machine.exec(["sleep", "300"])
        process.kill()
        assert await process.wait() == -9
        assert await processes(machine, "300.2")


async def test_root_is_an_overlay_whose_folders_can_be_replaced(vm: MicroVM) -> None:
    rows = (await vm.run(["df", "-P", "/"], text=True, check=True)).stdout.splitlines()
    assert rows[1].split()[::5] == ["overlay", "/"]
    remade = "rmdir /srv && mkdir /srv && stat -c %a /srv"
    assert (await vm.run(["sh", "-c", remade])).stdout == b"755\n"


async def test_killed_daemon_is_an_error_without_a_hang(image: Image) -> None:
    async with MicroVM(image) as machine:
        ruin = "head -c 65536 /dev/urandom | dd of=/proc/1/mem bs=4096 seek=1024; sleep 60"
        with pytest.raises(MachineError):
            await machine.run(["sh", "-c", ruin])
