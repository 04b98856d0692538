"""The check of KVM, which boots a guest under KVM."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from microvm.cli.checks import machine
from microvm.cli.checks.check import CheckResult, EarlierResults, HostCheck, HostFault, Severity, ok
from microvm.errors import BootError, QemuError, UsageError
from microvm.qemu import accel, kvm_failure

if TYPE_CHECKING:
    from microvm.cli.presets import Preset

TIMEOUT = 3.0
"""Number of seconds for the guest to answer; under KVM, a guest boots in less than one."""

# with this setting, no start tries KVM, and none prints a notice
_WITHOUT = "export MICROVM_ACCEL=tcg"
_SHOW = "`microvm run --accel kvm --cold -v -- true` shows how"

# For each failure: the command that corrects it, the hint after the command, and the meaning for
# the documentation.
_HELP = {
    kvm_failure.ABSENT: (
        _WITHOUT,
        "",
        "the processor lacks virtualization, or hides it from this virtual machine or container; "
        "if the module is not loaded, `sudo modprobe kvm_intel`, or `kvm_amd`, loads it",
    ),
    kvm_failure.FORBIDDEN: (
        "sudo usermod -aG {group} {user}",
        "",
        "then log in again; if the device has no group, first run `sudo chgrp kvm /dev/kvm && "
        "sudo chmod 660 /dev/kvm`; a container gets the device by `--device /dev/kvm`",
    ),
    kvm_failure.BUSY: (
        _WITHOUT,
        "or stop the virtual machines of the other hypervisor, such as VirtualBox",
        "",
    ),
    kvm_failure.REFUSED: (
        _WITHOUT,
        "`sudo dmesg | grep -i kvm` may say more",
        "this happens in virtual machines whose own host emulates only a part of virtualization",
    ),
    kvm_failure.INTERNAL_ERROR: (
        _WITHOUT,
        _SHOW,
        "this happens in virtual machines whose own host emulates only a part of virtualization",
    ),
    kvm_failure.DIED: (_WITHOUT, _SHOW, "the same guest boots without KVM"),
    kvm_failure.SILENT: (
        _WITHOUT,
        _SHOW,
        f"`doctor` waits {TIMEOUT:g} seconds for the guest, and a first start "
        f"{accel.TRIAL_TIMEOUT:g}, before it uses emulation",
    ),
    kvm_failure.DISTURBED: (
        "microvm doctor",
        _SHOW,
        "a signal or a limit has ended QEMU, which says nothing about KVM",
    ),
}

FAULTS = {
    failure: HostFault(
        "note",  # machines run without KVM
        f"{failure.message}: guests are emulated, which is slower",
        *(mend, means, hint),
    )
    for failure, (mend, hint, means) in _HELP.items()
}
"""Each failure of KVM, as a fault of this check."""

UNPROVED = HostFault(
    "skipped", "KVM exists, but no guest was tried under it, as other checks failed: {failed}"
)
_MODULES = {"vmx": "kvm_intel", "svm": "kvm_amd"}


def kvm(context: EarlierResults) -> CheckResult:
    """Boot a guest under KVM, because an existing /dev/kvm does not prove that guests can run."""
    from microvm import arches

    preset = _preset()
    if preset and preset.value == "tcg":
        return ok(f"not tried: {preset.where} asks for emulated guests")
    # A user who asks for KVM gets no machine without KVM, so the check fails.
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
    except machine.NoAnswer as error:
        return FAULTS[kvm_failure.SILENT].found(status=status, why=error.message)
    except (QemuError, BootError) as error:
        failure = kvm_failure.failure_of_start(error)
        return FAULTS[failure].found(status=status, why=error.message)
    return ok(f"a guest booted under KVM in {seconds:.2f} seconds")


def _preset() -> Preset | None:
    """Return the accelerator that the user has asked for; None if there is none."""
    from microvm.cli.presets import Presets

    with suppress(UsageError):  # another check reports wrong defaults
        return Presets().find("accel", "run")
    return None


def _how_to_have() -> tuple[str, str]:
    """Return a command for a host without /dev/kvm, and a hint."""
    with suppress(OSError):
        flags = set(re.findall(r"\b(?:vmx|svm)\b", Path("/proc/cpuinfo").read_text()))
        for module in (_MODULES[flag] for flag in sorted(flags)):
            if Path("/sys/module", module).exists():
                return _WITHOUT, f"a container must be given the device: `--device {accel.KVM}`"
            return f"sudo modprobe {module}", ""
    return _WITHOUT, (
        "or enable virtualization in the firmware, or nested virtualization on the host of this "
        "virtual machine"
    )


CHECK = HostCheck(
    "kvm",
    "KVM, proved by a guest that is booted under it.",
    kvm,
    (*FAULTS.values(), UNPROVED),
    within=machine.BUILD_TIMEOUT + TIMEOUT,
)
