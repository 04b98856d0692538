"""`microvm doctor`: what works here, what does not, and what mends it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from microvm.cli import facts, shared

if TYPE_CHECKING:
    from microvm.cli.checks.check import Finding


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@shared.verbose
def doctor(as_json: bool) -> None:
    """Show what works here, and what to do about what does not.

    \b
    ok      it is as it can be
    note    machines start, and are slower or less than they can be
    failed  machines do not start
    skipped it was not tried, as it needs what has failed

    Below what is no ok stands the command that mends it, and the first that failed is the first to
    be mended. Things are tried rather than looked at: what a first
    start would compile or build is, and in the end a machine says hello. Nothing else is changed.
    docs/troubleshooting.md has all that can be said here.

    The exit status is 0 where machines start, and 1 where they do not.
    """  # noqa: D301 - click wants the backspace itself
    from microvm.cli.checks.run import run
    from microvm.cli.checks.table import CHECKS

    found = []
    for check, finding in run(CHECKS):
        found.append((check.name, finding))
        if not as_json:
            _show(check.name, finding)
    first = next((each for each in found if each[1].status == "failed"), None)
    if as_json:
        checks = [
            {
                "check": name,
                "status": each.status,
                "text": each.text,
                "mend": each.mend or None,
                "hint": each.hint or None,
            }
            for name, each in found
        ]
        facts.echo_json({"works": not first, "first": first and first[0], "checks": checks})
    elif first:
        click.echo("\nTo be mended first:\n")
        _show(*first)
    sys.exit(1 if first else 0)


def _show(name: str, finding: Finding) -> None:
    click.echo(f"{finding.status:7}  {name:11}  {finding.text}")
    for more in filter(None, (finding.mend, finding.hint)):
        click.echo(f"{'':22}{more}")
