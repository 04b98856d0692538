"""The options of a command and of a machine: every one of them is declared here, and nowhere else.

An entry is a name, a type, and an :class:`microvm.option.Option`. From it come the type hints of
`MicroVM.run` and others, the checks, what goes to the guest, the options of the command line, the
keys of a job, what `help()` says, and docs/options.md. How to add one is in docs/extending.md.
"""

# Without `from __future__ import annotations`: the entries are read when this is imported.
import codecs
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Annotated, Any, Literal, Required, TypedDict, get_args

from microvm.errors import UsageError
from microvm.option import Option
from microvm.units import (
    Duration,
    Size,
    parse_count,
    parse_disk,
    parse_duration,
    parse_memory,
    parse_memory_limit,
    parse_size,
)

Text = str | bytes

Accelerator = Literal["auto", "kvm", "tcg"]
Confinement = Literal["auto", "require", "off"]

TERMINAL_SIZE = (24, 80)
"""Lines and columns of a terminal whose size nobody knows."""

# The most that the protocol has room for, in a u16 and in a u32.
_MOST_LINES = 0xFFFF
_MOST_PROCESSES = 0xFFFFFFFF


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


def _environment(value: Any) -> dict[bytes, bytes]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{type(value).__name__} is no mapping of names to values")
    variables = {to_bytes(name): _content(name, content) for name, content in value.items()}
    for name in variables:
        if not name or b"=" in name:
            raise UsageError(f"{name!r} cannot be the name of an environment variable")
    return variables


def _content(name: object, content: object) -> bytes:
    """Return a variable's value; an error does not say it, for it may be a secret."""
    try:
        return to_bytes(content)
    except UsageError:
        kind = type(content).__name__
        raise UsageError(f"the value of {name!r}, of type {kind}, is no text") from None


def _variables(entries: tuple[str, ...]) -> dict[str, str]:
    variables = {}
    for entry in entries:
        name, equals, content = entry.partition("=")
        if not name:
            raise UsageError("it is KEY=VALUE or KEY, and there is no KEY before the =")
        if equals:
            variables[name] = content
        elif name in os.environ:  # as for docker, which leaves it out where there is none
            variables[name] = os.environ[name]
    return variables


def _user(value: Any) -> bytes:
    if value == "":
        raise UsageError("it is a name or a number; without one it is root")
    return to_bytes(str(value) if isinstance(value, int) else value)


def _stdin(value: Any) -> int | None:
    if value not in (PIPE, DEVNULL):
        raise UsageError("it is subprocess.PIPE, DEVNULL or None")
    return PIPE if value == PIPE else None


def _terminal(value: Any) -> tuple[int, int] | None:
    match value:
        case bool():
            return TERMINAL_SIZE if value else None
        case (lines, columns):
            return (
                parse_count(lines, least=1, most=_MOST_LINES),
                parse_count(columns, least=0, most=_MOST_LINES),
            )
    raise UsageError(f"it is True, or lines and columns, not {value!r}")


def _one_of(names: tuple[str, ...], value: str) -> str:
    if value not in names:
        raise UsageError(f"it is one of {', '.join(names)}, not {value!r}")
    return value


def _input(value: Any) -> Any:
    if not isinstance(value, str):
        try:
            memoryview(value)
        except TypeError:
            raise UsageError(f"{value!r} is neither str nor bytes") from None
    return value


def _encoding(value: Any) -> Any:
    try:
        "".encode(value)
    except (LookupError, TypeError, ValueError) as error:
        raise UsageError(str(error)) from None
    return value


def _error_handler(value: Any) -> Any:
    try:
        codecs.lookup_error(value)
    except (LookupError, TypeError, ValueError) as error:
        raise UsageError(str(error)) from None
    return value


def _function(value: Any) -> Any:
    if not callable(value):
        raise UsageError(f"{value!r} cannot be called")
    return value


def _path(value: Any) -> Path:
    path = fspath(value) if isinstance(value, PathLike) else value
    if not isinstance(path, str) or "\0" in path:
        raise UsageError(f"{value!r} is no path of a file")
    return Path(path)


def _image(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"it is a name, or a folder as text, not {value!r}")
    return value


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text


def _ignore(_: str) -> None:
    pass


def _chosen(kind: Any) -> partial[Option]:
    """Return the maker of an option that is one of a few words."""
    names = get_args(kind)
    return partial(Option, read=partial(_one_of, names), metavar=f"[{'|'.join(names)}]")


_COMMAND = ("run", "map", "exec", "shell")

# What options of one kind have in common.
_PYTHON_ONLY = partial(Option, verbs=())
_DURATION = partial(Option, read=parse_duration, unit="seconds, or text as `2m`", metavar="TIME")
_SIZE = partial(Option, read=parse_size, unit="bytes, or text as `64M`", metavar="SIZE")


def counted(least: int, most: float = math.inf) -> partial[Option]:
    """Return the maker of an option that is a whole number from `least` to `most`."""
    read = partial(parse_count, least=least, most=most)
    return partial(Option, read=read, metavar="N", from_text=_number)


class ExecOptions(TypedDict, total=False):
    """Keyword arguments of `MicroVM.exec` and `MicroVM.run`; each has a default."""

    command: Annotated[
        Text | None,
        _PYTHON_ONLY(
            "The file to execute; without a slash it is looked up in the guest's PATH.",
            to_bytes,
            shown="argv[0]",
        ),
    ]
    env: Annotated[
        Mapping[str, str] | Mapping[bytes, bytes] | None,
        Option(
            "Variables over those of the image and the guest; nothing of the host's environment is "
            "passed on, but for what the command line names as KEY alone.",
            _environment,
            verbs=_COMMAND,
            metavar="KEY[=VALUE]",
            short="e",
            multiple=True,
            from_text=_variables,
            preset_by="nobody",
        ),
    ]
    cwd: Annotated[
        Text | Path | None,
        Option(
            "The working directory, in the guest.",
            to_bytes,
            default=b"",
            shown="the image's, else the user's home; /home/UID if that is no folder of the user",
            verbs=_COMMAND,
            metavar="DIR",
            short="w",
            preset_by="project",
        ),
    ]
    user: Annotated[
        Text | int | None,
        Option(
            "Whom to run it as.",
            _user,
            default=b"",
            shown="the image's, else root",
            unit="NAME or UID, or either with :GROUP",
            verbs=_COMMAND,
            metavar="NAME|UID[:GROUP]",
            short="u",
            preset_by="project",
        ),
    ]
    stdin: Annotated[
        int | None,
        _PYTHON_ONLY(
            "`subprocess.PIPE` feeds it by `process.stdin`.",
            _stdin,
            shown="/dev/null",
        ),
    ]
    tty: Annotated[
        bool | tuple[int, int],
        Option(
            "Give the command a terminal for all three streams, "
            "on the command line one of the size of ours.",
            _terminal,
            default=False,
            unit="lines and columns; True for 24 and 80",
            verbs=("run", "exec"),
            short="t",
            preset_by="nobody",
        ),
    ]
    timeout: Annotated[
        Duration | None,
        _DURATION(
            "Kill the command, and all that it has started, this long after its start: "
            "5s, 500ms, 2m.",
            preset_by="project",
        ),
    ]
    grace: Annotated[
        Duration | None,
        _DURATION(
            "At the timeout, send SIGTERM first and kill this much later.",
            shown="no SIGTERM",
            needs="timeout",
            preset_by="project",
        ),
    ]
    max_output: Annotated[
        Size | None,
        _SIZE(
            "Kill the command when both of its streams together have more than this, such as 1K.",
            shown="endless",
            verb_defaults=(("map", "16M"),),
        ),
    ]
    max_processes: Annotated[
        int,
        counted(0, _MOST_PROCESSES)(
            "Processes and threads that the command may have at a time; 0: no limit.",
            default=1024,  # a fork bomb is to harm itself only
            preset_by="project",
        ),
    ]
    max_memory: Annotated[
        Size,
        _SIZE(
            "Memory that the command, and all that it has started, may take, such as 64M.",
            read=parse_memory_limit,
            preset_by="project",
            default=0,
            shown="all there is",
        ),
    ]


class PlainRunOptions(ExecOptions, total=False):
    """The options of `MicroVM.run` that do not say what type the output has."""

    input: Annotated[
        Text | None,
        _PYTHON_ONLY(
            "What to feed to standard input: bytes, or str where text is asked for.",
            _input,
            shown="nothing",
        ),
    ]
    check: Annotated[
        bool,
        _PYTHON_ONLY(
            "Raise `subprocess.CalledProcessError` unless it exits with 0.",
            default=False,
        ),
    ]


class RunOptions(PlainRunOptions, total=False):
    """Keyword arguments of `MicroVM.run` alone, named after those of `subprocess.run`."""

    capture_output: Annotated[
        bool,
        _PYTHON_ONLY(
            "Whether the result has the output; else it goes to our own output and error.",
            default=True,
        ),
    ]
    text: Annotated[
        bool,
        _PYTHON_ONLY("Whether input and output are str.", default=False),
    ]
    encoding: Annotated[
        str | None,
        _PYTHON_ONLY(
            "The encoding of input and output as str; naming one asks for text.",
            _encoding,
            shown="UTF-8",
        ),
    ]
    errors: Annotated[
        str | None,
        _PYTHON_ONLY(
            "What to do about bytes that are no text, as in `bytes.decode`; naming it asks for "
            "text.",
            _error_handler,
            shown="strict",
        ),
    ]


class NotCaptured(PlainRunOptions, total=False):
    """The `RunOptions` that give no output."""

    capture_output: Required[Literal[False]]
    text: bool
    encoding: str | None
    errors: str | None


class AsText(PlainRunOptions, total=False):
    """The `RunOptions` that give str, since they ask for it."""

    capture_output: Literal[True]
    text: Required[Literal[True]]
    encoding: str | None
    errors: str | None


class AsEncoded(PlainRunOptions, total=False):
    """The `RunOptions` that give str, since they name an encoding."""

    capture_output: Literal[True]
    text: bool
    encoding: Required[str]
    errors: str | None


class AsBytes(PlainRunOptions, total=False):
    """The `RunOptions` that give bytes."""

    capture_output: Literal[True]
    text: Literal[False]
    encoding: None
    errors: None


class PoolOptions(TypedDict, total=False):
    """Keyword arguments of `Pool`, which are those of `MicroVM` that many machines can share."""

    memory: Annotated[
        Size,
        _SIZE(
            "Memory of the guest, such as 512M or 2G.",
            read=parse_memory,
            default="256M",
            verbs=("run", "map", "start", "bench", "image build"),
            short="m",
            verb_defaults=(("image build", "1G"),),
            preset_by="project",
        ),
    ]
    cpus: Annotated[
        int,
        counted(1)(
            "CPUs of the guest.",
            default=1,
            verbs=("run", "map", "start", "image build"),
            preset_by="project",
        ),
    ]
    disk: Annotated[
        Size,
        _SIZE(
            "Room for what the guest writes, such as 2G: a file of the host that takes what is "
            "written, and is gone with the machine; 0: half of the guest's memory.",
            read=parse_disk,
            default=0,
            shown="half of the memory",
            verbs=("run", "map", "start", "image build"),
            verb_defaults=(("image build", "8G"),),
        ),
    ]
    accel: Annotated[
        Accelerator,
        _chosen(Accelerator)(
            "`auto`: KVM where a guest really runs under it, emulation elsewhere.",
            default="auto",
            verbs=("run", "map", "start", "bench"),
        ),
    ]
    confinement: Annotated[
        Confinement,
        _chosen(Confinement)(
            "What holds QEMU back, should a guest break out into it. `auto`: all that this host "
            "has; `require`: that, and no start where too much is missing; `off`: next to nothing, "
            "for debugging QEMU. `microvm confinement` says what there is.",
            default="auto",
            verbs=("run", "map", "start", "bench", "image build"),
        ),
    ]
    cold: Annotated[
        bool,
        Option(
            "Boot the guest, instead of cloning a saved one.",
            default=False,
            verbs=("run", "map", "start"),
            preset_by="project",
        ),
    ]
    notify: Annotated[
        Callable[[str], None],
        _PYTHON_ONLY(
            "Called with lines that a user should see once, such as why there is no KVM.",
            _function,
            default=_ignore,
            shown="nobody is told",
        ),
    ]


class MachineOptions(PoolOptions, total=False):
    """Keyword arguments of `MicroVM`."""

    console: Annotated[
        Path | None,
        Option(
            "Write the guest's serial console to this file, live, at most 16 MiB; of a clone only "
            "what it writes itself.",
            _path,
            verbs=("run",),
            metavar="FILE",
        ),
    ]


class ImageOptions(TypedDict, total=False):
    """What is booted: an argument of its own in Python, and an option on the command line."""

    image: Annotated[
        str | None,
        Option(
            "What it boots.",
            _image,
            shown="built on the first run",
            verbs=("run", "map", "start", "bench"),
            metavar="NAME[:TAG]|DIR",
            preset_by="project",
        ),
    ]
