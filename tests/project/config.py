"""Generator of the tables of docs/config.md, from the options and from the other variables."""

from __future__ import annotations

import re
from pathlib import Path

from microvm.cli.preset_sources import VARIABLES
from microvm.cli.presets import OPTIONS, table_of, variable_of, verbs, verbs_of

PAGE = Path(__file__).parents[2] / "docs/config.md"
OPTIONS_HEAD = "| key | variable | in a project's file | of the verbs |\n|---|---|---|---|\n"
VARIABLES_HEAD = "| variable | what it says |\n|---|---|\n"
TABLES_HEAD = "| table | of the verb |\n|---|---|\n"


def options() -> str:
    """Return the table of options."""
    return OPTIONS_HEAD + "".join(
        f"| `{name}` | {variable_of(name)} | {'yes' if option.preset_by == 'project' else 'no'} "
        f"| {', '.join(verbs_of(option))} |\n"
        for name, option in OPTIONS.items()
    )


def tables() -> str:
    """Return the table of the commands' tables."""
    rows = [f"| `[{table_of(verb)}]` | `microvm {verb}` |\n" for verb in verbs()]
    return TABLES_HEAD + "".join(rows)


def variables() -> str:
    """Return the table of the other variables."""
    rows = [f"| {name} | {about} |\n" for name, about in VARIABLES.items()]
    return VARIABLES_HEAD + "".join(rows)


def renewed(page: str) -> str:
    """Return a page with up-to-date tables."""
    heads = (OPTIONS_HEAD, options()), (TABLES_HEAD, tables()), (VARIABLES_HEAD, variables())
    for head, table in heads:
        before, after = re.split(re.escape(head) + r"(?:\|.*\n)*", page)
        page = before + table + after
    return page
