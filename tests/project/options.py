"""Generator of the tables of options in docs/options.md, from their declarations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from microvm.option import Option, options_of
from microvm.options import ExecOptions, MachineOptions, RunOptions

PAGE = Path(__file__).parents[2] / "docs/options.md"
HEAD = "| option | on the command line | type | default | what it does |\n|---|---|---|---|---|\n"


def table(options: Iterable[Option]) -> str:
    """Return the table in Markdown."""
    return HEAD + "".join(_row(option) for option in options)


def _row(option: Option) -> str:
    unit = f"; {option.unit}" if option.unit else ""
    cells = (
        f"`{option.name}`",
        _command_line(option),
        f"`{option.type_text}`{unit}",
        ", ".join([option.default_text, *(f"{to} of {verb}" for verb, to in option.verb_defaults)]),
        option.help,
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _command_line(option: Option) -> str:
    if not option.verbs:
        return ""
    short = f"`-{option.short}`, " if option.short else ""
    value = f" {option.metavar}" if option.metavar else ""
    return f"{short}`--{option.setting.replace('_', '-')}{value}` of {', '.join(option.verbs)}"


def renewed(page: str) -> str:
    """Return a page with up-to-date tables: of commands, of `run` alone, and of machines."""
    exec_options = options_of(ExecOptions)
    run = [option for name, option in options_of(RunOptions).items() if name not in exec_options]
    tables = iter([exec_options.values(), run, options_of(MachineOptions).values()])
    return re.sub(re.escape(HEAD) + r"(\|.*\n)*", lambda _: table(next(tables)), page)
