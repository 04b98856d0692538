"""The declarations of all options of commands and machines.

Each entry has a name, a type, and an :class:`microvm.option.Option`. The type hints of
`MicroVM.run` and other methods, the validation of values, the request to the guest, the options of
the command line, the keys of a job, the text of `help()`, and docs/options.md are derived from
these entries. docs/extending.md explains how to add an option.
"""

# Do not add `from __future__ import annotations`: :mod:`microvm.option` reads the annotations.
import codecs
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Annotated, Any, Literal, Required, TypedDict, get_args

from microvm.constants import MAX_COMMANDS
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
"""Text, such as an argument of a command. The guest receives str as UTF-8."""

Argv = Sequence[Text] | bytes
"""The arguments of a command, or with the option `shell`, a command line: str or bytes."""

Accelerator = Literal["auto", "kvm", "tcg"]
"""Choice between KVM and emulation for the guest's CPU; see the option `accel` of `MicroVM`."""

Architecture = Literal["x86_64", "aarch64"]
"""Choice of the guest's processor; see the option `arch` of `MicroVM`."""

Confinement = Literal["auto", "require", "off"]
"""Choice of how QEMU is restricted on the host; see the option `confinement` of `MicroVM`."""

TERMINAL_SIZE = (24, 80)
"""Default size of a terminal: the number of lines and the number of columns."""

# Largest values that fit into fields of the protocol with the types u16 and u32.
_MOST_LINES = 0xFFFF
_MOST_PROCESSES = 0xFFFFFFFF


def to_bytes(value: object) -> bytes:
    """Encode text or a path as the operating system does: as UTF-8 with `surrogateescape`."""
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
        raise UsageError(f"{type(value).__name__} is not a mapping of names to values")
    variables = {to_bytes(name): _content(name, content) for name, content in value.items()}
    for name in variables:
        if not name or b"=" in name:
            raise UsageError(f"{name!r} cannot be the name of an environment variable")
    return variables


def _content(name: object, content: object) -> bytes:
    """Return the value of an environment variable as bytes, after checking its type."""
    try:
        return to_bytes(content)
    except UsageError:  # do not show the value, because it may be a secret
        kind = type(content).__name__
        raise UsageError(f"the value of {name!r}, of type {kind}, is not text") from None


def _variables(entries: tuple[str, ...]) -> dict[str, str]:
    variables = {}
    for entry in entries:
        name, equals, content = entry.partition("=")
        if not name:
            raise UsageError("it must be KEY=VALUE or KEY, but there is no KEY before the =")
        if equals:
            variables[name] = content
        # `--env NAME` without `=` passes the variable NAME of this process on. Like docker, ignore
        # the option if this process has no variable NAME.
        elif name in os.environ:
            variables[name] = os.environ[name]
    return variables


def _user(value: Any) -> bytes:
    if value == "":
        raise UsageError("it must be a name or a number; leave it out for root")
    return to_bytes(str(value) if isinstance(value, int) else value)


def _stdin(value: Any) -> int | None:
    if value not in (PIPE, DEVNULL):
        raise UsageError("it must be subprocess.PIPE, DEVNULL or None")
    return PIPE if value == PIPE else None


def _stderr(value: Any) -> int | None:
    if value not in (PIPE, STDOUT):
        raise UsageError("it must be subprocess.PIPE, STDOUT or None")
    return STDOUT if value == STDOUT else None


def _terminal(value: Any) -> tuple[int, int] | None:
    match value:
        case bool():
            return TERMINAL_SIZE if value else None
        case (lines, columns):
            return (
                parse_count(lines, least=1, most=_MOST_LINES),
                parse_count(columns, least=0, most=_MOST_LINES),
            )
    raise UsageError(f"it must be True, False, or (lines, columns), not {value!r}")


def _one_of(names: tuple[str, ...], value: str) -> str:
    if value not in names:
        raise UsageError(f"it must be one of {', '.join(names)}, not {value!r}")
    return value


def _input(value: Any) -> Any:
    if not isinstance(value, str):
        try:
            memoryview(value)
        except TypeError:
            raise UsageError(f"{value!r} is neither str nor bytes") from None
    return value


def _no_translation(value: Any) -> str:
    if value != "":
        raise UsageError('it must be "" or None')
    return ""


def _accepted_by(function: Callable[[Any], object], value: Any) -> Any:
    try:
        function(value)
    except (LookupError, TypeError, ValueError) as error:
        raise UsageError(str(error)) from None
    return value


def _function(value: Any) -> Any:
    if not callable(value):
        raise UsageError(f"{value!r} is not callable")
    return value


def _path(value: Any) -> Path:
    path = fspath(value) if isinstance(value, PathLike) else value
    if not isinstance(path, str) or "\0" in path:
        raise UsageError(f"{value!r} is not the path of a file")
    return Path(path)


def _image(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"it must be the name of an image or the path of a folder, not {value!r}")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"it must be a name, not {value!r}")
    return value


def _name_or_none(value: Any) -> str | None:
    """Return a name, or None for the empty text, with which a user switches off a preset."""
    return None if value == "" else _name(value)


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text


def _ignore(_: str) -> None:
    pass


def _chosen(literal: Any) -> partial[Option]:
    """Return a function that creates an `Option` whose values are strings of a `Literal` type."""
    names = get_args(literal)
    return partial(Option, read=partial(_one_of, names), metavar=f"[{'|'.join(names)}]")


NAMED_COMMANDS = 16
"""Maximum number of commands that a new named machine runs at the same time, by default."""

# Verbs that run commands, verbs that limit commands or code, and verbs that start machines.
_COMMAND = ("run", "map", "exec", "shell")
_LIMITED = ("run", "map", "exec", "python")
_STARTING = ("run", "python", "map", "start", "pool start", "template make", "mcp")

# Functions that declare options: for Python only, or whose value is a duration or a size.
_PYTHON_ONLY = partial(Option, verbs=())
_DURATION = partial(
    Option, read=parse_duration, unit="seconds, or text such as `2m`", metavar="TIME"
)
_SIZE = partial(Option, read=parse_size, unit="bytes, or text such as `64M`", metavar="SIZE")


def counted(least: int, most: float = math.inf) -> partial[Option]:
    """Return a function that creates an `Option` for a whole number from `least` to `most`."""
    read = partial(parse_count, least=least, most=most)
    return partial(Option, read=read, metavar="N", from_text=_number)


class ExecOptions(TypedDict, total=False):
    """Keyword arguments of `MicroVM.exec` and `MicroVM.run`. All of them are optional."""

    command: Annotated[
        Text | None,
        _PYTHON_ONLY(
            "Execute this file instead of `argv[0]`. A name without a slash is searched in the "
            "guest's PATH.",
            to_bytes,
            shown="argv[0]",
        ),
    ]
    shell: Annotated[
        bool,
        _PYTHON_ONLY(
            "Run `/bin/sh -c` with `argv`, which is then a command line: one `str` or `bytes` "
            "instead of a list.",
            default=False,
        ),
    ]
    env: Annotated[
        Mapping[str, str] | Mapping[bytes, bytes] | None,
        Option(
            "Set environment variables of the command. They override the variables of the image "
            "and the guest. On the command line, KEY without a value passes the host's variable "
            "on; no other variable of the host is passed on.",
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
            "Run the command in this directory of the guest.",
            to_bytes,
            default=b"",
            shown="the image's working directory, else the user's home, else /home/UID",
            verbs=_COMMAND,
            metavar="DIR",
            short="w",
            flag_name="workdir",  # docker's name for the option that subprocess calls `cwd`
            preset_by="project",
        ),
    ]
    user: Annotated[
        Text | int | None,
        Option(
            "Run the command as this user of the guest.",
            _user,
            default=b"",
            shown="the image's user, else root",
            unit="NAME or UID, or either with :GROUP",
            verbs=(*_COMMAND, "python"),
            metavar="NAME|UID[:GROUP]",
            short="u",
            preset_by="project",
        ),
    ]
    stdin: Annotated[
        int | None,
        _PYTHON_ONLY(
            "Standard input of the command. With `subprocess.PIPE`, write to `process.stdin`.",
            _stdin,
            shown="/dev/null",
        ),
    ]
    stderr: Annotated[
        int | None,
        _PYTHON_ONLY(
            "Standard error of the command. With `subprocess.STDOUT`, it is the same pipe as "
            "standard output, so `stdout` has the output of both, in order.",
            _stderr,
            shown="a pipe of its own",
        ),
    ]
    tty: Annotated[
        bool | tuple[int, int],
        Option(
            "Run the command in a terminal, which is its standard input, output and error. On the "
            "command line, the terminal has the size of your terminal.",
            _terminal,
            default=False,
            unit="(lines, columns), or True for 24 lines and 80 columns",
            verbs=("run", "exec"),
            short="t",
            preset_by="nobody",
        ),
    ]
    timeout: Annotated[
        Duration | None,
        _DURATION(
            "After this time, such as 5s, 500ms or 2m, kill the command and all processes that it "
            "has started.",
            verbs=(*_LIMITED, "mcp"),
            verb_defaults=(("mcp", "5m"),),
            preset_by="project",
        ),
    ]
    grace: Annotated[
        Duration | None,
        _DURATION(
            "At the timeout, send SIGTERM first, and kill the command only after this further "
            "time. `microvm python` raises KeyboardInterrupt instead.",
            shown="no SIGTERM",
            verbs=_LIMITED,
            needs="timeout",
            preset_by="project",
        ),
    ]
    max_output: Annotated[
        Size | None,
        _SIZE(
            "Kill the command when its standard output and error together exceed this size, such "
            "as 1K.",
            shown="no limit",
            verbs=_LIMITED,
            verb_defaults=(("map", "16M"),),
        ),
    ]
    max_processes: Annotated[
        int,
        counted(0, _MOST_PROCESSES)(
            "Limit the number of processes and threads that the command has at the same time; 0 "
            "is no limit.",
            default=1024,  # limited by default, so that a fork bomb cannot stop the guest
            verbs=_LIMITED,
            preset_by="project",
        ),
    ]
    max_memory: Annotated[
        Size,
        _SIZE(
            "Limit the memory of the command and all processes that it has started, such as 64M.",
            read=parse_memory_limit,
            verbs=_LIMITED,
            preset_by="project",
            default=0,
            shown="no limit",
        ),
    ]


class PlainRunOptions(ExecOptions, total=False):
    """Keyword arguments of `MicroVM.run`, without those that determine the type of the output."""

    input: Annotated[
        Text | None,
        _PYTHON_ONLY(
            "Send this to the standard input of the command: bytes, or str in text mode.",
            _input,
            shown="no input",
        ),
    ]
    check: Annotated[
        bool,
        _PYTHON_ONLY(
            "Raise `subprocess.CalledProcessError` if the exit status of the command is not 0.",
            default=False,
        ),
    ]
    capture_limit: Annotated[
        Size | None,
        _SIZE(
            "Store at most this size of each output stream, such as 10M, and discard the rest. The "
            "command continues, and `truncated` of the result is True.",
            verbs=(),
            shown="no limit",
        ),
    ]
    check_start: Annotated[
        bool,
        _PYTHON_ONLY(
            "Raise `StartError` if the program does not exist or cannot be executed. If False, the "
            "result has the return code of a shell, 127 or 126, and standard error has the reason.",
            default=True,
        ),
    ]
    newline: Annotated[
        str | None,
        _PYTHON_ONLY(
            r'With `""`, text mode keeps `\r\n` and `\r` in the output, as `open` does. Otherwise '
            r"it translates them to `\n`, as `subprocess.run` does.",
            _no_translation,
            shown="translate",
        ),
    ]


class RunOptions(PlainRunOptions, total=False):
    """Keyword arguments of `MicroVM.run`, with the names that `subprocess.run` uses."""

    capture_output: Annotated[
        bool,
        _PYTHON_ONLY(
            "Store the output in the result. If False, write it to the standard output and error "
            "of this process.",
            default=True,
        ),
    ]
    text: Annotated[bool, _PYTHON_ONLY("Use text mode: input and output are str.", default=False)]
    encoding: Annotated[
        str | None,
        _PYTHON_ONLY(
            "Use text mode with this encoding.", partial(_accepted_by, "".encode), shown="UTF-8"
        ),
    ]
    errors: Annotated[
        str | None,
        _PYTHON_ONLY(
            "Use text mode with this handling of encoding errors, as in `bytes.decode`.",
            partial(_accepted_by, codecs.lookup_error),
            shown="strict",
        ),
    ]


class UncapturedRunOptions(PlainRunOptions, total=False):
    """Keyword arguments with which `MicroVM.run` returns no output."""

    capture_output: Required[Literal[False]]
    text: bool
    encoding: str | None
    errors: str | None


class TextRunOptions(PlainRunOptions, total=False):
    """Keyword arguments with which `MicroVM.run` returns str, because `text` is True."""

    capture_output: Literal[True]
    text: Required[Literal[True]]
    encoding: str | None
    errors: str | None


class EncodedRunOptions(PlainRunOptions, total=False):
    """Keyword arguments with which `MicroVM.run` returns str, because `encoding` is given."""

    capture_output: Literal[True]
    text: bool
    encoding: Required[str]
    errors: str | None


class BytesRunOptions(PlainRunOptions, total=False):
    """Keyword arguments with which `MicroVM.run` returns the output as bytes."""

    capture_output: Literal[True]
    text: Literal[False]
    encoding: None
    errors: None


class PoolOptions(TypedDict, total=False):
    """Keyword arguments of `Pool`: the options that apply to each machine of the pool."""

    memory: Annotated[
        Size,
        _SIZE(
            "Give the guest this much memory, such as 512M or 2G.",
            read=parse_memory,
            default="256M",
            verbs=(*_STARTING, "bench", "image build"),
            short="m",
            verb_defaults=(("python", "512M"), ("mcp", "512M"), ("image build", "1G")),
            preset_by="project",
        ),
    ]
    cpus: Annotated[
        int,
        counted(1)(
            "Give the guest this number of CPUs.",
            default=1,
            verbs=(*_STARTING, "image build"),
            preset_by="project",
        ),
    ]
    disk: Annotated[
        Size,
        _SIZE(
            "Store the files that the guest writes on a disk of this size, such as 2G, instead of "
            "in the guest's memory. The disk is a file on the host that grows as the guest "
            "writes, and is deleted with the machine. 0 is no disk: the files then use up to half "
            "of the guest's memory.",
            read=parse_disk,
            default=0,
            shown="no disk",
            verbs=(*_STARTING, "image build"),
            verb_defaults=(("image build", "8G"),),
        ),
    ]
    arch: Annotated[
        Architecture,
        _chosen(Architecture)(
            "Give the guest a processor of this architecture. If it is not the architecture of the "
            "host, QEMU emulates the processor. An image that has another architecture is refused.",
            shown="that of the image, else of the host",
            verbs=(*_STARTING, "bench", "image build", "image pull"),
        ),
    ]
    accel: Annotated[
        Accelerator,
        _chosen(Accelerator)(
            "Choose how the guest's CPU runs. `kvm`: by the host's CPU, with KVM; `tcg`: emulated "
            "by QEMU; `auto`: `kvm` if a guest starts with it on this host, else `tcg`.",
            default="auto",
            verbs=(*_STARTING, "bench"),
        ),
    ]
    confinement: Annotated[
        Confinement,
        _chosen(Confinement)(
            "Restrict what QEMU can do on the host, in case a guest takes control of it. `auto`: "
            "use all restrictions that this host supports; `require`: fail if important ones are "
            "not supported; `off`: use almost none, to debug QEMU. `microvm confinement` lists "
            "them.",
            default="auto",
            verbs=(*_STARTING, "bench", "image build"),
        ),
    ]
    cold: Annotated[
        bool,
        Option(
            "Boot the guest instead of cloning it from a template.",
            default=False,
            verbs=("run", "map", "start"),
            preset_by="project",
        ),
    ]
    notify: Annotated[
        Callable[[str], None],
        _PYTHON_ONLY(
            "Call this function with each notice for the user, such as the reason why KVM is not "
            "used.",
            _function,
            default=_ignore,
            shown="ignore notices",
        ),
    ]


class MachineOptions(PoolOptions, total=False):
    """Keyword arguments of `MicroVM`."""

    commands: Annotated[
        int,
        counted(1, MAX_COMMANDS)(
            "Let the machine run at most this number of commands at the same time; a copy of files "
            "counts as a command, and so do all open connections together.",
            default=1,
            verbs=("start",),
            verb_defaults=(("start", str(NAMED_COMMANDS)),),
            preset_by="project",
        ),
    ]
    wait: Annotated[
        bool,
        _PYTHON_ONLY(
            "Let a command, a copy of files or a checkpoint wait for its turn if the machine is "
            "busy, in the order of the requests, instead of raising `Busy`. This wait has no time "
            "limit: the option `timeout` begins when a command starts.",
            default=False,
        ),
    ]
    console: Annotated[
        Path | None,
        Option(
            "Write the output of the guest's serial console to this file while the guest runs, up "
            "to 16 MiB. For a clone, the file does not contain the boot messages of its template.",
            _path,
            verbs=("run",),
            metavar="FILE",
        ),
    ]


class ImageOptions(TypedDict, total=False):
    """The option `image` of the command line. In Python, it is a positional argument instead."""

    image: Annotated[
        str | None,
        Option(
            "Use this image: its name, or the path of its folder. The images python, node and "
            "agent are built at their first use.",
            _image,
            shown="built on the first run",
            verbs=("run", "python", "map", "start", "pool start", "mcp", "bench"),
            verb_defaults=(("python", "python"), ("mcp", "python")),
            metavar="NAME[:TAG]|DIR",
            preset_by="project",
        ),
    ]


class PoolChoice(TypedDict, total=False):
    """The option `--pool`, which names a pool of machines. In Python, use `Pool.attach`."""

    pool: Annotated[
        str | None,
        Option(
            "Use a machine of this pool, which `microvm pool start` has started, if the other "
            "options permit it. If the pool has no machine within 2 s, or does not exist, start a "
            "machine. -v logs the reason. Give '' to use no pool.",
            _name_or_none,
            shown="start a machine",
            verbs=("run", "map"),
            metavar="NAME",
        ),
    ]
