"""The matrix: what a user sees of each fault, in each state that it can happen in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from microvm import (
    BootError,
    GuestDied,
    GuestUnresponsive,
    MicroVMError,
    QemuError,
    SnapshotError,
)

WITHIN = 15.0
"""Seconds within which an error comes, or what is done instead, unless a row says otherwise."""


@dataclass(frozen=True)
class Row:
    """A row of the matrix.

    :ivar fault: the name of the fault; see `FAULTS`.
    :ivar states: the names of the states, with a space between.
    :ivar error: the error, of this very class; None where the machine works all the same.
    :ivar says: what is in the error's message, or in the line that the user is told if there is
        none; empty where nothing is told.
    :ivar hint: what is in the error's hint, which says what to do.
    :ivar within: the seconds within which that comes.
    """

    fault: str
    states: str
    error: type[MicroVMError] | None
    says: str
    hint: str = ""
    within: float = WITHIN


@dataclass(frozen=True)
class Cell:
    """A fault in one state, and what is expected of it."""

    row: Row
    state: str

    def __str__(self) -> str:
        return f"{self.row.fault}, {self.state}"


NO_CLONES = "this QEMU makes no clones"
"""What is said where that is remembered for a day, in a file that is named beside it."""

_INSTALL = "apt install qemu-system-"
_LOG = "MICROVM_LOG=debug"
_DMESG = "dmesg"
_WHO = "kill -STOP"
_CONSOLE = "--console"

MATRIX = (
    Row("QEMU is missing", "starting saving cloning", QemuError, "is not installed", _INSTALL),
    Row("QEMU refuses an argument", "starting", QemuError, "-sandbox: no such option", _LOG),
    Row("QEMU refuses an argument", "saving cloning", None, NO_CLONES),
    Row(
        "QEMU refuses an argument", "snapshotting", SnapshotError, "-sandbox: no such option", _LOG
    ),
    Row("QEMU dies after its greeting", "starting", QemuError, "ended with status 1", _LOG),
    Row("QEMU dies after its greeting", "saving cloning", None, NO_CLONES),
    Row("QEMU dies after its greeting", "snapshotting", SnapshotError, "ended with status 1", _LOG),
    Row("QEMU is silent", "starting", QemuError, "says nothing", _LOG),
    Row("QEMU is silent", "saving cloning", None, "says nothing"),
    Row("QEMU is silent", "snapshotting", SnapshotError, "says nothing", _LOG),
    Row("QEMU greets, and is silent", "starting", QemuError, "says nothing", _LOG),
    Row("QEMU greets, and is silent", "saving cloning", None, "says nothing"),
    Row("QEMU greets, and is silent", "snapshotting", SnapshotError, "says nothing", _LOG),
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
)


def cells() -> Iterator[Cell]:
    """Each cell of the matrix, in its order."""
    for row in MATRIX:
        for state in row.states.split():
            yield Cell(row, state)
