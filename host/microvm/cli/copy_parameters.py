"""The option `--copy` of several verbs, and the parser of its value."""

from __future__ import annotations

from collections.abc import Callable

import click

from microvm.cli import parameters
from microvm.cli.copies import FileCopy
from microvm.printable import quoted


def parse(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[FileCopy, ...]:
    """Parse the values of `--copy` or `--collect`. This is a callback for click."""
    del context, parameter
    copies = []
    for text in texts:
        source, colon, target = text.rpartition(":")
        if not colon:
            source, target = text, "."
        if not source or not target:
            raise click.BadParameter(f"{quoted(text)} is not SRC:DST")
        if "-" in (source, target):
            raise click.BadParameter(
                "- is not supported: the command uses standard input and output"
            )
        copies.append(FileCopy(source, target))
    return tuple(copies)


def _parse_patterns(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[FileCopy, ...]:
    """Parse the values of `--collect`, and check their patterns. This is a callback for click."""
    copies = parse(context, parameter, texts)
    if copies:
        from microvm.guest import pattern  # few commands collect files

        for copy in copies:
            pattern.check(copy.source)
    return copies


def collect(what: str) -> Callable[[parameters.F], parameters.F]:
    """Return a decorator that adds the options `--collect` and `--max-collect` to a verb.

    :param what: Name of the command or code that the verb runs, such as `CMD`.
    """
    files = parameters.option(
        "--collect SRC[:DST]",
        f"Copy a file or folder out of the guest after {what}, even if {what} failed; repeatable. "
        "SRC can be a pattern in quotes, such as 'out/*.csv' or 'out/**/*.csv', which the guest "
        "expands; DST is then a folder. [default DST: the current folder]",
        multiple=True,
        callback=_parse_patterns,
    )
    limit = parameters.option(
        "--max-collect SIZE",
        "Limit the total size of the files of each --collect. [default: 1G]",
        callback=parameters.size,
    )
    return lambda function: files(limit(function))


def copy(what: str) -> Callable[[parameters.F], parameters.F]:
    """Return a decorator that adds the option `--copy` to a verb.

    :param what: Name of the command or code that the verb runs, such as `CMD`.
    """
    return parameters.option(
        "--copy SRC[:DST]",
        f"Copy a file or folder into the guest before {what}; repeatable. [default DST: the "
        f"working directory of {what}]",
        multiple=True,
        callback=parse,
        shell_complete=parameters.complete_files,
    )
