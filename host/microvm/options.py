"""How a command is to be run: what every way to do so accepts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from microvm.units import Duration, Size

Text = str | bytes

MAX_PROCESSES = 1024
"""Of one command, unless it is told otherwise: a fork bomb is to harm itself only."""


class ExecOptions(TypedDict, total=False):
    """Keyword arguments of `MicroVM.exec` and `MicroVM.run`; each has a default.

    :ivar command: the file to execute, by default `argv[0]`; without a slash it is looked up in the
        guest's PATH.
    :ivar env: over the guest's default environment; nothing of the host's is passed on.
    :ivar cwd: in the guest; the user's home by default.
    :ivar user: `NAME`, `UID` or either with `:GROUP`; root by default.
    :ivar stdin: `subprocess.PIPE` to feed it by `process.stdin`; /dev/null by default.
    :ivar tty: a terminal for all three streams: its lines and columns, or True for 24 and 80.
    :ivar timeout: how long after its start it and all that it has started is killed: seconds, or
        text such as `2m`; see :mod:`microvm.units` for this and what follows.
    :ivar grace: time between SIGTERM and that kill; by default there is no SIGTERM.
    :ivar max_output: size of both streams together after which it is killed: bytes, or text such as
        `1K`; by default endless.
    :ivar max_processes: processes and threads at a time, `MAX_PROCESSES` by default; 0: no limit.
    :ivar max_memory: memory for it and all that it has started: bytes, or text such as `64M`; by
        default all there is, and so for 0.
    """

    command: Text | None
    env: Mapping[str, str] | Mapping[bytes, bytes] | None
    cwd: Text | Path | None
    user: Text | int | None
    stdin: int | None
    tty: bool | tuple[int, int]
    timeout: Duration | None
    grace: Duration | None
    max_output: Size | None
    max_processes: int
    max_memory: Size


class PlainRunOptions(ExecOptions, total=False):
    """Those of `RunOptions` that do not say what type the output has.

    :ivar input: what to feed to standard input: bytes, or str where text is asked for.
    :ivar check: raise `subprocess.CalledProcessError` unless it exits with 0.
    """

    input: Text | None
    check: bool


class RunOptions(PlainRunOptions, total=False):
    """Keyword arguments of `MicroVM.run` alone, named after those of `subprocess.run`.

    :ivar capture_output: whether the result has the output, which is the default; False passes it
        on to our own standard output and error.
    :ivar text: whether input and output are str.
    :ivar encoding: of that text; UTF-8 by default. Naming one asks for text.
    :ivar errors: what to do about bytes that are no text, as in `bytes.decode`; naming one asks
        for text.
    """

    capture_output: bool
    text: bool
    encoding: str | None
    errors: str | None
