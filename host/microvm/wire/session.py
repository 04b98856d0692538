"""The host's side of the conversation with one guest: handshake, ids, credits. It does no I/O.

It speaks the lower of both sides' versions.

Bytes from the guest go into :meth:`Session.receive_data`, then :meth:`Session.next_event` is called
until it returns None and :attr:`Session.is_behind` is false. Every method that says something to
the guest returns the bytes to write.

The states, and what leads from each to the next::

    NEW ──hello()──▸ GREETING ──ready, with our nonce──▸ IDLE ──exec_request()──▸ RUNNING
                         ▴                                ▴ │                        │
                         └────────────hello()─────────────┼─┴────────────────────────┤
                                                          └──exec_response, exec_failed──┘

From each of them, anything that the protocol forbids leads to FAILED, and there it ends: the guest
orders its own output, so what comes out of order is no race but a broken or hostile guest.
"""

from __future__ import annotations

import enum
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from signal import NSIG

from microvm.errors import Busy, ProtocolError, UsageError, VersionMismatch
from microvm.wire import codec

WINDOW = 1 << 20
"""Bytes of each output stream that the guest may send before we have taken any."""

STDIN_CHUNK = 1 << 16
"""Bytes of standard input that fit into one frame."""

_ENTROPY_SIZE = 64

# Frames of an older life that are dropped at a time.
_DROPPED = range(64)
_MAX_CREDIT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Request:
    """What a command is started with.

    :ivar command: what to execute; without a slash it is looked up in the guest's PATH.
    :ivar argv: its arguments, the first is the name that it sees.
    :ivar env: over the guest's default environment.
    :ivar cwd: empty for the user's home.
    :ivar user: `NAME`, `UID` or either with `:GROUP`; empty for root.
    :ivar stdin: whether the host feeds its standard input; else it is /dev/null.
    :ivar terminal: lines and columns of its terminal, if it has one.
    :ivar max_processes: 0 for as many as the kernel allows.
    :ivar max_memory: bytes; 0 for as much as there is.
    """

    command: bytes
    argv: Sequence[bytes]
    env: Mapping[bytes, bytes] = field(default_factory=dict)
    cwd: bytes = b""
    user: bytes = b""
    stdin: bool = False
    terminal: tuple[int, int] | None = None
    max_processes: int = 0
    max_memory: int = 0


class State(enum.Enum):
    """Where the conversation stands."""

    NEW = enum.auto()
    GREETING = enum.auto()
    IDLE = enum.auto()
    RUNNING = enum.auto()
    FAILED = enum.auto()


class Session:
    """One conversation; see the module's docstring for its states."""

    def __init__(self) -> None:
        self.state = State.NEW
        self._decoder = codec.Decoder("guest")
        self._version = codec.VERSION
        self._nonce = 0
        self._id = 0
        self._pings: list[int] = []
        self._statuses = 0
        self._goodbye = False
        self._limits_memory = False
        self._credit: dict[codec.Stream, int] = {}
        self._owed: dict[codec.Stream, int] = {}
        self._takes_stdin = False
        self.stdin_credit = 0
        """Bytes of standard input that the guest takes now; 0 once it takes no more."""
        self.is_behind = False
        """Whether `next_event` has only stopped so that its caller can do other things, too."""

    def hello(self) -> bytes:
        """Start afresh: whatever runs in the guest is killed, and earlier frames are dropped."""
        self._require(*set(State) - {State.FAILED})
        self.state = State.GREETING
        self._nonce = secrets.randbits(64)
        self._id = 0
        self._pings.clear()
        self._statuses = 0
        self._goodbye = False
        hello = codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, self._nonce)
        return hello.encode()

    def resume(self) -> bytes:
        """Tell a guest that has just come to life the time, and give it entropy."""
        self._require(State.IDLE)
        return codec.Resume(time.time_ns(), secrets.token_bytes(_ENTROPY_SIZE)).encode(
            self._version
        )

    def ping(self, token: int) -> bytes:
        """Ask for a `Pong` with this number."""
        self._require(State.IDLE, State.RUNNING)
        frame = codec.Ping(token).encode(self._version)
        self._pings.append(token)
        return frame

    def status_request(self) -> bytes:
        """Ask for a `Status`."""
        self._require(State.IDLE, State.RUNNING)
        self._statuses += 1
        return codec.StatusRequest().encode(self._version)

    def shutdown(self) -> bytes:
        """Ask the guest to end itself; it says `Goodbye`."""
        self._require(State.IDLE, State.RUNNING)
        return codec.Shutdown().encode(self._version)

    def exec_request(self, request: Request) -> bytes:
        """Run a command.

        :raises Busy: one is in flight.
        :raises UsageError: the protocol cannot carry it: too long, or a NUL byte in it.
        """
        if self.state is State.RUNNING:
            raise Busy("a command is running on this machine, and it takes one at a time")
        self._require(State.IDLE)
        rows, columns = request.terminal or (0, 0)
        if request.terminal and not rows:
            raise UsageError("a terminal has at least one line")
        kind = codec.StdinKind.HOST if request.stdin else codec.StdinKind.NULL
        try:
            frame = codec.ExecRequest(
                id=self._id + 1,
                command=request.command,
                cwd=request.cwd,
                user=request.user,
                argv=tuple(request.argv),
                env=tuple(_entry(key, value) for key, value in request.env.items()),
                stdin_from=kind,
                rows=rows,
                columns=columns,
                max_processes=request.max_processes,
                max_memory=request.max_memory,
                stdout_credit=WINDOW,
                stderr_credit=WINDOW,
            ).encode(self._version)
        except codec.EncodeError as error:
            raise UsageError(f"this command cannot be sent: {error}") from None
        self._id += 1
        self._limits_memory = request.max_memory > 0
        self._credit = dict.fromkeys(codec.Stream, WINDOW)
        self._owed = dict.fromkeys(codec.Stream, 0)
        self._takes_stdin = request.stdin or request.terminal is not None
        self.stdin_credit = 0
        self.state = State.RUNNING
        return frame

    def exec_signal(self, signal: int) -> bytes:
        """Send a signal to the running command's process group; nothing when it has ended.

        :raises UsageError: no signal has this number.
        """
        if self.state is not State.RUNNING:
            return b""
        try:
            return codec.ExecSignal(self._id, signal).encode(self._version)
        except codec.EncodeError:
            raise UsageError(f"no signal has the number {signal}") from None

    def exec_kill(self) -> bytes:
        """Kill the running command; nothing when it has ended. Its response still comes."""
        if self.state is not State.RUNNING:
            return b""
        return codec.ExecKill(self._id).encode(self._version)

    def exec_terminate(self) -> bytes:
        """Ask the running command to end; what it leaves behind is killed. Else as `exec_kill`."""
        if self.state is not State.RUNNING:
            return b""
        return codec.ExecTerminate(self._id).encode(self._version)

    def exec_stdin(self, data: bytes | memoryview) -> tuple[bytes | memoryview, ...]:
        """Feed the running command; without data, end its input. Nothing when it has ended.

        :param data: at most :attr:`stdin_credit` and :data:`STDIN_CHUNK` bytes.
        :return: the frame's parts; the data is one of them, so it must not change until it is sent.
        """
        if self.state is not State.RUNNING:
            return ()
        if len(data) > self.stdin_credit:
            raise UsageError(f"{len(data)} bytes are more than the credit of {self.stdin_credit}")
        self.stdin_credit -= len(data)
        return codec.ExecStdin(self._id, data).encode_parts(self._version)

    def exec_resize(self, rows: int, columns: int) -> bytes:
        """Tell the running command's terminal its size; nothing when it has ended.

        :raises UsageError: no terminal has this size.
        """
        if self.state is not State.RUNNING:
            return b""
        try:
            return codec.ExecResize(self._id, rows, columns).encode(self._version)
        except codec.EncodeError:
            raise UsageError(f"no terminal has {rows} lines and {columns} columns") from None

    def consumed(self, stream: codec.Stream, amount: int) -> bytes:
        """Note that output has been taken; gives the guest new credit, in large pieces."""
        if self.state is not State.RUNNING:
            return b""
        self._owed[stream] += amount
        if self._owed[stream] < WINDOW // 2:
            return b""
        amount, self._owed[stream] = self._owed[stream], 0
        self._credit[stream] += amount
        return codec.ExecCredit(self._id, stream, amount).encode(self._version)

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the guest; output refers to them without a copy."""
        if self.state is not State.FAILED:
            self._decoder.receive_data(data)

    def next_event(self) -> codec.Message | None:
        """Return the next message that means something, or None when more bytes are needed.

        Of many that mean nothing it drops a part: None then, too, and :attr:`is_behind`.

        :raises VersionMismatch: the guest was built from a schema that is not one of ours.
        :raises ProtocolError: the guest broke the protocol; the session is over.
        """
        if self.state is State.FAILED:
            return None
        try:
            for _ in _DROPPED:
                message = self._decoder.next_message()
                if message is None:
                    break
                if self._accept(message):
                    return message
            else:
                self.is_behind = True
                return None
        except codec.DecodeError as error:
            self.state = State.FAILED
            raise ProtocolError(f"the guest sent a malformed frame: {error}") from None
        except ProtocolError:
            self.state = State.FAILED
            raise
        self.is_behind = False
        return None

    def _accept(self, message: codec.Message) -> bool:
        """Check a message against the state, and step; whether it is for the caller."""
        if self.state is State.NEW:
            return False
        if self.state is State.GREETING:
            return isinstance(message, codec.Ready) and self._accept_ready(message)
        self._expect(not self._goodbye, message)
        match message:
            case codec.ExecOutput(id=id_, stream=stream, data=data):
                self._expect(id_ == self._id and self.state is State.RUNNING, message)
                self._expect(0 < len(data) <= self._credit[stream], message)
                self._credit[stream] -= len(data)
            case codec.ExecResponse(id=id_) | codec.ExecFailed(id=id_):
                self._expect(id_ == self._id and self.state is State.RUNNING, message)
                self._expect(self._can_be(message), message)
                self.state = State.IDLE
            case codec.ExecStdinCredit(id=id_, amount=amount):
                self._expect(id_ == self._id and self.state is State.RUNNING, message)
                self._expect(self._takes_stdin and amount > 0, message)
                self.stdin_credit = min(self.stdin_credit + amount, _MAX_CREDIT)
            case codec.ExecStdinClosed(id=id_):
                self._expect(id_ == self._id and self.state is State.RUNNING, message)
                self._expect(self._takes_stdin, message)
                self._takes_stdin = False
                self.stdin_credit = 0
            case codec.Pong(token=token):
                self._expect(token in self._pings, message)
                self._pings.remove(token)
            case codec.Status():
                self._expect(self._statuses > 0, message)
                self._statuses -= 1
            case codec.Goodbye():
                self._goodbye = True
            case codec.Error(code=code, refused_type=kind, offset=offset):
                name = code.name.lower() if isinstance(code, codec.ErrorCode) else code
                raise ProtocolError(
                    f"the guest refused a frame of type {kind}: {name} at offset {offset}"
                )
            case _:
                self._expect(False, message)
        return True

    def _accept_ready(self, ready: codec.Ready) -> bool:
        if ready.nonce != self._nonce:
            return False
        # A newer guest speaks our version: `microvm-proto breaking` has seen to that.
        newer = ready.version > codec.VERSION
        if not newer and codec.DIGESTS.get(ready.version) != ready.digest:
            host = (codec.VERSION, codec.DIGEST)
            raise VersionMismatch(host=host, guest=(ready.version, ready.digest))
        self._version = self._decoder.version = min(codec.VERSION, ready.version)
        self.state = State.IDLE
        return True

    def _can_be(self, message: codec.ExecResponse | codec.ExecFailed) -> bool:
        """Whether the running command can have come to this end."""
        if isinstance(message, codec.ExecFailed) or message.ending is codec.Ending.EXITED:
            return True
        limited = message.ending is not codec.Ending.OUT_OF_MEMORY or self._limits_memory
        # The signal's negative is the return code: 0 would be success.
        return limited and 0 < message.status < NSIG

    def _expect(self, right: bool, message: codec.Message) -> None:
        if not right:
            name = type(message).__name__
            raise ProtocolError(f"the guest sent {name} where it must not ({self.state.name})")

    def _require(self, *states: State) -> None:
        if self.state not in states:
            raise ProtocolError(f"nothing can be sent now: the session is {self.state.name}")


def _entry(key: bytes, value: bytes) -> bytes:
    if not key or b"=" in key:
        raise UsageError(f"{key!r} cannot be the name of an environment variable")
    return key + b"=" + value
