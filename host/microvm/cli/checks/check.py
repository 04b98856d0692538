"""The classes for a check of `microvm doctor`: its function, its possible faults, its result."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from microvm.errors import MicroVMError
from microvm.printable import printable

Severity = Literal["note", "failed"]
"""The severity of a fault. With a `note` machines start, but are slower or lack a feature. If a
check has `failed`, machines do not start."""

Status = Literal["ok", "skipped"] | Severity

# Matches a placeholder in the text of a fault. `re.escape` has changed it, for example from `{why}`
# to `\{why\}`.
_NAME = re.compile(r"\\{\w+\\}")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check of `microvm doctor`.

    :ivar fix: Shell command that fixes the fault; empty if there is none.
    """

    status: Status
    text: str
    fix: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class HostFault:
    """A possible fault of the host, such as a missing QEMU. docs/troubleshooting.md lists all.

    :ivar text: Message for the user, with placeholders such as `{path}`.
    :ivar fix: Shell command that fixes the fault. Values that replace placeholders are quoted.
    :ivar meaning: Cause or consequence of the fault, for the documentation only.
    :ivar hint: More information, or another way to fix the fault.
    """

    status: Severity | Literal["skipped"]
    text: str
    fix: str = ""
    meaning: str = ""
    hint: str = ""

    def result(
        self,
        *,
        status: Severity | None = None,
        fix: str | None = None,
        hint: str = "",
        **values: object,
    ) -> CheckResult:
        """Return the result of a check for this fault, with `values` instead of placeholders.

        The other arguments replace fields of the fault.
        """
        if fix is None:
            quoted = {name: shlex.quote(str(value)) for name, value in values.items()}
            fix = self.fix.format(**quoted)
        return self._result(status, self.text.format(**values), fix, hint)

    def result_of(self, error: MicroVMError, fix: str) -> CheckResult:
        """Return a result for this fault, with the text of `error` and the command `fix`."""
        return self._result(None, error.message, fix, error.hint)

    def _result(self, status: Severity | None, text: str, fix: str, hint: str) -> CheckResult:
        if os.geteuid() == 0:
            # remove sudo from a command for root, who does not need it; a container may lack it
            fix = re.sub(r"\bsudo ", "", fix)
        shown = (printable(each) for each in (text, fix, hint or self.hint))
        return CheckResult(status or self.status, *shown)

    def matches(self, result: CheckResult) -> bool:
        """Return True if the text of a result describes this fault, whatever values it contains."""
        return bool(re.fullmatch(_NAME.sub(".+", re.escape(self.text)), result.text))


@dataclass(frozen=True, slots=True)
class EarlierResults:
    """The names of the checks that have already run and found a fault."""

    failed: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class HostCheck:
    """A check of `microvm doctor`, which examines one resource of the host.

    :ivar about: Subject of the check, for the documentation.
    :ivar run: Function that runs the check. It changes nothing, except as the start of a machine
        does: for example, it may create the cache.
    :ivar after: Names of other checks. If one of them fails, this check is skipped.
    :ivar within: Time limit in seconds.
    """

    name: str
    about: str
    run: Callable[[EarlierResults], CheckResult]
    faults: Sequence[HostFault]
    after: Sequence[str] = ()
    within: float = 30.0


NOT_TRIED = HostFault("skipped", "not tried, because another check failed: {failed}")


def ok(text: str) -> CheckResult:
    """Return the result of a check that has found no fault."""
    return CheckResult("ok", printable(text))
