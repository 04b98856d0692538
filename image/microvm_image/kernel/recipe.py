"""The recipe of our own kernel: all that makes it what it is but the source and the compiler."""

from __future__ import annotations

from microvm.arches import Arch
from microvm.sha256 import sha256
from microvm_image.kernel import kconfig

BUILDER = 1
"""The version of the builder: another one makes another kernel of the same source."""

# A file, the text in it, and its replacement.
EDITS = (
    # QEMU's local APIC counts nanoseconds, and so does KVM's: measuring that takes 0.2 s of every
    # boot, and goes wrong on a busy host.
    (
        "arch/x86/kernel/apic/apic.c",
        "unsigned int lapic_timer_period = 0;",
        "unsigned int lapic_timer_period = 1000000000 / HZ;",
    ),
    # Nothing that the TSC's frequency could be refined by is there without ACPI. Waiting for it,
    # Linux changes its clock a second after the boot, and stops all CPUs for that.
    (
        "arch/x86/kernel/tsc.c",
        "X86_FEATURE_TSC_KNOWN_FREQ)) {\n\t\tif (boot_cpu_has(X86_FEATURE_ART))",
        "X86_FEATURE_TSC)) {\n\t\tif (boot_cpu_has(X86_FEATURE_ART))",
    ),
    # Without ACPI nothing can cut the power, but a reset ends QEMU as well.
    (
        "kernel/reboot.c",
        "cmd = LINUX_REBOOT_CMD_HALT;",
        "cmd = LINUX_REBOOT_CMD_RESTART;",
    ),
)


def digest(arch: Arch) -> str:
    """Return the recipe's digest, 8 hexadecimal digits; a kernel with another is out of date.

    :raises ImageError: a fragment is not there.
    """
    parts = (str(BUILDER), kconfig.fragment(arch), repr(EDITS))
    return sha256("\0".join(parts).encode()).hexdigest()[:8]
