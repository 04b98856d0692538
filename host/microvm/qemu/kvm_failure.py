"""The table of the ways in which KVM fails, and of the consequences of each.

In each of these cases, the accelerator `auto` uses TCG, and the accelerator `kvm` is an error.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from microvm.arches import Accel
from microvm.errors import BootError, ExitKind, QemuError

HOUR = 3600.0
"""Seconds."""


class KvmFailure(NamedTuple):
    """A way in which KVM fails.

    :ivar name: the name, a single word.
    :ivar message: a line for people, with `{why}` in the place of the cause.
    :ivar errors: the errors of opening the device or creating a virtual machine that show this
        failure.
    :ivar exits: the kinds of QEMU's exit before the guest is ready that show this failure.
    :ivar remembered: the number of seconds for which `auto` does not try KVM again; 0 if each start
        tries it.
    :ivar told: whether `auto` notifies its user, who may not expect this failure.
    """

    name: str
    message: str
    errors: frozenset[int] = frozenset()
    exits: frozenset[ExitKind] = frozenset()
    remembered: float = 0.0
    told: bool = True

    def line(self, why: str, accel: Accel = "kvm") -> str:
        """Return the message with its cause, and with the name of the hardware's accelerator."""
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
    "refused",  # also for any error that is not in this table
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
    "silent",  # QEMU reports no error and does not exit, and the time limit has passed
    "a guest does not answer under KVM ({why})",
    remembered=HOUR,  # the host may only have been busy
)
DISTURBED = KvmFailure(
    "disturbed",  # a signal or a limit ended QEMU, which says nothing about KVM
    "KVM could not be tried ({why})",
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
    """Return the failure for an error of opening the device, or of creating a virtual machine."""
    return next((each for each in FAILURES if error.errno in each.errors), REFUSED)


def of_start(error: QemuError | BootError) -> KvmFailure:
    """Return the failure for an error of the start of a guest under KVM."""
    if error.qemu_exit is None:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, TimeoutError):
            return of_device(cause)
        return SILENT
    if error.qemu_exit.kind == "exit" and os.strerror(errno.EBUSY) in error.qemu_exit.text:
        return BUSY
    return next(each for each in FAILURES if error.qemu_exit.kind in each.exits)
