"""Describes the host and the guest on which a benchmark ran."""

from __future__ import annotations

import platform
import re
import subprocess
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from microvm._version import __version__
from microvm.bench.report import Platform
from microvm.errors import QemuError
from microvm.printable import printable
from microvm.qemu.launch import find_qemu
from microvm.system.capacity import usable_cpus

if TYPE_CHECKING:
    from microvm.images import ImageManifest

_CPUINFO = Path("/proc/cpuinfo")
_MODEL = re.compile(r"^model name\s*:\s*(.+)", re.MULTILINE)
_VERSION = re.compile(r"version (\d+(?:\.\d+)+)")


def describe(manifest: ImageManifest, *, accel: str, memory_mib: int, load: float) -> Platform:
    """Return a description of this host, with its load average `load`, and of the measured guest.

    :raises QemuError: If QEMU is missing or does not report its version.
    """
    return Platform(
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        microvm=__version__,
        cpu=_cpu_model(),
        cpus=usable_cpus(),
        load=round(load, 1),
        qemu=_qemu_version(find_qemu(manifest.arch)),
        accel=accel,
        kernel=printable(manifest.kernel_version),
        image=printable(manifest.name),
        memory_mib=memory_mib,
    )


def _cpu_model() -> str:
    """Return the model name of the CPU if Linux reports it, as on x86, or the architecture."""
    with suppress(OSError):
        if match := _MODEL.search(_CPUINFO.read_text()):
            return match[1].strip()
    return platform.processor() or platform.machine()


def _qemu_version(program: Path) -> str:
    try:
        output = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise QemuError(f"cannot read the version of {program}: {error}") from error
    match = _VERSION.search(output)
    return match[1] if match else output.strip()
