"""The harmless commands that fuzzers run, and the expected output and exit of each.

Commands that must be killed sleep for 1000 seconds, which is longer than any time limit.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from microvm.wire import codec
from microvm.wire.codec import Stage


@dataclass(frozen=True)
class KnownCommand:
    """A harmless command, with its expected output and exit.

    :ivar failure: Stage and error number of its failed start; None if it starts.
    :ivar limited: Its exit status if it may not fork; None if it must not run under that limit.
    :ivar takes: Number of bytes that it copies from standard input to standard output. It exits
        after that, or at end of file. None if it reads nothing.
    :ivar lasts: True if it runs until it is killed.
    :ivar endless: True if it repeats `stdout` until it is killed.
    :ivar concurrent: True if it writes to both streams in an undefined order.
    :ivar closes_input: True if it closes its standard input at once.
    :ivar leaves: True if it starts a process that may outlive it.
    :ivar escapes: True if that process leaves the process group.
    :ivar sized: True if it reads a line and then prints the size of its terminal, which it needs.
    """

    argv: tuple[bytes, ...]
    stdout: bytes = b""
    stderr: bytes = b""
    status: int = 0
    failure: tuple[Stage, int] | None = None
    limited: int | None = None
    takes: int | None = None
    lasts: bool = False
    endless: bool = False
    concurrent: bool = False
    closes_input: bool = False
    leaves: bool = False
    escapes: bool = False
    sized: bool = False

    def __repr__(self) -> str:
        return f"KnownCommand({b' '.join(self.argv)[:80]!r})"


def sh(script: bytes) -> tuple[bytes, ...]:
    return b"sh", b"-c", script


ALL_INPUT = 1 << 62

NUMBERS = b"".join(b"%d\n" % number for number in range(1, 30001))
"""More bytes than a pipe holds, of which no two frames are equal."""

# A shell that may not fork prints a message and exits with 2.
FORKING = KnownCommand(sh(b"exec 2>/dev/null; (exit 7); exit 3"), status=3, limited=2)

SHORT = [
    KnownCommand((b"true",), limited=0),
    KnownCommand((b"nonexistent",), failure=(Stage.LOOKUP, errno.ENOENT)),
    KnownCommand((b"/nonexistent",), failure=(Stage.EXEC, errno.ENOENT)),
    *(KnownCommand(sh(b"exit %d" % code), status=code, limited=code) for code in (0, 1, 7, 255)),
    KnownCommand((b"echo", b"hello"), stdout=b"hello\n", limited=0),
    KnownCommand(sh(b"echo out; echo err >&2"), stdout=b"out\n", stderr=b"err\n", limited=0),
    KnownCommand((b"sleep", b"0.01"), limited=0),
    KnownCommand(sh(b"exec >&- 2>&-; exec sleep 0.01"), limited=0),
    KnownCommand(sh(b"kill -9 $$; exit 1"), status=-9),
    FORKING,
]
"""Commands that exit by themselves."""

LARGE = [
    KnownCommand((b"seq", b"30000"), NUMBERS, limited=0),
    KnownCommand(sh(b"exec seq 30000 >&2"), stderr=NUMBERS, limited=0),
    KnownCommand(sh(b"seq 30000 & seq 30000 >&2; wait"), NUMBERS, NUMBERS, concurrent=True),
]
"""Commands that write more than a pipe holds."""

_DETACHED = b"(setsid sleep 0.02 >/dev/null 2>&1 &); exit 4"
LEAVING = [
    KnownCommand(sh(b"sleep 1000 & echo left"), b"left\n", leaves=True),
    KnownCommand(sh(b"setsid sleep 1000 & echo left"), b"left\n", leaves=True, escapes=True),
    KnownCommand(sh(b"(sleep 0.02 &); exit 3"), status=3, leaves=True),
    KnownCommand(sh(_DETACHED), status=4, leaves=True, escapes=True),
]
"""Commands that leave a process behind."""

CAT = KnownCommand((b"cat",), takes=ALL_INPUT, limited=0)
READING = [CAT, KnownCommand((b"head", b"-c", b"3"), takes=3, limited=0)]

_ESCAPED = b"setsid sh -c 'echo up; exec sleep 1000' & exec sleep 1000"
_STUBBORN = b"(trap '' TERM; echo up; exec sleep 1000) & wait"
FAMILIES = [
    KnownCommand(sh(b"sleep 1000 & echo up; exec sleep 1000"), b"up\n", lasts=True, leaves=True),
    KnownCommand(sh(_ESCAPED), b"up\n", lasts=True, leaves=True, escapes=True),
    KnownCommand(sh(_STUBBORN), b"up\n", lasts=True, leaves=True),
]
"""Commands of two processes that run until they are killed, both with the pipes open."""

YES = KnownCommand((b"yes",), b"y\n", lasts=True, endless=True, limited=0)
LASTING = [
    KnownCommand((b"sleep", b"1000"), lasts=True, limited=0),
    YES,
    KnownCommand(sh(b"exec <&-; exec sleep 1000"), lasts=True, closes_input=True, limited=0),
    KnownCommand(sh(b"exec >&- 2>&-; exec sleep 1000"), lasts=True, limited=0),
    KnownCommand(sh(b"echo up; exec sleep 1000"), b"up\n", lasts=True, limited=0),
    *FAMILIES,
]

SIZED = KnownCommand(sh(b"read x; stty size"), sized=True)

HUGE = [KnownCommand((b"true", *[b""] * 16383)), KnownCommand((b"true", *[b"x" * 131071] * 7))]
"""Commands with the longest requests."""

COMMANDS = [*SHORT, *LARGE, *LEAVING, *READING, *LASTING, SIZED]

_KNOWN = {command.argv: command for command in COMMANDS + HUGE}

FOLDERS = [b"", b"/", b"/nonexistent"]
VARIABLES = [b"A=b", b"HOME=/", b"", b"\xff", b"NOVALUE"]
FEW, MANY = 1, 64  # the limits for the number of processes in requests


def command_of(request: codec.ExecRequest) -> KnownCommand:
    """Return the command that a safe request runs, with its outcome without limits."""
    if request.cwd == b"/nonexistent":
        return KnownCommand(request.argv, failure=(Stage.CHDIR, errno.ENOENT))
    return _KNOWN[request.argv + request.more_argv]


def is_known(request: codec.ExecRequest) -> bool:
    """Return whether the outcome of a request is known."""
    command = _KNOWN.get(request.argv + request.more_argv)
    if command is None or request.command != command.argv[0]:
        return False
    may_be_limited = command.limited is not None or bool(command.failure)
    return (
        request.cwd in FOLDERS
        and {*request.env, *request.more_env} <= set(VARIABLES)
        and (request.user, request.max_memory) == (b"", 0)
        and request.max_processes in {0, MANY, *([FEW] if may_be_limited else [])}
        and (request.rows > 0 or not command.sized)
        and not (request.joined and command.concurrent)
    )
