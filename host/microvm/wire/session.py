"""The host's side of the protocol with one guest, without I/O.

A session handles the handshake, the ids of commands, and credits, the numbers of bytes that each
side may send. It uses the newest version of the protocol that both host and guest support.

Pass bytes from the guest to :meth:`Session.receive_data`, then call :meth:`Session.next_event`
until it returns None and :attr:`Session.is_behind` is False. Every method that sends a message only
returns its bytes; the caller writes them to the guest.

The module :mod:`microvm.wire.state` defines the messages that are allowed in each state of the
session and of a command. If the guest sends any other message, the session fails and cannot be used
again. The guest sends its messages in order, so a message that is not allowed is not caused by a
race, but by a broken or hostile guest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from signal import NSIG
from typing import TypeAlias

from microvm.errors import (
    BUILD_AGAIN,
    Busy,
    GuestDied,
    ProtocolError,
    UsageError,
    VersionMismatch,
)
from microvm.wire import codec
from microvm.wire.state import (
    COMMAND_GUEST,
    COMMAND_HOST,
    COMMAND_MAXIMA,
    SESSION_GUEST,
    SESSION_GUEST_IGNORED,
    SESSION_HOST,
    SESSION_IDS,
    CommandState,
    CommandSteps,
    SessionState,
    SessionSteps,
)

WINDOW = 1 << 20
"""Number of bytes of each output stream that the guest may send before the host allows more."""

STDIN_CHUNK = codec.ExecStdin.MAX_BODY
"""Maximum number of bytes of standard input in one message."""

_HINT = "its daemon may be compromised: start another machine, from an image that you trust"

_ENTROPY_SIZE = 64

# Maximum number of bytes that may arrive before `Ready`. These bytes belong to an older session, of
# which up to `WINDOW` bytes of stdout and of stderr can be left. If each of these is in its own
# frame of 14 bytes, the frames have 28 times `WINDOW` bytes. The rest is for other messages.
_STALE_LIMIT = 32 * WINDOW

# One call of `next_event` drops at most this many messages of an older session before it returns.
_DROPPED = range(64)
_MAX_STDIN_CREDIT = COMMAND_MAXIMA["stdin_credit"]

# States in which every message except `Ready` belongs to an older session.
_BEFORE_READY = (SessionState.NEW, SessionState.GREETING)

# States of a command that has not ended yet.
_RUNNING = (CommandState.REQUESTED, CommandState.RUNNING)

_State: TypeAlias = SessionState | CommandState


def _by_type(
    end: str, session: SessionSteps, command: CommandSteps
) -> dict[tuple[SessionState, CommandState], dict[int, _State]]:
    """Unite the tables of one side: the table of the session, and the table of a command.

    The keys of the result are type numbers instead of classes. The conditions are left out, because
    the methods of a session check them.

    :param end: Name of the side.
    """
    united: dict[tuple[SessionState, CommandState], dict[int, _State]] = {}
    for state in SessionState:
        for running in CommandState:
            found = united[state, running] = {}
            for kind, following in session[state].items():
                (found[kind.TYPE],) = following.values()
            for kind, next_ in command[running].items() if end in SESSION_IDS[state] else ():
                (found[kind.TYPE],) = next_.values()
    return united


_FROM_HOST = _by_type("host", SESSION_HOST, COMMAND_HOST)
_FROM_GUEST = _by_type("guest", SESSION_GUEST, COMMAND_GUEST)


class Session:
    """The host's side of the protocol: it encodes messages, and decodes and checks answers.

    Methods raise ProtocolError if their message is not allowed in the current state, such as before
    the guest is ready. Methods about the running command return no bytes if it has exited already.
    After the guest has said goodbye, `hello`, `keep` and `exec_request` raise GuestDied, and other
    methods return no bytes.

    :ivar state: Current state of the session.
    :ivar command: State of the last command; `NEW` if there is none.
    :ivar failed: True if the guest has violated the protocol. The session cannot be used again.
    :ivar takes_stdin: True if the running command may be sent standard input.
    :ivar stdin_credit: Number of bytes of standard input that may be sent now; 0 after the command
        has closed its standard input.
    :ivar is_behind: True if `next_event` returned None although it may have more messages, so that
        the caller can do other work first.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], int] = time.time_ns,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Create a session in the state NEW. `clock` and `entropy` supply data for the guest.

        :param clock: Function that returns the current time in nanoseconds since 1970, to send to
            the guest.
        :param entropy: Function that returns as many random bytes as its argument says, for nonces
            and to send to the guest.
        """
        self._clock = clock
        self._entropy = entropy
        self.failed = False
        self.command = CommandState.NEW
        self._enter(SessionState.NEW)
        self._decoder = codec.Decoder("guest")
        self._version = codec.VERSION
        self._nonce = 0
        self._id = 0
        self._stale = 0
        self._pings: list[int] = []
        self._statuses = 0
        self._limits_memory = False
        self._credit: dict[codec.Stream, int] = {}
        self._owed: dict[codec.Stream, int] = {}
        self.takes_stdin = False
        self.stdin_credit = 0
        self.is_behind = False

    def _enter(self, following: _State) -> None:
        """Change the state of the session, or of the last command."""
        if isinstance(following, CommandState):
            self.command = following
        else:
            self.state = following
            if not SESSION_IDS[following]:
                self.command = CommandState.NEW
        self._from_host = _FROM_HOST[self.state, self.command]
        self._from_guest = _FROM_GUEST[self.state, self.command]

    def _fail(self) -> None:
        """Refuse all further messages of both sides."""
        self.failed = True
        self.command = CommandState.NEW
        self._from_host = {}
        self._from_guest = {}

    def _say(self, message: codec.Message) -> bytes:
        """Encode a message to the guest, and change to the state that follows the message.

        After its `Goodbye`, the guest reads nothing. So a message that begins a session or a
        command raises an error. For other messages, return no bytes, because their callers notice
        the loss of the guest anyway.

        :raises GuestDied: If the message is a `Hello`, `Keep` or `ExecRequest` after a `Goodbye`.
        """
        if self.state is SessionState.FINISHED and not self.failed:
            if isinstance(message, codec.Hello | codec.Keep | codec.ExecRequest):
                raise GuestDied("the guest has shut itself down")
            return b""
        following = self._from_host.get(message.TYPE)
        if following is None:
            raise ProtocolError(f"cannot send a message: the session is in the state {self._now}")
        frame = message.encode(self._version)
        if following is not self.state and following is not self.command:
            self._enter(following)
        return frame

    @property
    def _now(self) -> str:
        """Name of the current state, for error messages."""
        if self.failed or self.command is CommandState.NEW:
            return "FAILED" if self.failed else self.state.name
        return f"{self.state.name}, with a command that is {self.command.name}"

    def _can_say(self, kind: type[codec.Message]) -> bool:
        """Return True if a message of this type may be sent in the current state."""
        return kind.TYPE in self._from_host

    def _say_of_command(self, message: codec.Message) -> bytes:
        """Encode a message about the running command. Return no bytes if the command has exited."""
        return message.encode(self._version) if self._can_say(type(message)) else b""

    def hello(self) -> bytes:
        """Encode `hello`, which starts a new session.

        The guest then kills all commands, and the host drops all messages that the guest sent
        before.
        """
        self._nonce = int.from_bytes(self._entropy(8), "little")
        frame = self._say(codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, self._nonce))
        self._id = 0
        self._stale = 0
        self._pings.clear()
        self._statuses = 0
        return frame

    def resume(self) -> bytes:
        """Encode `resume`, which gives the current time and entropy to a booted or cloned guest."""
        return self._say(codec.Resume(self._clock(), self._entropy(_ENTROPY_SIZE)))

    def keep(self) -> bytes:
        """Encode `keep`, so that the next `hello` does not kill the processes in the guest.

        The guest freezes the processes, and lets them continue at the next `resume`.

        :raises Busy: Raised if a command is running.
        :raises UsageError: Raised if the guest is too old to support this message.
        """
        if self.command in _RUNNING:
            raise Busy("a command is running on this machine, so its processes cannot be kept")
        try:
            return self._say(codec.Keep())
        except codec.EncodeError:
            raise UsageError(
                "the processes of this guest cannot be kept: it speaks version "
                f"{self._version} of the protocol",
                hint=BUILD_AGAIN,
            ) from None

    def ping(self, token: int) -> bytes:
        """Encode `ping`, which the guest answers with a `Pong` that has the same token."""
        frame = self._say(codec.Ping(token))
        self._pings.append(token)
        return frame

    def status_request(self) -> bytes:
        """Encode `status_request`, which the guest answers with a `Status`."""
        frame = self._say(codec.StatusRequest())
        self._statuses += 1
        return frame

    def shutdown(self) -> bytes:
        """Encode `shutdown`. The guest answers with `Goodbye`, and shuts down."""
        return self._say(codec.Shutdown())

    def exec_request(self, request: codec.ExecRequest) -> bytes:
        """Encode `exec_request`, which asks the guest to run a command.

        :param request: Description of the command, in which the session sets the id and the
            credits.
        :raises Busy: Raised if a command is running.
        :raises UsageError: Raised if the request is too long, or contains a NUL byte.
        """
        if self.command in _RUNNING:
            raise Busy("a command is running on this machine, and it takes one at a time")
        if self.command is CommandState.ENDED:
            self._enter(CommandState.NEW)
        request = replace(request, id=self._id + 1, stdout_credit=WINDOW, stderr_credit=WINDOW)
        try:
            frame = self._say(request)
        except codec.EncodeError as error:
            raise UsageError(f"the command cannot be sent: {error}") from None
        self._id += 1
        self._limits_memory = request.max_memory > 0
        self._credit = dict.fromkeys(codec.Stream, WINDOW)
        self._owed = dict.fromkeys(codec.Stream, 0)
        self.takes_stdin = request.stdin_from == codec.StdinKind.HOST or request.rows > 0
        self.stdin_credit = 0
        return frame

    def exec_signal(self, signal: int) -> bytes:
        """Encode a message that sends a signal to the process group of the running command."""
        try:
            return self._say_of_command(codec.ExecSignal(self._id, signal))
        except codec.EncodeError:
            raise UsageError(f"no signal has the number {signal}") from None

    def exec_kill(self) -> bytes:
        """Encode a message that kills the running command.

        The guest still sends its `ExecResponse`.
        """
        return self._say_of_command(codec.ExecKill(self._id))

    def exec_terminate(self) -> bytes:
        """Encode a message that sends SIGTERM to the running command.

        When the command exits, the processes that it leaves behind are killed.
        """
        return self._say_of_command(codec.ExecTerminate(self._id))

    def exec_resize(self, rows: int, columns: int) -> bytes:
        """Encode a message that sets the size of the running command's terminal."""
        try:
            return self._say_of_command(codec.ExecResize(self._id, rows, columns))
        except codec.EncodeError:
            raise UsageError(f"no terminal has {rows} lines and {columns} columns") from None

    def exec_stdin(self, data: bytes | memoryview) -> tuple[bytes | memoryview, ...]:
        """Encode standard input for the running command; empty data closes its standard input.

        :param data: Input, at most `stdin_credit` and at most :data:`STDIN_CHUNK` bytes.
        :return: Parts of the encoded message. One of them is `data` itself, so the data must not
            change until it is sent. The tuple is empty if the command has exited.
        """
        if not self._can_say(codec.ExecStdin):
            return ()
        if len(data) > self.stdin_credit:
            raise UsageError(f"{len(data)} bytes are more than the credit of {self.stdin_credit}")
        self.stdin_credit -= len(data)
        return codec.ExecStdin(self._id, data).encode_parts(self._version)

    def consumed(self, stream: codec.Stream, amount: int) -> bytes:
        """Record that `amount` bytes of `stream` were read. Encode a message that requests more.

        While few bytes were read since the last message, return no bytes, because a message for
        each read would be wasteful.
        """
        if not self._can_say(codec.ExecCredit):
            return b""
        self._owed[stream] += amount
        if self._owed[stream] < WINDOW // 2:
            return b""
        amount, self._owed[stream] = self._owed[stream], 0
        self._credit[stream] += amount
        return codec.ExecCredit(self._id, stream, amount).encode(self._version)

    def receive_data(self, data: bytes) -> None:
        """Pass bytes from the guest to the decoder.

        Messages with output refer to `data` and do not copy it.
        """
        if not self.failed:
            self._decoder.receive_data(data)
        if self.state in _BEFORE_READY:
            self._stale += len(data)

    def next_event(self) -> codec.Message | None:
        """Return the guest's next message for the caller; None if more bytes are needed.

        Messages of an older session are dropped. If there are many of them, this method returns
        None and sets :attr:`is_behind`; then call it again later.

        :raises VersionMismatch: Raised if the guest was built from a schema that the host does not
            know.
        :raises ProtocolError: Raised if the guest violated the protocol. The session cannot be used
            again.
        """
        if self.failed:
            return None
        try:
            if self._stale > _STALE_LIMIT:
                raise ProtocolError("the guest sends data, but does not answer", hint=_HINT)
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
            self._fail()
            said = f"the guest sent a malformed frame: {error}"
            raise ProtocolError(said, hint=_HINT) from None
        except ProtocolError:
            self._fail()
            raise
        self.is_behind = False
        return None

    def _accept(self, message: codec.Message) -> bool:
        """Check a message of the guest, and change to the state that follows the message.

        Return True if the message is for the caller, False if it belongs to an older session.
        """
        following = self._from_guest.get(message.TYPE)
        if following is None and type(message) in SESSION_GUEST_IGNORED[self.state]:
            return False
        if isinstance(message, codec.Error):
            raise self._refused(message)
        if following is None:
            raise self._out_of_order(message)
        match message:
            case codec.ExecOutput(id=id_, stream=stream, data=data):
                self._expect(id_ == self._id and 0 < len(data) <= self._credit[stream], message)
                self._credit[stream] -= len(data)
            case codec.ExecResponse(id=id_) | codec.ExecFailed(id=id_):
                self._expect(id_ == self._id and self._can_be(message), message)
            case codec.ExecStdinCredit(id=id_, amount=amount):
                self._expect(id_ == self._id and self.takes_stdin and amount > 0, message)
                self.stdin_credit = min(self.stdin_credit + amount, _MAX_STDIN_CREDIT)
            case codec.ExecStdinClosed(id=id_):
                self._expect(id_ == self._id and self.takes_stdin, message)
                self.takes_stdin = False
                self.stdin_credit = 0
            case codec.Pong(token=token):
                self._expect(token in self._pings, message)
                self._pings.remove(token)
            case codec.Status():
                self._expect(self._statuses > 0, message)
                self._statuses -= 1
            case codec.Ready(nonce=nonce):
                if nonce != self._nonce:
                    return False
                self._agree(message)
        if following is not self.state and following is not self.command:
            self._enter(following)
        return True

    def _agree(self, ready: codec.Ready) -> None:
        """Choose the protocol version to use: the older one of the versions of host and guest."""
        # A guest with a newer schema needs no check of its digest, because it also supports the
        # host's version. `microvm-proto breaking` ensures this for each release.
        newer = ready.version > codec.VERSION
        if not newer and codec.DIGESTS.get(ready.version) != ready.digest:
            host = (codec.VERSION, codec.DIGEST)
            raise VersionMismatch(host=host, guest=(ready.version, ready.digest))
        self._version = self._decoder.version = min(codec.VERSION, ready.version)

    def _can_be(self, message: codec.ExecResponse | codec.ExecFailed) -> bool:
        """Return True if the running command can have ended in the way that the guest reports."""
        if isinstance(message, codec.ExecFailed) or message.ending is codec.Ending.EXITED:
            return True
        limited = message.ending is not codec.Ending.OUT_OF_MEMORY or self._limits_memory
        # A command killed by signal N gets the return code -N. So we refuse signal 0, which would
        # look like success.
        return limited and 0 < message.status < NSIG

    def _expect(self, right: bool, message: codec.Message) -> None:
        if not right:
            raise self._out_of_order(message)

    def _refused(self, error: codec.Error) -> ProtocolError:
        name = error.code.name.lower() if isinstance(error.code, codec.ErrorCode) else error.code
        said = f"the guest refused a frame of type {error.refused_type}: {name}"
        return ProtocolError(f"{said} at offset {error.offset}", hint=_HINT)

    def _out_of_order(self, message: codec.Message) -> ProtocolError:
        name = type(message).__name__
        said = f"the guest sent {name}, which is not allowed now ({self._now})"
        return ProtocolError(said, hint=_HINT)
