"""Tests of the compiled small kernel: everything that guests are promised works with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.disk import disk_image

from microvm import GuestDied, MemoryLimit, MicroVM
from microvm.images import Image

pytestmark = [pytest.mark.thorough, pytest.mark.long]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def small_vm(small_image: Image) -> AsyncIterator[MicroVM]:
    async with MicroVM(small_image) as machine:
        yield machine


def test_manifest_has_the_bus_and_version_of_the_small_kernel(small_image: Image) -> None:
    assert small_image.manifest.bus == "mmio"
    assert small_image.manifest.kernel_version.endswith("-microvm")


SCRIPTS = {
    "uname -r | grep -o 'microvm$'": "microvm",
    "grep -c ^root: /etc/passwd": "1",
    # A terminal, and the file systems that the daemon mounts.
    "awk '{print $3}' /proc/mounts | sort -u | tr '\\n' ' '": (
        "cgroup2 devpts devtmpfs overlay proc sysfs tmpfs"
    ),
    # Signals, sockets of both kinds, both loopback addresses.
    "trap 'echo caught' TERM; kill -TERM $$": "caught",
    "echo hello | nc -l -p 7 -s 127.0.0.1 & until nc 127.0.0.1 7 2>/dev/null; do :; done": "hello",
    "ping -c 1 -q 127.0.0.1 | grep -c ' 0% packet loss'": "1",
    "ping -c 1 -q ::1 | grep -c ' 0% packet loss'": "1",
    "syslogd -O /tmp/log; until grep -m 1 -o hello /tmp/log; do logger hello; done": "hello",
    # An overlay with a read-only lower layer.
    "mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir -p a b/up b/work c && echo low >a/f && "
    "mount -t overlay -o lowerdir=a,upperdir=b/up,workdir=b/work overlay c && echo up >c/f && "
    "cat a/f c/f | tr '\\n' ' ' && umount c": "low up",
    "grep -o 'erofs' /proc/filesystems": "erofs",
    # The root itself is an overlay.
    "df -P / | awk 'NR == 2 { print $1, $6 }'": "overlay /",
    "rmdir /srv && mkdir /srv && stat -c %a /srv": "755",
    # Features that sandboxes need.
    "grep -c '^Seccomp:' /proc/self/status": "1",
    "grep -o allow /proc/sys/kernel/seccomp/actions_avail": "allow",
    "ls /proc/self/ns | tr '\\n' ' '": (
        "cgroup ipc mnt net pid pid_for_children time time_for_children user uts"
    ),
    "unshare -r -p -f -m -n -u -i sh -c 'mount -t tmpfs tmpfs /mnt && echo $$'": "1",
    # Files that ps and top read.
    "ps -o pid,args | awk '$1 == 1 { print $2 }'": "sandboxd",
    "top -b -n 1 | grep -c '^Mem:'": "1",
    "grep -c pgfault /proc/vmstat": "1",
    "head -c 32 /dev/urandom | wc -c": "32",
    "cat /proc/sys/kernel/sysrq": "1",
}


@pytest.mark.parametrize("script", SCRIPTS)
async def test_scripts_work_with_the_small_kernel(small_vm: MicroVM, script: str) -> None:
    result = await small_vm.run(["sh", "-c", script], text=True)
    assert result.stdout.strip() == SCRIPTS[script], result.stderr


async def test_limits_on_processes_and_memory(small_vm: MicroVM) -> None:
    script = "sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait"
    many = await small_vm.run(["sh", "-c", script], max_processes=3, timeout=30)
    assert b"fork" in many.stderr
    hungry = ["sh", "-c", "head -c 64m /dev/zero | tail -c 64m | wc -c"]
    with pytest.raises(MemoryLimit):
        await small_vm.run(hungry, max_memory="16M")
    assert (await small_vm.run(hungry)).stdout == b"67108864\n"


async def test_a_panic_ends_the_machine(small_image: Image) -> None:
    async with MicroVM(small_image) as machine:
        with pytest.raises(GuestDied):
            await machine.run(["sh", "-c", "echo c >/proc/sysrq-trigger"])


@pytest.fixture(params=["lz4", "zstd"])
def compressed(small_image: Image, tmp_path: Path, request: pytest.FixtureRequest) -> Image:
    made = small_image.path / "kernel"
    return disk_image(small_image, tmp_path / "disk", built_for=made, compression=request.param)


async def test_a_root_that_is_compressed(compressed: Image) -> None:
    async with MicroVM(compressed) as machine:
        assert (await machine.run(["echo", "hello"])).stdout == b"hello\n"


async def test_several_cpus(small_image: Image) -> None:
    async with MicroVM(small_image, cpus=2) as machine:
        assert (await machine.run(["nproc"])).stdout == b"2\n"


async def check_drift(vm: MicroVM) -> None:
    """Check that the guest's clock and the host's clock differ equally after a minute."""

    async def offset() -> float:
        """Return the guest's clock minus the host's clock, as the fastest answer shows it."""
        samples = []
        for _ in range(20):
            before = time.monotonic()
            status = await vm.status()
            after = time.monotonic()
            samples.append((after - before, status.now_ns / 1e9 - (before + after) / 2))
        return min(samples)[1]

    first = await offset()
    await asyncio.sleep(60)
    moved = await offset() - first
    print(f"drift over a minute: {moved * 1e3:.2f} ms")
    assert abs(moved) < 0.050


@pytest.mark.alone
async def test_clock_of_the_small_kernel_does_not_drift(small_vm: MicroVM) -> None:
    await check_drift(small_vm)
