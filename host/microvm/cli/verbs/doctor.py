"""`microvm doctor`: check whether machines can start on this host, and show how to fix faults."""

from __future__ import annotations

import shutil
import sys
import textwrap

import click

from microvm.cli import parameters, properties
from microvm.cli.checks.check import CheckResult
from microvm.cli.checks.runner import run

_INDENT = " " * 22  # the width of the first two columns
_LEAST_WIDTH = 20  # number of characters of a text that is not wrapped further


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@parameters.verbose
def doctor(as_json: bool) -> None:
    """Check this host, and show how to fix faults.

    Each check prints a line with its result:

    \b
      ok       no fault was found
      note     machines start, but are slower or lack a feature
      failed   machines do not start
      skipped  the check was not run, because it depends on a failed check

    The command that fixes a fault is printed below it. Fix the first failed check first. The checks
    compile and build what the first start of a machine needs, and finally run a command in a
    machine. They change nothing else. docs/troubleshooting.md lists all results.

    The exit status is 0 if machines start on this host, else 1.
    """  # noqa: D301 - `\b` tells click to keep the lines
    found = []
    for check, result in run():
        found.append((check.name, result))
        if not as_json:
            _show(check.name, result)
    first = next((each for each in found if each[1].status == "failed"), None)
    if as_json:
        checks = [
            {
                "check": name,
                "status": each.status,
                "text": each.text,
                "fix": each.fix or None,
                "hint": each.hint or None,
            }
            for name, each in found
        ]
        properties.echo_json({"works": not first, "first": first and first[0], "checks": checks})
    elif first:
        click.echo("\nFix this first:\n")
        _show(*first)
    sys.exit(1 if first else 0)


def _show(name: str, result: CheckResult) -> None:
    _echo(f"{result.status:7}  {name:11}  ", result.text)
    if result.fix:
        click.echo(_INDENT + result.fix)  # one line, which users copy
    _echo(_INDENT, result.hint)


def _echo(begin: str, text: str) -> None:
    """Print a text after `begin`. If the output is a terminal, wrap the text to fit it."""
    lines = [text] if text else []
    if sys.stdout.isatty():
        width = max(shutil.get_terminal_size().columns - len(_INDENT), _LEAST_WIDTH)
        lines = textwrap.wrap(text, width, break_on_hyphens=False)
    for line in lines:
        click.echo(begin + line)
        begin = _INDENT
