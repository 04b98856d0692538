"""Tests of packing the changes of a guest into a layer, with a root on a disk and in memory."""

from __future__ import annotations

import pytest
from tests.support.members import Members, members

from microvm import MicroVM
from microvm.images import Image
from microvm_image.limits import Limits
from microvm_image.programs import PACK

pytestmark = pytest.mark.thorough


async def packed(vm: MicroVM) -> Members:
    command, argv = PACK
    done = await vm.run([*argv, str(Limits().unpacked)], command=command)
    assert (done.returncode, done.stderr) == (0, b"")
    return members(done.stdout)


@pytest.mark.parametrize("disk", ["64M", 0])
async def test_layer_has_exactly_the_changes(image: Image, disk: str | int) -> None:
    async with MicroVM(image, disk=disk) as vm:
        before = await packed(vm)
        script = (
            "echo new > /etc/new; chmod 640 /etc/new; chown 7:8 /etc/new; rm /etc/hosts;"
            "rm -r /root; mkdir /root; mkfifo /root/fifo; mkdir -p /opt/of/mine;"
            "echo gone > /run/x; echo gone > /dev/shm/x"
        )
        await vm.run(["sh", "-c", script], check=True)
        after = await packed(vm)
    assert not before
    assert set(after) == {
        *("etc", "etc/new", "etc/.wh.hosts"),
        *("root", "root/.wh..wh..opq", "root/fifo"),
        *("opt", "opt/of", "opt/of/mine"),
    }
    info, data = after["etc/new"]
    assert (info.mode, info.uid, info.gid, data) == (0o640, 7, 8, b"new\n")


async def test_only_root_can_pack_and_commands_inherit_no_descriptor(vm: MicroVM) -> None:
    command, argv = PACK
    done = await vm.run(["ls", "/proc/self/fd"], text=True, check=True)
    assert done.stdout.split() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads
    for path in (command, argv[1]):
        seen = await vm.run(["test", "-e", path], user="nobody")
        assert seen.returncode != 0
