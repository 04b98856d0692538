"""Test that the guest's kernel has all system calls except those that the documentation lists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.support.target import target

from microvm import MicroVM
from microvm.system.compiler import compiler

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("system_calls.c")

LAST = 462
"""The number of `mseal`, the newest system call of Linux 6.12 on all architectures."""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    made = tmp_path / "system_calls"
    command = [
        *compiler(target(), "a test", libc=True),
        "-static",
        "-o",
        str(made),
        str(PROGRAM),
    ]
    subprocess.run(command, check=True)
    return made


async def test_missing_system_calls_are_documented(vm: MicroVM, program: Path) -> None:
    await vm.put(program, "/tmp")
    printed = await vm.run([f"/tmp/{program.name}", str(LAST)], check=True, text=True)
    await vm.run(["rm", f"/tmp/{program.name}"], check=True)
    numbers = set(map(int, printed.stdout.split()))
    known = calls()
    missing = {name for name, number in known.items() if number in numbers} - NOWHERE
    expected = left_out() | ONLY_OF.get(target().name, set())
    assert missing <= expected
    if vm.image.manifest.bus == "mmio":
        assert missing == expected & known.keys()


def calls() -> dict[str, int]:
    """The numbers of the guest's system calls in the headers of its compiler, by name."""
    command = [*compiler(target(), "a test"), "-E", "-dM"]
    command += ["-include", "asm/unistd.h", "-x", "c", "/dev/null"]
    macros = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = re.findall(r"^#define __NR_(\w+) (\d+)$", macros, re.MULTILINE)
    return {name: int(number) for name, number in found if int(number) <= LAST}


def left_out() -> set[str]:
    """The system calls in the table of the documentation."""
    _, _, section = (ROOT / "docs/kernel.md").read_text().partition("## Omitted features")
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


NOWHERE = {
    *("_sysctl", "afs_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old"),
    *("get_kernel_syms", "get_thread_area", "getpmsg", "lookup_dcookie", "nfsservctl", "putpmsg"),
    *("query_module", "security", "set_thread_area", "tuxcall", "uretprobe", "vserver"),
}
"""System calls that have a number, but no implementation in any kernel."""

ONLY_OF = {"aarch64": {"perf_event_open"}}
"""System calls that the kernel of only one architecture lacks; see docs/architectures.md."""
