"""The recipe of the small kernel: its configuration and its changes to the source code."""

from __future__ import annotations

from microvm.arches import Arch
from microvm.sha256 import sha256
from microvm_image.kernel import kconfig

BUILDER = 1
"""Version of the code that compiles kernels. Raise it if the code changes the resulting kernel."""

# Changes to the kernel's source code: the path of a file, a text in the file, and the text that
# replaces it.
EDITS = (
    # The timers (local APICs) of QEMU and KVM count nanoseconds. Without this change, Linux would
    # measure their frequency, which takes 0.2 s of every boot and is inaccurate on a busy host.
    (
        "arch/x86/kernel/apic/apic.c",
        "unsigned int lapic_timer_period = 0;",
        "unsigned int lapic_timer_period = 1000000000 / HZ;",
    ),
    # At boot, Linux measures the frequency of the TSC, the clock of the CPU. A second later, it
    # would refine this measurement, and stop all CPUs to switch to that clock. Without ACPI, the
    # refinement cannot succeed, so this change skips it: Linux uses the TSC from the start.
    (
        "arch/x86/kernel/tsc.c",
        "X86_FEATURE_TSC_KNOWN_FREQ)) {\n\t\tif (boot_cpu_has(X86_FEATURE_ART))",
        "X86_FEATURE_TSC)) {\n\t\tif (boot_cpu_has(X86_FEATURE_ART))",
    ),
    # Without ACPI, Linux cannot power off the machine. So `poweroff` resets it instead, and QEMU
    # exits after a reset, because it runs with -no-reboot.
    (
        "kernel/reboot.c",
        "cmd = LINUX_REBOOT_CMD_HALT;",
        "cmd = LINUX_REBOOT_CMD_RESTART;",
    ),
)


def digest(arch: Arch) -> str:
    """Return a digest of the recipe, 8 hex digits. A kernel with another digest is out of date.

    :raises ImageError: A file of the configuration is missing.
    """
    parts = (str(BUILDER), kconfig.fragment(arch), repr(EDITS))
    return sha256("\0".join(parts).encode()).hexdigest()[:8]
