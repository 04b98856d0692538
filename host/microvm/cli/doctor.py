"""`microvm doctor`: what works here, what does not, and what mends it."""

from __future__ import annotations

import sys

import click

from microvm.cli import facts, shared


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@shared.verbose
def doctor(as_json: bool) -> None:
    """Show what works here, and what to do about what does not.

    \b
    ok      it is as it can be
    note    machines start, and are slower or less than they can be
    failed  machines do not start

    Below what is no ok stands what mends it. Things are tried rather than looked at: what a first
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
            click.echo(f"{finding.status:6}  {check.name:11}  {finding.text}")
            if finding.mend:
                click.echo(f"{'':21}{finding.mend}")
    failed = any(finding.status == "failed" for _, finding in found)
    if as_json:
        checks = [
            {"check": name, "status": each.status, "text": each.text, "mend": each.mend or None}
            for name, each in found
        ]
        facts.echo_json({"works": not failed, "checks": checks})
    sys.exit(1 if failed else 0)
