"""The request to run a command, made from the options that the caller has chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from subprocess import PIPE, STDOUT
from typing import Any

from microvm.errors import UsageError
from microvm.option import ParsedOptions, options_of
from microvm.options import Argv, ExecOptions, Text, to_bytes
from microvm.wire import codec

# For each of the fields `argv` and `env` of a request: the maximum number of elements, the maximum
# number of bytes, and the number of bytes of the length that precedes each element.
_ITEMS = 16384
_TOTAL = 1 << 20
_PREFIX = 4

# Names of the options that are sent to the guest in a field of the same name.
_CARRIED = options_of(ExecOptions).keys() & codec.ExecRequest.__dataclass_fields__.keys()


@dataclass(frozen=True, slots=True)
class HostLimits:
    """The limits of a command that the host enforces. The guest enforces all other limits.

    :ivar timeout: Maximum duration in seconds, or None.
    :ivar grace: Seconds between SIGTERM and SIGKILL at the end of the timeout, or None.
    :ivar max_output: Maximum number of bytes of standard output and standard error together, or
        None.
    """

    timeout: float | None
    grace: float | None
    max_output: int | None


def arguments_of(argv: Argv, options: ParsedOptions) -> Sequence[Text]:
    """Return the arguments of a command: `argv`, or with the option `shell` those of a shell."""
    if options["shell"]:
        if not isinstance(argv, str | bytes):
            raise UsageError("with shell=True, argv must be the command line: str or bytes")
        return ["/bin/sh", "-c", argv]
    if isinstance(argv, str | bytes):
        hint = "to run a command line in a shell, set shell=True"
        raise UsageError("argv must be a list of arguments", hint=hint)
    return argv


def request_of(
    argv: Sequence[Text],
    options: ParsedOptions,
    defaults: ParsedOptions | None = None,
    *,
    beside: bool = False,
) -> tuple[codec.ExecRequest, HostLimits]:
    """Check the options of a command; return the request for the guest, and the host's limits.

    :param argv: Arguments of the command, which `arguments_of` has returned.
    :param defaults: Options that apply unless `options` sets them. Environment variables are merged
        one by one.
    :param beside: True if other commands may run at the same time as this one.
    """
    given = dict(options)
    if defaults is not None:
        given |= {name: defaults[name] for name in defaults.given - options.given}
        given["env"] = {**(defaults["env"] or {}), **(options["env"] or {})}
    arguments = tuple(to_bytes(argument) for argument in argv)
    if not given["command"]:
        if not arguments:
            raise UsageError("there is no command to run")
        given["command"] = arguments[0]
    fields: dict[str, Any] = {name: given[name] for name in _CARRIED}
    fields["argv"], fields["more_argv"] = _split(arguments)
    entries = tuple(b"%b=%b" % variable for variable in (given["env"] or {}).items())
    fields["env"], fields["more_env"] = _split(entries)
    fields["stdin_from"] = codec.StdinKind.HOST if given["stdin"] == PIPE else codec.StdinKind.NULL
    fields["joined"] = given["stderr"] == STDOUT
    fields["rows"], fields["columns"] = given["tty"] or (0, 0)
    request = codec.ExecRequest(id=0, stdout_credit=0, stderr_credit=0, beside=beside, **fields)
    return request, HostLimits(given["timeout"], given["grace"], given["max_output"])


def _split(items: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Split items of `argv` or `env`: those that fit into one field of a request, and the rest."""
    size = 0
    for number, item in enumerate(items):
        size += _PREFIX + len(item)
        if number == _ITEMS or size > _TOTAL:
            return items[:number], items[number:]
    return items, ()
