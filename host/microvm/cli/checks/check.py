"""The records of a check: what it looks at, what can be wrong there, and what it has found."""

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
"""Machines start, and are slower or less than they can be; or they do not start."""

Status = Literal["ok", "skipped"] | Severity

_NAME = re.compile(r"\\{\w+\\}")  # in a text that has been escaped


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check has found.

    :ivar text: what is there, or what is wrong, in a line.
    :ivar mend: the command that mends it, for a shell; empty where nothing is wrong, and where no
        command does.
    :ivar hint: what else there is to know, or to do; may be empty.
    """

    status: Status
    text: str
    mend: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class HostFault:
    """A thing that can be wrong, as docs/troubleshooting.md has it.

    :ivar text: what is said of it, with `{names}` in the places of what differs.
    :ivar mend: the command that mends it, with names that are quoted for a shell.
    :ivar means: what comes of it, for the document.
    :ivar hint: what else there is to do.
    """

    status: Severity | Literal["skipped"]
    text: str
    mend: str = ""
    means: str = ""
    hint: str = ""

    def found(
        self,
        *,
        status: Severity | None = None,
        mend: str | None = None,
        hint: str = "",
        **facts: object,
    ) -> CheckResult:
        """Return the finding that it is there.

        :param status: where it is less, or more, than mostly.
        :param mend: where another command mends it here.
        :param hint: where there is something else to know here.
        :param facts: what stands in the places of the names.
        """
        if mend is None:
            mend = self.mend.format(**{name: shlex.quote(str(facts[name])) for name in facts})
        return self._finding(status, self.text.format(**facts), mend, hint)

    def of(self, error: MicroVMError, prefix: str = "", *, mend: str | None = None) -> CheckResult:
        """Return the finding that an error says is there, which has a hint of its own."""
        mend = self.mend if mend is None else mend
        return self._finding(None, prefix + error.message, mend, error.hint)

    def _finding(self, status: Severity | None, text: str, mend: str, hint: str) -> CheckResult:
        if os.geteuid() == 0:
            mend = re.sub(r"\bsudo ", "", mend)  # a container may not have it
        shown = (printable(each) for each in (text, mend, hint or self.hint))
        return CheckResult(status or self.status, *shown)

    def is_in(self, finding: CheckResult) -> bool:
        """Tell whether this is what was found."""
        return bool(re.fullmatch(_NAME.sub(".+", re.escape(self.text)), finding.text))


@dataclass(frozen=True, slots=True)
class EarlierResults:
    """The results of the checks that have already run.

    :ivar failed: the names of the checks that failed.
    :ivar noted: the names of the checks whose result is a note.
    """

    failed: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class HostCheck:
    """A check.

    :ivar name: a word.
    :ivar about: what it looks at, for the document.
    :ivar run: does it; changes nothing but what the start of a machine would.
    :ivar faults: all that it can find wrong.
    :ivar after: the checks before it that, where they have failed, leave nothing for it to find.
    :ivar within: how long it may take, in seconds.
    """

    name: str
    about: str
    run: Callable[[EarlierResults], CheckResult]
    faults: Sequence[HostFault]
    after: Sequence[str] = ()
    within: float = 30.0


def ok(text: str) -> CheckResult:
    """Return the finding that all is well."""
    return CheckResult("ok", printable(text))
