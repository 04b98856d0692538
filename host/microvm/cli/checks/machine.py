"""The check of all together: a machine that says hello."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Unpack, cast

from microvm.cli.checks.check import Context, Fault, Finding, ok
from microvm.errors import MicroVMError
from microvm.options import PoolOptions

if TYPE_CHECKING:
    from microvm_image import Image

TIMEOUT = 150.0
"""Seconds for a boot under KVM that leads to nothing, one without it, and a clone."""

BUILD_TIMEOUT = 900.0
"""Seconds for an image, with what is downloaded for it."""


class Silent(MicroVMError):
    """A machine did not say hello, or not in time."""


NO_HELLO = Fault(
    "failed",
    "no machine says hello: {why}",
    "microvm run -v --console console.log -- true",
    "whatever comes of a start is in [faults.md](faults.md)",
)


def machine(context: Context) -> Finding:
    """Start one as `microvm run` does, and have it say hello."""
    # A first start would find out once more that KVM does not work, and take its time.
    options: PoolOptions = {"accel": "tcg"} if "kvm" in context.noted else {}
    try:
        seconds, how = hello(**options)
    except MicroVMError as error:
        return NO_HELLO.of(error, "no machine says hello: ")
    return ok(f"it said hello after {seconds:.2f} seconds, {how}")


def hello(within: float = TIMEOUT, **options: Unpack[PoolOptions]) -> tuple[float, str]:
    """Return after how many seconds a machine has said hello, and how it was started.

    It is that of `microvm run` without options, whose image is built before, if there is none.

    :param within: the seconds that it has, once its image is built.
    :param options: those that are to be other ones all the same.
    :raises Silent: it has not, or not in time.
    :raises MicroVMError: whatever the start of a machine raises.
    """
    from microvm.cli import names, presets
    from microvm.option import options_of

    found = presets.Presets()
    image = found.find("image", "run")
    preset = {name: found.find(name, "run") for name in options_of(PoolOptions)}
    given = {name: each.value for name, each in preset.items() if each}
    booted = names.image_of(image.value if image else None)
    try:
        return asyncio.run(_hello(booted, within, cast(PoolOptions, {**given, **options})))
    except TimeoutError:
        raise Silent(f"nothing within {within:.0f} seconds") from None


async def _hello(image: Image, within: float, options: PoolOptions) -> tuple[float, str]:
    from microvm.machine.machine import MicroVM

    begun = time.monotonic()
    async with asyncio.timeout(within), MicroVM(image, **options) as vm:
        said = await vm.run(["echo", "hello"])
        seconds = time.monotonic() - begun
        if (said.returncode, said.stdout) != (0, b"hello\n"):
            raise Silent(f"it said {said.stdout[:80]!r}, and ended with {said.returncode}")
        return seconds, f"{'a clone' if vm.cloned else 'booted'} under {vm.accel.upper()}"
