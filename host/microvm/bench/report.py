"""The report of a run of the benchmark, with the description of the host and guest."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from microvm._version import __version__
from microvm.bench.boot import Boot
from microvm.bench.figures import Figure
from microvm.errors import QemuError
from microvm.printable import printable
from microvm.qemu.launch import find_qemu
from microvm.system import platform
from microvm.system.capacity import usable_cpus

if TYPE_CHECKING:
    from microvm.images import ImageManifest

_MODEL = re.compile(r"^model name\s*:\s*(.+)", re.MULTILINE)
_VERSION = re.compile(r"version (\d+(?:\.\d+)+)")


@dataclass(frozen=True, slots=True)
class Platform:
    """The description of the host and the guest, on which the measured values depend.

    :ivar microvm: Version of microvm.
    :ivar cpu: Model name of the host's CPU.
    :ivar load: Load average of the host in the minute before the measurement.
    :ivar qemu: Version of QEMU.
    :ivar kernel: Version of the guest's kernel, as printed by `uname -r`.
    """

    date: str
    microvm: str
    cpu: str
    cpus: int
    load: float
    qemu: str
    accel: str
    kernel: str
    image: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Density:
    """The measurement of many clones that run at the same time.

    :ivar count: Maximum number of clones.
    :ivar seconds: Time from the start of the first clone until all clones were ready.
    :ivar memory: Average proportional set size of a QEMU process in MiB, by the number of clones
        that were running; empty if the host does not report it.
    """

    count: int
    seconds: float
    memory: dict[int, float]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run of the benchmark.

    :ivar boots: Durations of the steps of the cold boots, in the order of the boots.
    :ivar figures: Measured values, in the order of `METRICS`.
    :ivar densities: Measurements of many clones, by the name of the contender.
    """

    platform: Platform
    boots: tuple[Boot, ...]
    figures: tuple[Figure, ...]
    densities: dict[str, Density]


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
    """Return the CPU's model name, or its architecture if Linux does not report the name."""
    match = _MODEL.search(platform.proc("cpuinfo"))
    return match[1].strip() if match else platform.machine()


def _qemu_version(program: Path) -> str:
    try:
        output = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise QemuError(f"cannot read the version of {program}: {error}") from error
    match = _VERSION.search(output)
    return match[1] if match else output.strip()
