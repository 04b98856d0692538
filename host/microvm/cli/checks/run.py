"""The running of checks: each within its time, and none that ends the others."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence

from microvm.cli.checks.check import Check, Context, Fault, Finding
from microvm.errors import MicroVMError
from microvm.threads import start_thread

ENDLESS = Fault(
    "failed",
    "it did not end within {seconds} seconds",
    "look at the load of this host, and at its file systems: `uptime`, `df`",
    "a file system that does not answer, or a host that is too busy",
)
BROKEN = Fault(
    "failed",
    "{error}",
    "MICROVM_LOG=debug microvm run -- true",
    "what is wrong is nothing that this check knows of",
)
NOT_TRIED = Fault("failed", "it was not tried, as what it needs has failed", "mend first: {failed}")
FAULTS = (NOT_TRIED, ENDLESS, BROKEN)
"""What can be found by any of them."""


def run(checks: Sequence[Check]) -> Iterator[tuple[Check, Finding]]:
    """Yield each with what it has found, as soon as it is there."""
    context = Context()
    for check in checks:
        if failed := [name for name in check.after if name in context.failed]:
            finding = NOT_TRIED.found(failed=", ".join(failed))
        else:
            finding = _bounded(check, context)
        if finding.status == "failed":
            context.failed.append(check.name)
        yield check, finding


def _bounded(check: Check, context: Context) -> Finding:
    """Run it in a thread: a call on a file system that hangs can only be left behind."""
    found: queue.SimpleQueue[Finding] = queue.SimpleQueue()
    try:
        start_thread(lambda: found.put(_whole(check, context)))
    except MicroVMError:
        return _whole(check, context)  # which then says what it gets no more of
    try:
        return found.get(timeout=check.within)
    except queue.Empty:
        return ENDLESS.found(seconds=f"{check.within:g}")


def _whole(check: Check, context: Context) -> Finding:
    try:
        return check.run(context)
    except MicroVMError as error:
        return BROKEN.of(error)
    except Exception as error:  # whatever it is, the others are still to be run
        return BROKEN.found(error=f"{type(error).__name__}: {error}")
