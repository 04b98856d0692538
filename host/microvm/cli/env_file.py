"""Reads files with environment variables for `--env-file`, in docker's format."""

from __future__ import annotations

import os

from microvm.errors import UsageError

_LIMIT = 4 << 20  # maximum size of a file with variables, in bytes


def read(path: str) -> dict[str, str]:
    """Return the variables in a file, in the order of its lines.

    A line is either NAME=VALUE or NAME. The value is used unchanged, with its quotes and spaces. A
    line with only a NAME takes the value from the environment of this process; if the variable is
    not set there, the line is skipped. Empty lines and lines that begin with `#` are skipped, too.

    :raises UsageError: Raised if a line has another form, or if the file is too long. The message
        contains the number of the line.
    """
    variables = {}
    with open(path, "rb") as file:  # noqa: PTH123 - the path may also be /dev/fd/N
        data = file.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise UsageError(
            f"{path}: larger than {_LIMIT >> 20} MiB, the limit for a file of variables",
            hint="check that it is a file of variables; copy long values in a file, by `--copy`",
        )
    text = data.decode("utf-8-sig", "surrogateescape")
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if wrong := _fault_of_line(name, equals):
            raise UsageError(f"{path}: line {number}: {wrong}")
        if equals:
            variables[name] = value
        elif name in os.environ:
            variables[name] = os.environ[name]
    return variables


def _fault_of_line(name: str, equals: str) -> str:
    """Return why a line is invalid, else "". If the line contains no "=", `equals` is empty.

    The reason does not contain the value of the variable, because it may be a secret.
    """
    if not name:
        return "there is no name before the ="
    if name.split() == [name]:
        return ""
    # do not show the line, which may be a part of a secret value that has several lines
    if not equals:
        return "the line contains spaces, but no ="
    exported = "; leave out export" if name.split(maxsplit=1)[0] == "export" else ""
    return f"the name {name!r} contains spaces{exported}"
