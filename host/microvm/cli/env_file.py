"""A file of environment variables, as docker's `--env-file` takes it."""

from __future__ import annotations

import os

from microvm.errors import UsageError

_LIMIT = 4 << 20  # the maximum size of a file, in bytes


def read(path: str) -> dict[str, str]:
    """Return the variables in a file, in the order of its lines.

    A line is NAME=VALUE or NAME. The value is taken literally, with its quotes and blanks. A NAME
    alone passes on our own variable, if that is set. Empty lines and lines that begin with `#` are
    skipped.

    :raises UsageError: a line has another form, and the message says which; or the file is too
        long.
    :raises OSError: the file cannot be read.
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
