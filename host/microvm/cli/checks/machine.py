"""The check that starts a machine and runs a command in it."""

from __future__ import annotations

import asyncio
import time
from typing import Unpack

from microvm.cli import names
from microvm.cli.checks.check import CheckResult, EarlierResults, HostFault, ok
from microvm.cli.template_maker import run_image, run_options
from microvm.errors import MicroVMError
from microvm.images import Image
from microvm.machine.machine import MicroVM
from microvm.options import PoolOptions
from microvm.system.patience import patient

TIMEOUT = 150.0
"""Maximum number of seconds of the check. They suffice if a boot under KVM fails, after which the
guest is booted without KVM and cloned."""

BUILD_TIMEOUT = 900.0  # maximum number of seconds to build the default image, including downloads


class NoAnswer(MicroVMError):
    """Raised if the machine of the check did not run `echo hello` within the time limit."""


NO_HELLO = HostFault(
    "failed",
    "no machine says hello: {why}",
    "microvm run -v --console console.log -- true",
    "[faults.md](faults.md) lists the possible failures of a start",
)


def check_machine(earlier: EarlierResults) -> CheckResult:
    """Start a machine as `microvm run` does, and run `echo hello` in it."""
    # If the check of KVM has just failed, do not try KVM again, which would take time.
    options: PoolOptions = {"accel": "tcg"} if "kvm" in earlier.noted else {}
    try:
        seconds, start = hello(**options)
    except MicroVMError as error:
        return NO_HELLO.result(why=error.message, hint=error.hint)
    return ok(f"it said hello after {seconds:.2f} seconds, {start}")


def hello(within: float = TIMEOUT, **options: Unpack[PoolOptions]) -> tuple[float, str]:
    """Start a machine as `microvm run` does by default, run a command, and return the time taken.

    The command is `echo hello`. The image is built first if it does not exist.

    :param within: Time limit in seconds, which MICROVM_PATIENCE multiplies. The time to build the
        image does not count.
    :param options: Options that replace the user's presets.
    :return: The number of seconds that it took, and a text that says how the machine was started.
    :raises NoAnswer: Raised if the machine did not run the command within the time limit.
    """
    given: PoolOptions = {**run_options(), **options}
    booted = names.find_image(run_image(), given.get("arch"))
    within = patient(within)
    try:
        return asyncio.run(_hello(booted, within, given))
    except TimeoutError:
        raise NoAnswer(f"no answer within {within:.0f} seconds") from None


async def _hello(image: Image, within: float, options: PoolOptions) -> tuple[float, str]:
    begun = time.monotonic()
    async with asyncio.timeout(within), MicroVM(image, **options) as vm:
        done = await vm.run(["echo", "hello"])
        seconds = time.monotonic() - begun
        if (done.returncode, done.stdout) != (0, b"hello\n"):
            raise NoAnswer(f"it said {done.stdout[:80]!r}, and exited with {done.returncode}")
        return seconds, f"{'a clone' if vm.cloned else 'booted'} under {vm.accel.upper()}"
