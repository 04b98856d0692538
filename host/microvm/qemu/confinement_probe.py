"""Probes the confinement: confines a test program, and reports which layers work on this host."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from microvm.arches import native
from microvm.errors import ConfinementError
from microvm.qemu import cgroup
from microvm.qemu.command_line import Inherited, QemuConfig
from microvm.qemu.confinement import LauncherReport, LayerResult, bounds, with_help
from microvm.qemu.launch import spawn
from microvm.system import platform
from microvm.system.patience import patient

_TIMEOUT = 30.0
_CONFIG = QemuConfig(kernel=Path(), initramfs=Path(), bus="mmio", accel="tcg", arch=native())


def probe() -> Mapping[str, LayerResult]:
    """Test each layer of QEMU's confinement on this host, and return the results by layer name.

    The launcher confines the program `true`, as it would confine QEMU.

    :raises ConfinementError: This system cannot confine programs; or the launcher is missing, or
        could not execute the program, or the program did not exit in time.
    """
    platform.require(platform.CONFINEMENT, ConfinementError)
    program = shutil.which("true")
    if program is None:
        raise ConfinementError("the program `true` is missing", hint="apt install coreutils")
    ours, theirs = socket.socketpair()
    # The launcher opens the files of the kernel and of the initramfs again by their descriptors. In
    # this test, we pass two descriptors of the program `true` instead.
    with ours, theirs, Path(program).open("rb") as kernel, Path(program).open("rb") as initramfs:
        end = theirs.fileno()
        inherited = Inherited(end, end, end, kernel=kernel.fileno(), initramfs=initramfs.fileno())
        child = spawn([program], _CONFIG, inherited, stderr=end)
        theirs.close()
        ours.settimeout(patient(_TIMEOUT))
        try:
            # This call returns when the program exits, because the program's end of the socket pair
            # is closed then.
            ours.recv(1)
        except TimeoutError:
            raise ConfinementError(
                f"the program `true` did not exit within {patient(_TIMEOUT):.0f} seconds",
                hint="check the load of this host; MICROVM_LOG=debug shows the command line",
            ) from None
        finally:
            child.kill()
            child.reap()
            status = child.read_report()
            child.close()
    status.check(required=False)
    return with_help(_with_cgroup_reason(status))


def _with_cgroup_reason(status: LauncherReport) -> Mapping[str, LayerResult]:
    """Return the layers' results, with the reason if no cgroup could be created.

    The launcher does not know that reason, because this process creates the cgroup.
    """
    found = dict(status.results)
    if "cgroup" in found and not found["cgroup"].holds:
        try:
            folder, procs = cgroup.make(bounds(_CONFIG))
            os.close(procs)
            cgroup.remove(folder)
        except cgroup.Unavailable as error:
            found["cgroup"] = found["cgroup"]._replace(text=str(error), help=error.help)
    return found
