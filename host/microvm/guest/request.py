"""A request is what a caller asks to be run, checked and put as the wire has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from subprocess import PIPE
from typing import Any

from microvm.errors import UsageError
from microvm.option import options_of, read_options
from microvm.options import ExecOptions, Text, to_bytes
from microvm.wire import codec

# What the schema's `argv` and `env` take: items, and bytes in all, with a prefix for each.
_ITEMS = 16384
_TOTAL = 1 << 20
_PREFIX = 4

# What the request has a field for, by the name of the option.
_CARRIED = options_of(ExecOptions).keys() & codec.ExecRequest.__dataclass_fields__.keys()


@dataclass(frozen=True, slots=True)
class HostLimits:
    """The limits that the host holds a command to; the guest holds it to the rest.

    :ivar timeout: in seconds.
    :ivar grace: in seconds; never without a timeout.
    :ivar max_output: of both streams together, in bytes.
    """

    timeout: float | None
    grace: float | None
    max_output: int | None


def request_of(
    argv: Sequence[Text], options: ExecOptions, defaults: ExecOptions | None = None
) -> tuple[codec.ExecRequest, HostLimits]:
    """Check what a caller asks for.

    :param defaults: what is not among the options; variables stand in for each other one by one.
    :return: a request that lacks what the session gives it, and what is no part of one.
    :raises UsageError: it means nothing.
    :raises TypeError: an option is not there.
    """
    if isinstance(argv, str | bytes):
        raise UsageError("argv is a list of arguments", hint="for a shell: ['sh', '-c', …]")
    defaults = defaults or {}
    usual = read_options(ExecOptions, defaults)
    said = {name: value for name, value in options.items() if value is not None}
    given = read_options(ExecOptions, {**defaults, **said})
    arguments = tuple(to_bytes(argument) for argument in argv)
    if not given["command"]:
        if not arguments:
            raise UsageError("there is no command to run")
        given["command"] = arguments[0]
    fields: dict[str, Any] = {name: given[name] for name in _CARRIED}
    fields["argv"], fields["more_argv"] = _split(arguments)
    variables = {**(usual["env"] or {}), **(given["env"] or {})}
    entries = tuple(b"%b=%b" % variable for variable in variables.items())
    fields["env"], fields["more_env"] = _split(entries)
    fields["stdin_from"] = codec.StdinKind.HOST if given["stdin"] == PIPE else codec.StdinKind.NULL
    fields["rows"], fields["columns"] = given["tty"] or (0, 0)
    request = codec.ExecRequest(id=0, stdout_credit=0, stderr_credit=0, **fields)
    return request, HostLimits(given["timeout"], given["grace"], given["max_output"])


def _split(items: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Split a list behind what its first field takes; the rest is for its second."""
    size = 0
    for number, item in enumerate(items):
        size += _PREFIX + len(item)
        if number == _ITEMS or size > _TOTAL:
            return items[:number], items[number:]
    return items, ()
