"""A file of environment variables, as docker's `--env-file` takes it."""

from __future__ import annotations

import os

from microvm.errors import UsageError


def read(path: str) -> dict[str, str]:
    """Return the variables in a file, in its order.

    A line is NAME=VALUE, of which the value is taken as it stands, quotes and blanks too; or NAME
    alone, which passes on our own variable, if there is one. Empty lines and those that begin with
    `#` are skipped.

    :raises UsageError: a line is neither; says which.
    :raises OSError: it cannot be read.
    """
    variables = {}
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:  # noqa: PTH123 - also /dev/fd/N
        for number, raw in enumerate(file, 1):
            line = raw.removesuffix("\n").removesuffix("\r").lstrip()
            if not line or line.startswith("#"):
                continue
            name, equals, value = line.partition("=")
            if wrong := _wrong(name, equals):
                raise UsageError(f"{path}: line {number}: {wrong}")
            if equals:
                variables[name] = value
            elif name in os.environ:
                variables[name] = os.environ[name]
    return variables


def _wrong(name: str, equals: str) -> str:
    """Return what is wrong with a line, without its value: that may be a secret."""
    if not name:
        return "there is no name before the ="
    if name.split() == [name]:
        return ""
    if not equals:  # the rest of a value of several lines, perhaps
        return "it has blanks, and no ="
    exported = "; leave out export" if name.split(maxsplit=1)[0] == "export" else ""
    return f"{name!r} has blanks{exported}"
