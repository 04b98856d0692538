"""The probe of the confinement: it confines a test program, and returns which layers work here."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from microvm.errors import ConfinementError
from microvm.qemu import cgroup
from microvm.qemu.command_line import Inherited, QemuConfig
from microvm.qemu.confinement import LauncherReport, LayerResult, bounds, with_help
from microvm.qemu.launch import spawn

_TIMEOUT = 30.0
_CONFIG = QemuConfig(kernel=Path(), initramfs=Path(), bus="mmio", accel="tcg")


def probe() -> Mapping[str, LayerResult]:
    """Return the result of each layer of the confinement on this host, by the names of the layers.

    The launcher confines the program `true`, as it would confine QEMU.

    :raises ConfinementError: The launcher is missing, or could not execute the program, or the
        program did not exit in time.
    """
    program = shutil.which("true")
    if program is None:
        raise ConfinementError("the program `true` is missing", hint="apt install coreutils")
    ours, theirs = socket.socketpair()
    # Two descriptors of the program stand for a guest's files, because the launcher reopens these.
    with ours, theirs, Path(program).open("rb") as kernel, Path(program).open("rb") as initramfs:
        end = theirs.fileno()
        inherited = Inherited(end, end, end, kernel=kernel.fileno(), initramfs=initramfs.fileno())
        child = spawn([program], _CONFIG, inherited, stderr=end)
        theirs.close()
        ours.settimeout(_TIMEOUT)
        try:
            ours.recv(1)  # until the program exits, which closes its end
        except TimeoutError:
            raise ConfinementError(
                f"the program `true` did not exit within {_TIMEOUT:.0f} seconds",
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
    """Return the results with the reason why no cgroup exists, which the launcher does not know."""
    found = dict(status.results)
    if "cgroup" in found and not found["cgroup"].holds:
        try:
            folder, procs = cgroup.make(bounds(_CONFIG))
            os.close(procs)
            cgroup.remove(folder)
        except cgroup.Unavailable as error:
            found["cgroup"] = found["cgroup"]._replace(text=str(error), help=error.help)
    return found
