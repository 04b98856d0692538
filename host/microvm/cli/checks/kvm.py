"""The check of KVM: a guest is booted under it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from microvm.cli.checks import machine
from microvm.cli.checks.check import Check, Context, Fault, Finding, Severity, ok
from microvm.errors import BootError, QemuError, UsageError
from microvm.qemu import accel, kvm_failure

if TYPE_CHECKING:
    from microvm.cli.presets import Preset

TIMEOUT = 3.0
"""Seconds that the guest has: under KVM it boots in less than one."""

_WITHOUT = "export MICROVM_ACCEL=tcg"  # which is silent, and tries nothing else
_SHOW = "`microvm run --accel kvm --cold -v -- true` shows how"

# The command that mends a failure, the hint behind it, and its meaning for the document.
_HELP = {
    kvm_failure.ABSENT: (
        _WITHOUT,
        "",
        "the processor has no virtualization, or hides it from this virtual machine or container; "
        "where the module is not loaded, `sudo modprobe kvm_intel`, or `kvm_amd`, mends it",
    ),
    kvm_failure.FORBIDDEN: (
        "sudo usermod -aG {group} {user}",
        "",
        "log in anew then; where the device has no group, `sudo chgrp kvm /dev/kvm && sudo chmod "
        "660 /dev/kvm` before; a container is given the device by `--device /dev/kvm`",
    ),
    kvm_failure.BUSY: (
        _WITHOUT,
        "or stop the virtual machines of the other hypervisor, such as VirtualBox",
        "",
    ),
    kvm_failure.REFUSED: (
        _WITHOUT,
        "`sudo dmesg | grep -i kvm` may say more",
        "as in virtual machines whose own host emulates virtualization in part",
    ),
    kvm_failure.INTERNAL_ERROR: (
        _WITHOUT,
        _SHOW,
        "as in virtual machines whose own host emulates virtualization in part",
    ),
    kvm_failure.DIED: (_WITHOUT, _SHOW, "the same guest boots without KVM"),
    kvm_failure.SILENT: (
        _WITHOUT,
        _SHOW,
        f"`doctor` waits {TIMEOUT:g} seconds, and a first start {accel.TRIAL_TIMEOUT:g}, before it "
        "does without KVM",
    ),
    kvm_failure.DISTURBED: (
        "microvm doctor",
        _SHOW,
        "a signal or a limit has ended QEMU, which says nothing about KVM",
    ),
}

FAULTS = {
    failure: Fault(
        failure.severity,
        f"{failure.message}: guests are emulated, which is slower",
        *(mend, means, hint),
    )
    for failure, (mend, hint, means) in _HELP.items()
}
"""The failures of KVM, as faults: all that can happen to a guest of this host's kind."""

UNPROVED = Fault(
    "skipped", "KVM is there, but no guest was tried under it, as others have failed: {failed}"
)
_MODULES = {"vmx": "kvm_intel", "svm": "kvm_amd"}


def kvm(context: Context) -> Finding:
    """Start a guest under it: that it is there proves nothing."""
    from microvm import arches

    preset = _preset()
    if preset and preset.value == "tcg":
        return ok(f"not asked for: guests are emulated, as {preset.where} says")
    # Whoever asks for KVM has no machine without it.
    status: Severity | None = "failed" if preset and preset.value == "kvm" else None
    if found := accel.obstacle(arches.find().name):
        mend, hint = found.command or _WITHOUT, found.hint
        if found.failure is kvm_failure.ABSENT:
            mend, hint = _how_to_have()
        return FAULTS[found.failure].found(status=status, why=found.why, mend=mend, hint=hint)
    if context.failed:
        return UNPROVED.found(failed=", ".join(context.failed))
    try:
        seconds, _ = machine.hello(within=TIMEOUT, accel="kvm", cold=True)
    except machine.Silent as error:
        return FAULTS[kvm_failure.SILENT].found(status=status, why=error.message)
    except (QemuError, BootError) as error:
        failure = kvm_failure.of_start(error)
        return FAULTS[failure].found(status=status, why=error.message)
    return ok(f"a guest booted under it in {seconds:.2f} seconds")


def _preset() -> Preset | None:
    """Return the accelerator that the user has asked for, if any."""
    from microvm.cli.presets import Presets

    with suppress(UsageError):  # of which another check is
        return Presets().find("accel", "run")
    return None


def _how_to_have() -> tuple[str, str]:
    """Return the command for who has no device, and what else there is to do."""
    with suppress(OSError):
        flags = set(re.findall(r"\b(?:vmx|svm)\b", Path("/proc/cpuinfo").read_text()))
        for module in (_MODULES[flag] for flag in sorted(flags)):
            if Path("/sys/module", module).exists():
                return _WITHOUT, f"a container must be given the device: `--device {accel.KVM}`"
            return f"sudo modprobe {module}", ""
    return _WITHOUT, (
        "or turn on virtualization: in the firmware, or nested, on the host of this virtual machine"
    )


CHECK = Check(
    "kvm",
    "KVM, proved by a guest that is booted under it.",
    kvm,
    (*FAULTS.values(), UNPROVED),
    within=machine.BUILD_TIMEOUT + TIMEOUT,
)
