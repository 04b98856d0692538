"""The check of all together: a machine that says hello."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Unpack, cast

from microvm.cli.checks.check import CheckResult, EarlierResults, HostFault, ok
from microvm.errors import MicroVMError
from microvm.options import PoolOptions

if TYPE_CHECKING:
    from microvm.images import Image

TIMEOUT = 150.0
"""Number of seconds for a boot under KVM that fails, a boot without KVM, and a clone."""

BUILD_TIMEOUT = 900.0
"""Number of seconds to build the image, downloads included."""


class NoAnswer(MicroVMError):
    """A machine did not say hello, or not in time."""


NO_HELLO = HostFault(
    "failed",
    "no machine says hello: {why}",
    "microvm run -v --console console.log -- true",
    "whatever comes of a start is in [faults.md](faults.md)",
)


def machine(context: EarlierResults) -> CheckResult:
    """Start one as `microvm run` does, and have it say hello."""
    # KVM has just failed, so this machine does not spend time on trying it again.
    options: PoolOptions = {"accel": "tcg"} if "kvm" in context.noted else {}
    try:
        seconds, how = hello(**options)
    except MicroVMError as error:
        return NO_HELLO.of(error, "no machine says hello: ")
    return ok(f"it said hello after {seconds:.2f} seconds, {how}")


def hello(within: float = TIMEOUT, **options: Unpack[PoolOptions]) -> tuple[float, str]:
    """Start a machine that says hello; return how many seconds that took, and how it was started.

    It is the machine of `microvm run` without options. Its image is built first if it does not
    exist.

    :param within: the maximum number of seconds, counted from when the image exists.
    :param options: options that replace the user's defaults.
    :raises NoAnswer: the machine did not say hello, or not in time.
    :raises MicroVMError: any error of the start of a machine.
    """
    from microvm.cli import names, presets
    from microvm.option import options_of

    found = presets.Presets()
    image = found.find("image", "run")
    preset = {name: found.find(name, "run") for name in options_of(PoolOptions)}
    given = {name: each.value for name, each in preset.items() if each}
    booted = names.find_image(image.value if image else None)
    try:
        return asyncio.run(_hello(booted, within, cast(PoolOptions, {**given, **options})))
    except TimeoutError:
        raise NoAnswer(f"no answer within {within:.0f} seconds") from None


async def _hello(image: Image, within: float, options: PoolOptions) -> tuple[float, str]:
    from microvm.machine.machine import MicroVM

    begun = time.monotonic()
    async with asyncio.timeout(within), MicroVM(image, **options) as vm:
        said = await vm.run(["echo", "hello"])
        seconds = time.monotonic() - begun
        if (said.returncode, said.stdout) != (0, b"hello\n"):
            raise NoAnswer(f"it said {said.stdout[:80]!r}, and ended with {said.returncode}")
        return seconds, f"{'a clone' if vm.cloned else 'booted'} under {vm.accel.upper()}"
