"""The running of checks: each within its time, and none that ends the others."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence

from microvm.cli.checks.check import CheckResult, EarlierResults, HostCheck, HostFault
from microvm.concurrency.threads import start_thread
from microvm.errors import MicroVMError

ENDLESS = HostFault(
    "failed",
    "it did not end within {seconds} seconds",
    "uptime",
    "a file system that does not answer, or a host that is too busy",
    "look at the load of this host, and at its file systems",
)
BROKEN = HostFault(
    "failed",
    "{error}",
    "env MICROVM_LOG=debug microvm run -- true",
    "what is wrong is nothing that this check knows of",
)
NOT_TRIED = HostFault("skipped", "not tried: it needs {failed}")
FAULTS = (NOT_TRIED, ENDLESS, BROKEN)
"""What can be found by any of them."""


def run(checks: Sequence[HostCheck]) -> Iterator[tuple[HostCheck, CheckResult]]:
    """Yield each with what it has found, as soon as it is there."""
    context, skipped = EarlierResults(), list[str]()
    for check in checks:
        failed = [name for name in check.after if name in context.failed]
        if wanting := failed or [name for name in check.after if name in skipped]:
            finding = NOT_TRIED.found(failed=", ".join(wanting))
        else:
            finding = _bounded(check, context)
        if finding.status == "failed":
            context.failed.append(check.name)
        elif finding.status == "note":
            context.noted.append(check.name)
        elif finding.status == "skipped":
            skipped.append(check.name)
        yield check, finding


def _bounded(check: HostCheck, context: EarlierResults) -> CheckResult:
    """Run it in a thread: a call on a file system that hangs can only be left behind."""
    found: queue.SimpleQueue[CheckResult] = queue.SimpleQueue()
    try:
        start_thread(lambda: found.put(_whole(check, context)))
    except MicroVMError:
        return _whole(check, context)  # which then says what it gets no more of
    try:
        return found.get(timeout=check.within)
    except queue.Empty:
        return ENDLESS.found(seconds=f"{check.within:g}")


def _whole(check: HostCheck, context: EarlierResults) -> CheckResult:
    try:
        return check.run(context)
    except MicroVMError as error:
        return BROKEN.of(error)
    except Exception as error:  # whatever it is, the others are still to be run
        return BROKEN.found(error=f"{type(error).__name__}: {error}")
