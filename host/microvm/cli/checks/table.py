"""The table of the checks, in the order in which they are run and shown."""

from __future__ import annotations

from microvm.cli.checks import cache, host, image, kvm, machine, qemu
from microvm.cli.checks.check import HostCheck

_BEFORE = (*host.CHECKS, *cache.CHECKS, *qemu.CHECKS, *image.CHECKS, kvm.CHECK)

CHECKS = (
    *_BEFORE,
    HostCheck(
        "machine",
        "A machine, started as `microvm run` does it.",
        machine.machine,
        (machine.NO_HELLO,),
        after=[check.name for check in _BEFORE],
        within=machine.BUILD_TIMEOUT + machine.TIMEOUT,
    ),
)
"""All of them. The last two start machines, so they come behind what would have them fail."""
