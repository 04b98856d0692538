"""The check of all together: a machine that says hello."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from microvm.cli.checks.check import Context, Fault, Finding, ok
from microvm.errors import MicroVMError

if TYPE_CHECKING:
    from microvm.options import Accelerator
    from microvm_image import Image

_TIMEOUT = 150.0  # a boot under KVM that leads to nothing, one without, and a clone
_BUILD = 900.0  # an image, with what is downloaded for it


class Silent(MicroVMError):
    """A machine did not say hello, or not in time."""


NO_HELLO = Fault(
    "failed",
    "no machine says hello: {why}",
    "microvm run -v --console console.log -- true",
    "whatever comes of a start is in [faults.md](faults.md)",
)


def machine(_: Context) -> Finding:
    """Start one as `microvm run` does, and have it say hello."""
    try:
        seconds, how = hello()
    except MicroVMError as error:
        return NO_HELLO.of(error, "no machine says hello: ")
    return ok(f"it said hello after {seconds:.2f} seconds, {how}")


def hello(accel: Accelerator = "auto", *, cold: bool = False) -> tuple[float, str]:
    """Return after how many seconds a machine has said hello, and how it was started.

    The default image is built before, if there is none.

    :raises Silent: it has not, or not in time.
    :raises MicroVMError: whatever the start of a machine raises.
    """
    from microvm.progress import LineReporter
    from microvm_image import default

    image = default(report=LineReporter())
    try:
        return asyncio.run(_hello(image, accel, cold))
    except TimeoutError:
        raise Silent(f"nothing within {_TIMEOUT:.0f} seconds") from None


async def _hello(image: Image, accel: Accelerator, cold: bool) -> tuple[float, str]:
    from microvm.machine import MicroVM

    begun = time.monotonic()
    async with asyncio.timeout(_TIMEOUT), MicroVM(image, accel=accel, cold=cold) as vm:
        said = await vm.run(["echo", "hello"])
        seconds = time.monotonic() - begun
        if (said.returncode, said.stdout) != (0, b"hello\n"):
            raise Silent(f"it said {said.stdout[:80]!r}, and ended with {said.returncode}")
        return seconds, f"{'a clone' if vm.cloned else 'booted'} under {vm.accel.upper()}"


WITHIN = _BUILD + _TIMEOUT
"""How long it may take, in seconds."""
