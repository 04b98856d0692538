"""The recipe of our own kernel: its configuration and its changes to the source."""

from __future__ import annotations

from microvm.arches import Arch
from microvm.sha256 import sha256
from microvm_image.kernel import kconfig

BUILDER = 1
"""Version of the builder, which is raised if it builds another kernel from the same source."""

# the path of a file, a text in it, and its replacement
EDITS = (
    # The local APICs of QEMU and KVM count nanoseconds. Linux would measure that, which takes 0.2 s
    # of every boot and is inaccurate on a busy host.
    (
        "arch/x86/kernel/apic/apic.c",
        "unsigned int lapic_timer_period = 0;",
        "unsigned int lapic_timer_period = 1000000000 / HZ;",
    ),
    # Without ACPI, Linux cannot refine the frequency of the TSC. It would wait for that, and change
    # its clock a second after the boot, for which it stops all CPUs.
    (
        "arch/x86/kernel/tsc.c",
        "X86_FEATURE_TSC_KNOWN_FREQ)) {\n\t\tif (boot_cpu_has(X86_FEATURE_ART))",
        "X86_FEATURE_TSC)) {\n\t\tif (boot_cpu_has(X86_FEATURE_ART))",
    ),
    # Without ACPI Linux cannot power off the machine, but QEMU exits after a reset, too.
    (
        "kernel/reboot.c",
        "cmd = LINUX_REBOOT_CMD_HALT;",
        "cmd = LINUX_REBOOT_CMD_RESTART;",
    ),
)


def digest(arch: Arch) -> str:
    """Return the digest of the recipe, 8 hex digits. A kernel with another digest is out of date.

    :raises ImageError: A fragment of the configuration is missing.
    """
    parts = (str(BUILDER), kconfig.fragment(arch), repr(EDITS))
    return sha256("\0".join(parts).encode()).hexdigest()[:8]
