"""Test of the cgroup of a machine in a real guest, where we may create cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.target import build

from microvm import MicroVM
from microvm.images import Image, readymade
from microvm.qemu import launcher
from microvm_image.recipe import Recipe

pytestmark = [pytest.mark.thorough, pytest.mark.long, pytest.mark.deadline(600)]

SOURCE = Path(__file__).parents[2] / "host/microvm"

SCRIPT = """
import os, subprocess, sys
from pathlib import Path

sys.path.insert(0, "/srv")
from microvm.qemu import cgroup

def refused():
    try:
        cgroup.make({})
    except cgroup.Unavailable as error:
        return str(error), error.help
    return None

top = Path("/sys/fs/cgroup")
(top / "cgroup.subtree_control").write_text("-memory")
reason, help = refused()
assert reason == f"{top} does not enable the controllers memory for its children", reason
assert help == f"write `+memory` to {top}/cgroup.subtree_control", help
(top / "cgroup.subtree_control").write_text("+memory +pids")
cgroup.ROOT = Path("/mnt")
mounting = "mount --bind /sys/fs/cgroup /mnt && mount -o remount,bind,ro /mnt"
subprocess.run(mounting, shell=True, check=True)
reason, help = refused()
assert reason == "/mnt is read-only", reason
cgroup.ROOT = top

prefix = f"microvm-{os.stat('/proc/self/ns/pid').st_ino}-"
left = top / f"{prefix}4194303-0"  # of a process that is gone
others = [
    top / f"{prefix}{os.getppid()}-0",
    top / "microvm-1-4194303-0",  # of another pid namespace, in which it may be alive
]
for each in left, *others:
    each.mkdir()

folder, procs = cgroup.make({"memory.max": str(64 << 20), "pids.max": "8", "none.max": "1"})
assert folder.name == f"{prefix}{os.getpid()}-0", folder
assert not left.exists() and all(other.exists() for other in others)
child = subprocess.Popen(
    [sys.executable, "-c", "import os; os.write(1, b'.'); held = bytearray(256 << 20)"],
    preexec_fn=lambda: os.write(procs, b"0"),
    stdout=subprocess.PIPE,
)
assert child.stdout.read(1) == b"."
cgroup.remove(folder)  # in which something lives
assert folder.exists()
try:
    cgroup.make({"memory.max": "nonsense"})
except cgroup.Unavailable:
    assert not (top / f"{prefix}{os.getpid()}-1").exists()
else:
    raise AssertionError
assert child.wait() == -9, child.returncode  # for want of memory
second, _ = cgroup.make({})
assert second.name == f"{prefix}{os.getpid()}-1", second
for each in folder, second:
    cgroup.remove(each)
assert not folder.exists() and not second.exists()

from microvm.qemu import confinement_probe, launcher

launcher.find = lambda: Path("/srv/confine")
found = confinement_probe.probe()
assert found["cgroup"].holds, found
assert not list(top.glob(f"{prefix}{os.getpid()}-*"))
print("done")
"""


@pytest.fixture(scope="module")
def python() -> Image:
    return build(Recipe(source=readymade.DEBIAN, packages=readymade.IMAGES["python"].packages))


async def test_cgroup_of_a_machine_has_limits_and_is_removed(python: Image) -> None:
    async with MicroVM(python, memory="512M") as vm:
        await vm.put(SOURCE, "/srv/microvm")
        await vm.put(launcher.find(), "/srv/confine")
        done = await vm.run(["python3", "-c", SCRIPT], text=True)
    assert done.stdout == "done\n", done.stderr
