"""What a caller asks to be run, checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from subprocess import DEVNULL, PIPE
from typing import Any, TypeVar

from microvm.errors import UsageError
from microvm.options import MAX_PROCESSES, ExecOptions, Text
from microvm.units import parse_duration, parse_memory_limit, parse_size
from microvm.wire.session import Request

DEFAULT_SIZE = (24, 80)
"""Lines and columns of a terminal whose size nobody knows."""

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the host holds a command to; the guest holds it to the rest.

    :ivar timeout: in seconds.
    :ivar grace: in seconds; never without a timeout.
    :ivar max_output: of both streams together, in bytes.
    """

    timeout: float | None
    grace: float | None
    max_output: int | None


def limits_of(options: ExecOptions) -> Limits:
    """Read the limits that a caller asks for.

    :raises UsageError: one of them means nothing.
    """
    limits = Limits(
        timeout=_read("timeout", options.get("timeout"), parse_duration),
        grace=_read("grace", options.get("grace"), parse_duration),
        max_output=_read("max_output", options.get("max_output"), parse_size),
    )
    if limits.grace is not None and limits.timeout is None:
        raise UsageError("grace is what a timeout gives: set that, too")
    return limits


def request_of(argv: Sequence[Text], options: ExecOptions) -> Request:
    """Check what a caller asks for, and put it as a session takes it.

    :raises UsageError: it means nothing.
    :raises TypeError: an option is not there.
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
        command=to_bytes(command),
        argv=[to_bytes(argument) for argument in argv],
        env={to_bytes(key): to_bytes(value) for key, value in (options.get("env") or {}).items()},
        cwd=to_bytes(options.get("cwd") or b""),
        user=b"" if user is None else to_bytes(str(user) if isinstance(user, int) else user),
        stdin=options.get("stdin") == PIPE,
        terminal=DEFAULT_SIZE if tty is True else tty or None,
        max_processes=options.get("max_processes", MAX_PROCESSES),
        max_memory=_read("max_memory", options.get("max_memory"), parse_memory_limit) or 0,
    )


def _check(argv: Sequence[Text], options: ExecOptions) -> None:
    """See that the options are known and mean something, as Python does for written-out ones."""
    if unknown := options.keys() - ExecOptions.__annotations__.keys():
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
    if isinstance(argv, str | bytes):
        raise UsageError("argv is a list of arguments", hint="for a shell: ['sh', '-c', …]")
    processes: object = options.get("max_processes", MAX_PROCESSES)
    if not isinstance(processes, int) or processes < 0:
        raise UsageError(f"max_processes is a number from 0 on, not {processes!r}")
    if options.get("user") == "":
        raise UsageError("user is a name or a number; without one it is root")
    terminal: object = options.get("tty", False)
    match terminal:
        case bool() | (int(), int()) | None:
            pass
        case _:
            raise UsageError(f"tty is True, or lines and columns, not {terminal!r}")


def _read(name: str, value: Any, parse: Callable[[Any], N]) -> N | None:
    try:
        return None if value is None else parse(value)
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", hint=error.hint) from None


def to_bytes(value: object) -> bytes:
    """Write text as the operating system has it: surrogates stand for bytes that are not UTF-8.

    :raises UsageError: it is no text, or holds surrogates that stand for no byte.
    """
    if isinstance(value, PathLike):
        value = fspath(value)
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise UsageError(f"{value!r} is neither str, bytes nor a path")
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError(f"{value!r} cannot be written as bytes: {error.reason}") from None
