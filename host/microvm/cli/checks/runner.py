"""Runs the checks of `microvm doctor` in a fixed order, each with a time limit.

If a check raises an error, the remaining checks run nevertheless.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence

from microvm.cli.checks import cache, host, image, kvm, machine, qemu
from microvm.cli.checks.check import NOT_TRIED, CheckResult, EarlierResults, HostCheck, HostFault
from microvm.concurrency.threads import start_thread
from microvm.errors import MicroVMError
from microvm.system.patience import patient

# The checks that start machines come last, because faults that the first checks find, such as a
# missing QEMU, make a machine fail, too.
_FIRST = (*host.CHECKS, *cache.CHECKS, *qemu.CHECKS, *image.CHECKS, kvm.CHECK)
CHECKS = (
    *_FIRST,
    HostCheck(
        "machine",
        "A machine, started as `microvm run` starts it.",
        machine.check_machine,
        (machine.NO_HELLO,),
        after=[check.name for check in _FIRST],
        within=machine.BUILD_TIMEOUT + machine.TIMEOUT,
    ),
)
"""All checks, in the order in which they are run and shown."""

ENDLESS = HostFault(
    "failed",
    "the check did not finish within {seconds} seconds",
    "uptime",
    "a file system does not answer, or the host is too busy",
    "look at the load of this host, and at its file systems",
)
BROKEN = HostFault(
    "failed",
    "{error}",
    "microvm run -v -- true",
    "the check failed with an error that it does not know",
)
FAULTS = (NOT_TRIED, ENDLESS, BROKEN)
"""The faults that the result of every check can be, such as an exceeded time limit."""


def run(checks: Sequence[HostCheck] = CHECKS) -> Iterator[tuple[HostCheck, CheckResult]]:
    """Run the checks of `microvm doctor`, and yield each check with its result."""
    earlier, skipped = EarlierResults(), list[str]()
    for check in checks:
        failed = [name for name in check.after if name in earlier.failed]
        if missing := failed or [name for name in check.after if name in skipped]:
            result = NOT_TRIED.result(failed=", ".join(missing))
        else:
            result = _run_with_limit(check, earlier)
        if result.status == "failed":
            earlier.failed.append(check.name)
        elif result.status == "note":
            earlier.noted.append(check.name)
        elif result.status == "skipped":
            skipped.append(check.name)
        yield check, result


def _run_with_limit(check: HostCheck, earlier: EarlierResults) -> CheckResult:
    """Run a check in a thread. After the time limit, abandon the thread and return a fault.

    A call of a broken network file system may never return.
    """
    found: queue.SimpleQueue[CheckResult] = queue.SimpleQueue()
    try:
        start_thread(lambda: found.put(_run(check, earlier)))
    except MicroVMError:
        # No thread can be started, for example because the user has too many processes. So run the
        # check in this thread, without a time limit. The check `limits` reports the cause.
        return _run(check, earlier)
    try:
        return found.get(timeout=patient(check.within))
    except queue.Empty:
        return ENDLESS.result(seconds=f"{patient(check.within):g}")


def _run(check: HostCheck, earlier: EarlierResults) -> CheckResult:
    try:
        return check.run(earlier)
    except MicroVMError as error:
        return BROKEN.result(error=error.message, hint=error.hint)
    # report every error as a fault, so that the remaining checks are run
    except Exception as error:
        return BROKEN.result(error=f"{type(error).__name__}: {error}")
