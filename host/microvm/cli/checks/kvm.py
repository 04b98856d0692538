"""The check of KVM, which boots a guest under KVM."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from microvm import arches, cache
from microvm.cli.checks import machine
from microvm.cli.checks.check import (
    NOT_TRIED,
    CheckResult,
    EarlierResults,
    HostCheck,
    HostFault,
    Severity,
    ok,
)
from microvm.cli.presets import Preset, Presets
from microvm.errors import BootError, QemuError, UsageError
from microvm.qemu import accel, kvm_failure
from microvm.qemu.kvm_failure import KvmFailure
from microvm.qemu.launch import find_qemu
from microvm.system import platform

TIMEOUT = 3.0
"""Maximum number of seconds until the guest answers, if KVM is not known to work. Under KVM, a
guest usually boots in less than one."""

# The command to suggest if KVM cannot be used: it makes machines use emulation from the start, so
# that no notice about KVM is printed.
_USE_EMULATION = "export MICROVM_ACCEL=tcg"
# This file exists if the kernel has the device, even if /dev lacks it, as in many containers.
_DEVICE = Path("/sys/class/misc/kvm")
_BUILT_IN = (
    "or start the kernel, which contains KVM, in hypervisor mode (EL2), as firmware usually does "
    "and most virtual machines do not; `sudo dmesg | grep -i kvm` shows the mode"
)

# The fault that the check reports for each failure of KVM. For other failures it reports
# `NOT_WORKING`.
_FAULTS = {
    kvm_failure.ABSENT: HostFault(
        "note",  # no failure, because machines also start without KVM
        f"{kvm_failure.ABSENT.message}: guests are emulated, which is slower",
        _USE_EMULATION,
        "the processor lacks virtualization, or hides it from this virtual machine or container; "
        "if only the module is missing, the command is `sudo modprobe kvm_intel`, or `kvm_amd`; on "
        "aarch64, KVM is a part of the kernel, and works if the kernel was started in hypervisor "
        "mode (EL2)",
    ),
    kvm_failure.FORBIDDEN: HostFault(
        "note",
        f"{kvm_failure.FORBIDDEN.message}: guests are emulated, which is slower",
        "sudo usermod -aG {group} {user}",
        "then log in again; if the device has no group, first run `sudo chgrp kvm /dev/kvm && "
        "sudo chmod 660 /dev/kvm`; a container gets the device by `--device /dev/kvm`",
    ),
    kvm_failure.BUSY: HostFault(
        "note",
        f"{kvm_failure.BUSY.message}: guests are emulated, which is slower",
        _USE_EMULATION,
        hint="or stop the virtual machines of the other hypervisor, such as VirtualBox",
    ),
}
NOT_WORKING = HostFault(
    "note",
    "KVM does not work on this host, so guests are emulated, which is slower: {failure}",
    _USE_EMULATION,
    "common in virtual machines whose own host emulates only a part of virtualization; the guest "
    f"has {TIMEOUT:g} seconds to answer, or {accel.TRIAL_TIMEOUT:g} if KVM has worked before",
    "`microvm run --accel kvm --cold -v -- true` shows the failure; `sudo dmesg | grep -i kvm` may "
    "show more",
)


def fault_of(failure: KvmFailure) -> HostFault:
    """Return the fault that the check of KVM reports for this failure of KVM."""
    return _FAULTS.get(failure, NOT_WORKING)


def check_kvm(earlier: EarlierResults) -> CheckResult:
    """Boot a guest under KVM, because an existing /dev/kvm does not prove that guests can run."""
    preset = _accel_preset()
    if preset and preset.value == "tcg":
        return ok(f"not tried, because {preset.where} selects emulation")
    # If a preset demands KVM, no machine starts without KVM, so the check fails.
    status: Severity | None = "failed" if preset and preset.value == "kvm" else None

    def result(
        failure: KvmFailure, why: str, fix: str = _USE_EMULATION, hint: str = ""
    ) -> CheckResult:
        values = {"why": why, "failure": failure.line(why)}
        return fault_of(failure).result(status=status, fix=fix, hint=hint, **values)

    if found := accel.obstacle(arches.find().name):
        fix, hint = found.command or _USE_EMULATION, found.hint
        if found.failure is kvm_failure.ABSENT:
            fix, hint = _fix_absence()
        return result(found.failure, found.why, fix, hint)
    if earlier.failed:
        return NOT_TRIED.result(failed=", ".join(earlier.failed))
    # If KVM has worked on this host, it is only slow. Then wait as long as a machine waits.
    probes = accel.ProbeCache(cache.root(), find_qemu(arches.find().name))
    within = accel.TRIAL_TIMEOUT if probes.recall() else TIMEOUT
    try:
        seconds, _ = machine.hello(within=within, accel="kvm", cold=True)
    except machine.NoAnswer as error:
        return result(kvm_failure.SILENT, error.message)
    except (QemuError, BootError) as error:
        return result(kvm_failure.failure_of_start(error), error.message)
    return ok(f"a guest booted under KVM in {seconds:.2f} seconds")


def _accel_preset() -> Preset | None:
    """Return the user's preset of the option `--accel`, or None if it is not preset."""
    # ignore invalid presets here, because the check `config` reports them
    with suppress(UsageError):
        return Presets().find("accel", "run")
    return None


def _fix_absence() -> tuple[str, str]:
    """Return the command and the hint for a user whose host has no /dev/kvm."""
    if _DEVICE.exists():
        return _USE_EMULATION, f"or start this container with `--device {accel.KVM}`"
    modules = arches.find().kvm_modules
    if not modules:
        return _USE_EMULATION, _BUILT_IN
    flags = set(re.findall(r"\w+", platform.proc("cpuinfo")))
    for flag, module in modules.items():
        if flag in flags:
            return f"sudo modprobe {module}", ""
    return _USE_EMULATION, (
        "or enable virtualization in the firmware, or nested virtualization on the host of this "
        "virtual machine"
    )


CHECK = HostCheck(
    "kvm",
    "KVM: whether a guest boots under it.",
    check_kvm,
    (*_FAULTS.values(), NOT_WORKING),
    within=machine.BUILD_TIMEOUT + accel.TRIAL_TIMEOUT,
)
