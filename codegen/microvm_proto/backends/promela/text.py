"""Pieces of Promela: macros, inlines, and expressions that combine others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

IDS = 3
"""Default number of ids in a model. An old, a current and a new conversation need one id each.

The hand-written part of a model can define a higher number.
"""


def defines(prefix: str, names: Sequence[str], first: int) -> str:
    """Generate macros that number the `names`."""
    return "\n".join(
        f"#define {prefix.upper()}{name.upper()} {at}" for at, name in enumerate(names, first)
    )


def macro(head: str, value: str) -> str:
    """Generate a macro with parameters."""
    return f"#define {head} \\\n\t({value})"


def inline(head: str, lines: Iterable[str]) -> str:
    """Generate an inline, which Spin expands where it is called."""
    return "\n".join([f"inline {head} {{", *indented(lines), "}"])


def indented(lines: Iterable[str]) -> list[str]:
    """Return the lines with one more tab each."""
    return [f"\t{line}" for text in lines for line in text.split("\n")]


def choice(
    options: Iterable[tuple[str, Sequence[str]]], otherwise: Sequence[str] = ()
) -> list[str]:
    """Generate the lines of an `if`: guards with their statements, and those for all else."""
    lines = []
    for guard, statements in (*options, ("else", otherwise)):
        lines.append(f":: {guard} ->" if statements else f":: {guard}")
        lines += indented(statements)
    return ["if", *lines, "fi"]


def each_id(lines: Sequence[str]) -> list[str]:
    """Generate a loop that runs statements for each id. In the statements, `one` is the id."""
    return [
        "one = IDS;",
        "do",
        ":: one > 0 ->",
        *indented([*lines, "one--"]),
        ":: else -> break",
        "od",
    ]


def either(values: Iterable[str]) -> str:
    """Generate an expression that is true if one of the values is."""
    found = list(dict.fromkeys(values))
    if "true" in found:
        return "true"
    return found[0] if len(found) == 1 else f"({' || '.join(found)})" if found else "false"


def both(values: Iterable[str]) -> str:
    """Generate an expression that is true if all values are."""
    found = [value for value in dict.fromkeys(values) if value != "true"]
    if "false" in found:
        return "false"
    return " && ".join(found) or "true"
