"""What a caller asks to be run, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike, fspath
from subprocess import DEVNULL, PIPE

from microvm.errors import UsageError
from microvm.options import MAX_PROCESSES, ExecOptions, Text
from microvm.session import Request

DEFAULT_SIZE = (24, 80)
"""Lines and columns of a terminal whose size nobody knows."""


def request_of(argv: Sequence[Text], options: ExecOptions) -> Request:
    """Check what a caller asks for, and put it as a session takes it.

    :raise UsageError: it means nothing.
    :raise TypeError: an option is not there.
    """
    _check(argv, options)
    command = options.get("command") or (argv[0] if argv else None)
    if command is None:
        raise UsageError("there is no command to run")
    if options.get("stdin") not in (None, PIPE, DEVNULL):
        raise UsageError("stdin is subprocess.PIPE, DEVNULL or None")
    tty = options.get("tty", False)
    user = options.get("user")
    return Request(
        command=_bytes(command),
        argv=[_bytes(argument) for argument in argv],
        env={_bytes(key): _bytes(value) for key, value in (options.get("env") or {}).items()},
        cwd=_bytes(options.get("cwd") or b""),
        user=b"" if user is None else _bytes(str(user) if isinstance(user, int) else user),
        stdin=options.get("stdin") == PIPE,
        terminal=DEFAULT_SIZE if tty is True else tty or None,
        max_processes=options.get("max_processes", MAX_PROCESSES),
        max_memory=options.get("max_memory", 0),
    )


def _check(argv: Sequence[Text], options: ExecOptions) -> None:
    """See that the options are known and mean something, as Python does for written-out ones."""
    if unknown := options.keys() - ExecOptions.__annotations__.keys():
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
    if isinstance(argv, str | bytes):
        raise UsageError("argv is a list of arguments", hint="for a shell: ['sh', '-c', …]")
    _check_times(options.get("timeout"), options.get("grace"))
    for name in ("max_output", "max_processes", "max_memory"):
        value: object = options.get(name)
        if value is not None and not (isinstance(value, int) and value >= 0):
            raise UsageError(f"{name} is a number from 0 on, not {value!r}")
    if options.get("user") == "":
        raise UsageError("user is a name or a number; without one it is root")
    terminal: object = options.get("tty", False)
    match terminal:
        case bool() | (int(), int()) | None:
            pass
        case _:
            raise UsageError(f"tty is True, or lines and columns, not {terminal!r}")


def _check_times(timeout: object, grace: object) -> None:
    for name, value in (("timeout", timeout), ("grace", grace)):
        number = isinstance(value, int | float) and 0 < value < math.inf
        if value is not None and not number:
            raise UsageError(f"{name} is a positive number of seconds, not {value!r}")
    if grace is not None and timeout is None:
        raise UsageError("grace is what a timeout gives: set that, too")


def _bytes(value: object) -> bytes:
    if isinstance(value, PathLike):
        value = fspath(value)
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise UsageError(f"{value!r} is neither str, bytes nor a path")
    # As the operating system spells it: surrogates stand for bytes that are not UTF-8.
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError(f"{value!r} cannot be written as bytes: {error.reason}") from None
