"""Generator of the sections of docs/troubleshooting.md, from the checks of `microvm doctor`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from microvm.cli.checks.check import HostFault
from microvm.cli.checks.runner import CHECKS, FAULTS

PAGE = Path(__file__).parents[2] / "docs/troubleshooting.md"
BEGIN = "<!-- of the checks, by `make gen` -->\n"
_HEAD = "| message | status | command that fixes it | more |\n|---|---|---|---|\n"


def sections() -> str:
    """Return a section for each check."""
    parts = [f"## {check.name}\n\n{check.about}\n\n{_table(check.faults)}" for check in CHECKS]
    general = "## All checks\n\nEvery check can have these results.\n\n" + _table(FAULTS)
    return "\n".join([*parts, general])


def _table(faults: Iterable[HostFault]) -> str:
    return _HEAD + "".join(map(_row, faults))


def _row(fault: HostFault) -> str:
    fix = f"`{_text(fault.fix)}`" if fault.fix else ""
    about = "; ".join(filter(None, (fault.hint, fault.meaning)))
    return f"| {_text(fault.text)} | {fault.status} | {fix} | {_text(about)} |\n"


def _text(text: str) -> str:
    """Return a text with names in capitals in place of its variable parts."""
    shown = re.sub(r"\{(\w+)\}", lambda match: match[1].upper(), text)
    return shown.replace("|", "\\|")


def renewed(page: str) -> str:
    """Return a page with up-to-date sections."""
    return page.partition(BEGIN)[0] + BEGIN + "\n" + sections()
