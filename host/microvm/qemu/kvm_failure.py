"""The table of the ways in which KVM fails, and of the consequences of each.

The accelerator `auto` uses TCG in each of these cases, and `kvm` is an error in each of them.
"""

from __future__ import annotations

import errno
import os
from typing import Literal, NamedTuple

from microvm.arches import Accel
from microvm.errors import BootError, ExitKind, QemuError

HOUR = 3600.0
"""Seconds."""


class KvmFailure(NamedTuple):
    """A way in which KVM fails.

    :ivar name: a word.
    :ivar message: a line for people, with `{why}` in the place of the cause.
    :ivar errors: the errors that opening the device or creating a virtual machine ends with.
    :ivar exits: the kinds of QEMU's exit before the guest is ready.
    :ivar remembered: the seconds for which `auto` does not try KVM again; 0 where each start does.
    :ivar told: whether `auto` tells its user, who may not expect this.
    :ivar severity: the status in `microvm doctor`. Machines run without KVM, so it is a note.
    """

    name: str
    message: str
    errors: frozenset[int] = frozenset()
    exits: frozenset[ExitKind] = frozenset()
    remembered: float = 0.0
    told: bool = True
    severity: Literal["note", "failed"] = "note"

    def line(self, why: str, accel: Accel = "kvm") -> str:
        """Return the message with the cause in it, and the name of the hardware's accelerator."""
        return self.message.replace("KVM", accel.upper()).format(why=why)


FOREIGN = KvmFailure("foreign", "KVM runs no guest of this kind ({why})", told=False)
ABSENT = KvmFailure(
    "absent",
    "there is no KVM here ({why})",
    errors=frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO}),
    told=False,
)
FORBIDDEN = KvmFailure(
    "forbidden",
    "you may not use KVM ({why})",
    errors=frozenset({errno.EACCES, errno.EPERM}),
)
BUSY = KvmFailure(
    "busy",
    "another hypervisor uses this processor, so KVM cannot ({why})",
    errors=frozenset({errno.EBUSY}),
)
REFUSED = KvmFailure(
    "refused",  # by any error that is not in this table, too
    "KVM refuses to run a machine ({why})",
    exits=frozenset({"exit", "crash"}),
    remembered=24 * HOUR,
)
INTERNAL_ERROR = KvmFailure(
    "internal_error",
    "KVM fails while a guest runs ({why})",
    exits=frozenset({"internal_error"}),
    remembered=24 * HOUR,
)
DIED = KvmFailure(
    "died",
    "a guest dies under KVM ({why})",
    exits=frozenset({"reset", "shutdown", "panic"}),
    remembered=24 * HOUR,
)
SILENT = KvmFailure(
    "silent",  # no error, and no exit: the time is up
    "a guest does not answer under KVM ({why})",
    remembered=HOUR,  # the host may only have been busy
)
DISTURBED = KvmFailure(
    "disturbed",  # it says nothing about KVM
    "no KVM this time ({why})",
    exits=frozenset({"killed", "limit", "quit"}),
)

FAILURES = (
    FOREIGN,
    ABSENT,
    FORBIDDEN,
    BUSY,
    REFUSED,
    INTERNAL_ERROR,
    DIED,
    SILENT,
    DISTURBED,
)
"""All of them."""


def of_device(error: OSError) -> KvmFailure:
    """Return the failure that an error of the device, or of creating a virtual machine, shows."""
    return next((each for each in FAILURES if error.errno in each.errors), REFUSED)


def of_start(error: QemuError | BootError) -> KvmFailure:
    """Return the failure that the start of a guest under KVM has ended with."""
    if error.qemu_exit is None:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, TimeoutError):
            return of_device(cause)
        return SILENT
    if error.qemu_exit.kind == "exit" and os.strerror(errno.EBUSY) in error.qemu_exit.text:
        return BUSY
    return next(each for each in FAILURES if error.qemu_exit.kind in each.exits)
