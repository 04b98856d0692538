"""The matrix of faults: the result for the user of each fault in each possible state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from microvm import (
    BootError,
    GuestDied,
    GuestUnresponsive,
    MicroVMError,
    ProtocolError,
    QemuError,
    SnapshotError,
)

WITHIN = 15.0
"""Default maximum number of seconds until the error or the replacement."""


@dataclass(frozen=True)
class Row:
    """A row of the matrix.

    :ivar fault: name of the fault; see `FAULTS`.
    :ivar states: names of the states, separated by spaces.
    :ivar error: exact class of the error; None if the machine works nevertheless.
    :ivar says: part of the error's message, or of the notice if there is no error; empty if the
        user receives none.
    :ivar hint: part of the error's hint.
    :ivar within: maximum number of seconds until the error.
    """

    fault: str
    states: str
    error: type[MicroVMError] | None
    says: str
    hint: str = ""
    within: float = WITHIN


@dataclass(frozen=True)
class MatrixCell:
    """A fault in one state, and the expected result."""

    row: Row
    state: str

    def __str__(self) -> str:
        return f"{self.row.fault}, {self.state}"


NO_CLONES = "this QEMU cannot clone guests"
"""The notice of a start that reads this result from a file, where it is kept for a day."""

_INSTALL = "apt install qemu-system-"
_LOG = "MICROVM_LOG=debug"
_DMESG = "dmesg"
_WHO = "kill -STOP"
_CONSOLE = "--console"
_TRUST = "image that you trust"
_PANIC = "Kernel panic - not syncing: sysrq triggered crash"
_DEADLOCKED = "Kernel panic - not syncing: System is deadlocked on memory"
_SILENT = "the guest is not responding"
_IN_USE = "idle executing flooding snapshotting"

_BOOT = 65.0
"""Maximum number of seconds until a failed boot is noticed; a busy host emulates slowly."""

_BOOTS = 30.0
"""Maximum number of seconds for a boot, a time-out of 10 s, and another boot."""

_READ = 30.0
"""Maximum number of seconds to read 32 MiB of small frames; an idle host needs 3."""

MATRIX = (
    Row("QEMU is missing", "starting saving cloning", QemuError, "is not installed", _INSTALL),
    Row("QEMU refuses an argument", "starting", QemuError, "-sandbox: no such option", _LOG),
    Row("QEMU refuses an argument", "saving cloning", None, NO_CLONES),
    Row(
        "QEMU refuses an argument", "snapshotting", SnapshotError, "-sandbox: no such option", _LOG
    ),
    Row("QEMU dies after its greeting", "starting", QemuError, "with status 1", _LOG),
    Row("QEMU dies after its greeting", "saving cloning", None, NO_CLONES),
    Row("QEMU dies after its greeting", "snapshotting", SnapshotError, "with status 1", _LOG),
    Row("QEMU is silent", "starting", QemuError, "is idle", _LOG),
    Row("QEMU is silent", "saving cloning", None, "is idle"),
    Row("QEMU is silent", "snapshotting", SnapshotError, "is idle", _LOG),
    Row("QEMU greets, and is silent", "starting", QemuError, "is idle", _LOG),
    Row("QEMU greets, and is silent", "saving cloning", None, "is idle"),
    Row("QEMU greets, and is silent", "snapshotting", SnapshotError, "is idle", _LOG),
    Row("QEMU is killed", "starting", QemuError, "signal 9", _DMESG),
    Row("QEMU is killed", "greeting", BootError, "signal 9", _DMESG),
    Row("QEMU is killed", "saving cloning", None, "signal 9"),
    Row("QEMU is killed", "idle executing flooding snapshotting", GuestDied, "signal 9", _DMESG),
    Row("QEMU is killed", "stopping", None, ""),
    Row("QEMU is stopped", "starting", QemuError, "stopped by a signal", _WHO),
    Row("QEMU is stopped", "greeting", BootError, "stopped by a signal", _WHO),
    Row("QEMU is stopped", "saving cloning", None, "stopped by a signal"),
    Row(
        "QEMU is stopped",
        "idle executing flooding",
        GuestUnresponsive,
        "does not answer",
        "--console",
    ),
    Row("QEMU is stopped", "snapshotting", GuestDied, "stopped by a signal", _WHO),
    Row("QEMU is stopped", "stopping", None, ""),
    Row("the guest panics", "greeting", BootError, _PANIC, _CONSOLE),
    Row("the guest panics", "saving", None, _PANIC),
    Row("the guest panics", _IN_USE, GuestDied, _PANIC, _CONSOLE),
    Row("the guest panics", "stopping", None, ""),
    Row("the guest triples", "greeting", BootError, "the guest rebooted or powered off", _CONSOLE),
    Row("the guest triples", "saving", None, "the guest rebooted or powered off"),
    Row("the guest triples", _IN_USE, GuestDied, "the guest rebooted or powered off", _CONSOLE),
    Row("the guest triples", "stopping", None, ""),
    Row("the guest halts", "greeting", BootError, "not ready within 60 s", _CONSOLE, _BOOT),
    Row("the guest halts", "saving", None, _SILENT, "", _BOOTS),
    Row("the guest halts", _IN_USE, GuestUnresponsive, _SILENT, _CONSOLE),
    Row("the guest halts", "stopping", None, ""),
    Row("a process takes all memory", "saving", None, "with status"),
    Row("a process takes all memory", "idle executing snapshotting stopping", None, ""),
    Row("the guest is out of memory", "saving", None, _DEADLOCKED),
    Row("the guest is out of memory", _IN_USE, GuestDied, _DEADLOCKED, _CONSOLE),
    Row("the guest is out of memory", "stopping", None, ""),
    Row("the guest is frozen", "saving", None, _SILENT, "", _BOOTS),
    Row("the guest is frozen", _IN_USE, GuestUnresponsive, _SILENT, _CONSOLE),
    Row("the guest is frozen", "stopping", None, ""),
    Row("the guest spins", "idle snapshotting stopping", None, ""),
    Row("the guest spins in real time", "executing stopping", None, ""),
    Row("the guest floods the console", "idle snapshotting stopping", None, ""),
    Row("the guest floods valid frames", "executing", GuestUnresponsive, _SILENT, _CONSOLE),
    Row(
        "the guest floods before it answers",
        "greeting",
        ProtocolError,
        "does not answer",
        _TRUST,
        _READ,
    ),
    Row("the guest never reads", "executing", GuestUnresponsive, _SILENT, _CONSOLE),
)


def cells() -> Iterator[MatrixCell]:
    """Return the cells of the matrix in order."""
    for row in MATRIX:
        for state in row.states.split():
            yield MatrixCell(row, state)
