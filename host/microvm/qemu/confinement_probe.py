"""The probe of the confinement: what of it there is on this host, found by doing it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from microvm.errors import ConfinementError
from microvm.qemu import cgroup
from microvm.qemu.command_line import Inherited, QemuConfig
from microvm.qemu.confinement import LauncherReport, LayerResult, bounds, helped
from microvm.qemu.launch import spawn

_TIMEOUT = 30.0
_CONFIG = QemuConfig(kernel=Path(), initramfs=Path(), bus="mmio", accel="tcg")


def probe() -> Mapping[str, LayerResult]:
    """Return what holds a machine's QEMU back here, by the names of layers.

    A program that does nothing is confined in its place.

    :raises ConfinementError: there is no launcher, or nothing could be executed by it, or did not
        end.
    """
    program = shutil.which("true")
    if program is None:
        raise ConfinementError("there is no `true` to be confined", hint="apt install coreutils")
    ours, theirs = socket.socketpair()
    # Two descriptors of it stand in for a guest's files, each of which the launcher opens anew.
    with ours, theirs, Path(program).open("rb") as kernel, Path(program).open("rb") as initramfs:
        end = theirs.fileno()
        inherited = Inherited(end, end, end, kernel=kernel.fileno(), initramfs=initramfs.fileno())
        child = spawn([program], _CONFIG, inherited, stderr=end)
        theirs.close()
        ours.settimeout(_TIMEOUT)
        try:
            ours.recv(1)  # it ends
        except TimeoutError:
            raise ConfinementError(
                f"a program that does nothing did not end within {_TIMEOUT:.0f} seconds",
                hint="look at the load of this host; MICROVM_LOG=debug shows how it was started",
            ) from None
        finally:
            child.kill()
            child.reap()
            status = child.hear()
            child.close()
    status.check(required=False)
    return helped(_with_reason(status))


def _with_reason(status: LauncherReport) -> Mapping[str, LayerResult]:
    """Have it say why there is no group, which the launcher does not know."""
    found = dict(status.findings)
    if "cgroup" in found and not found["cgroup"].holds:
        try:
            folder, procs = cgroup.make(bounds(_CONFIG))
            os.close(procs)
            cgroup.remove(folder)
        except cgroup.Unavailable as error:
            found["cgroup"] = found["cgroup"]._replace(text=str(error), help=error.help)
    return found
