"""The table of the ways in which KVM fails, and how microvm reacts to each.

After each of these failures, a machine with `--accel auto` starts under TCG, and a machine with
`--accel kvm` fails with an error.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from microvm.arches import Accel
from microvm.errors import BootError, ExitKind, QemuError

_HOUR = 3600.0  # seconds


class KvmFailure(NamedTuple):
    """A way in which KVM fails, such as a missing device file, and microvm's reaction to it.

    :ivar message: Message for the user, with the placeholder `{why}` for the cause.
    :ivar errors: Error numbers (errno) that mean this failure, if /dev/kvm cannot be opened or a
        virtual machine cannot be created.
    :ivar exits: Kinds of QEMU's exit that mean this failure, if QEMU exits before the guest is
        ready.
    :ivar remembered: Number of seconds for which `--accel auto` does not try KVM again after this
        failure; 0 if each start tries KVM.
    :ivar told: True if `--accel auto` prints a notice, because users may not expect the failure.
    """

    name: str
    message: str
    errors: frozenset[int] = frozenset()
    exits: frozenset[ExitKind] = frozenset()
    remembered: float = 0.0
    told: bool = True

    def line(self, why: str, accel: Accel = "kvm") -> str:
        """Return the message for the user, with the cause `why` and the name of the accelerator."""
        return self.message.replace("KVM", accel.upper()).format(why=why)


FOREIGN = KvmFailure("foreign", "KVM cannot run this guest ({why})", told=False)
ABSENT = KvmFailure(
    "absent",
    "KVM is not available on this host ({why})",
    errors=frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO}),
    told=False,
)
FORBIDDEN = KvmFailure(
    "forbidden",
    "you have no permission to use KVM ({why})",
    errors=frozenset({errno.EACCES, errno.EPERM}),
)
BUSY = KvmFailure(
    "busy",
    "another hypervisor uses the processor, so KVM cannot ({why})",
    # Since Linux 6.12, KVM returns EIO if another hypervisor has enabled virtualization.
    errors=frozenset({errno.EBUSY, errno.EIO}),
)
REFUSED = KvmFailure(
    "refused",  # also used for an error number that no other failure contains
    "KVM refuses to run a machine ({why})",
    exits=frozenset({"exit", "crash"}),
    remembered=24 * _HOUR,
)
INTERNAL_ERROR = KvmFailure(
    "internal_error",
    "KVM failed while a guest ran ({why})",
    exits=frozenset({"internal_error"}),
    remembered=24 * _HOUR,
)
DIED = KvmFailure(
    "died",
    "the guest stopped under KVM before it was ready ({why})",
    exits=frozenset({"reset", "shutdown", "panic"}),
    remembered=24 * _HOUR,
)
SILENT = KvmFailure(
    "silent",  # the guest was not ready in time, but QEMU neither reported an error nor exited
    "the guest did not answer under KVM ({why})",
    remembered=_HOUR,  # only one hour, because the host may just have been busy
)
DISTURBED = KvmFailure(
    "disturbed",  # a signal or a limit ended QEMU, so we learn nothing about KVM
    "KVM could not be tested ({why})",
    exits=frozenset({"killed", "limit", "quit"}),
)

FAILURES = (FOREIGN, ABSENT, FORBIDDEN, BUSY, REFUSED, INTERNAL_ERROR, DIED, SILENT, DISTURBED)
"""All failures of KVM, in the order in which the functions below search them."""


def failure_of_device(error: OSError) -> KvmFailure:
    """Return the KVM failure for an error from opening /dev/kvm or creating a virtual machine."""
    return next((each for each in FAILURES if error.errno in each.errors), REFUSED)


def failure_of_start(error: QemuError | BootError) -> KvmFailure:
    """Return the KVM failure for an error because of which a guest did not start under KVM."""
    if error.qemu_exit is None:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, TimeoutError):
            return failure_of_device(cause)
        return SILENT
    text = error.qemu_exit.text
    is_busy = os.strerror(errno.EBUSY) in text or (
        "KVM_CREATE_VM" in text and os.strerror(errno.EIO) in text
    )
    if error.qemu_exit.kind == "exit" and is_busy:
        return BUSY
    return next(each for each in FAILURES if error.qemu_exit.kind in each.exits)
