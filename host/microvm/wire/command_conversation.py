"""The host's side of the conversation with a guest about one command, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from signal import NSIG
from typing import TypeVar

from microvm.errors import UsageError
from microvm.wire import codec
from microvm.wire.state import COMMAND_GUEST, COMMAND_HOST, COMMAND_MAXIMA, CommandState

STDIN_CHUNK = codec.ExecStdin.MAX_BODY
"""Maximum number of bytes of standard input in one message."""

_MAX_STDIN_CREDIT = COMMAND_MAXIMA["stdin_credit"]

S = TypeVar("S")


def by_type(steps: Mapping[type[codec.Message], Mapping[str, S]]) -> dict[int, S]:
    """Return the steps of one state of a table, by the number of the message's type.

    The result lacks the conditions of the steps, because the methods of a conversation check them.
    """
    found: dict[int, S] = {}
    for kind, following in steps.items():
        (found[kind.TYPE],) = following.values()
    return found


_FROM_HOST = {state: by_type(steps) for state, steps in COMMAND_HOST.items()}
_FROM_GUEST = {state: by_type(steps) for state, steps in COMMAND_GUEST.items()}


class CommandConversation:
    """The host's copy of the conversation about one command: its state and its credits.

    A session creates this object with the command's request. Methods that send a message only
    return its bytes, and the caller writes them to the guest. They return no bytes if the command
    has exited, or if its session has ended.

    :ivar id: Id of the command in its session.
    :ivar name: First argument of the command, or its program if it has no arguments.
    :ivar beside: True if other commands may run at the same time as this one.
    :ivar state: Current state of the conversation.
    :ivar takes_stdin: True if the host may send standard input to the command.
    :ivar stdin_credit: Number of bytes of standard input that may be sent now; 0 after the command
        has closed its standard input.
    """

    def __init__(self, request: codec.ExecRequest, version: int, window: Callable[[], int]) -> None:
        """Begin the conversation about the command that a request describes.

        :param request: Request with its id and credits.
        :param version: Version of the protocol in which messages are encoded.
        :param window: Function that returns the maximum number of bytes of each output stream that
            the guest may have sent, or may still send, and that the user has not read. New credit
            never exceeds this maximum.
        """
        self.id = request.id
        self.name = request.argv[0] if request.argv else request.command
        self.beside = request.beside
        self.takes_stdin = request.stdin_from == codec.StdinKind.HOST or request.rows > 0
        self.stdin_credit = 0
        self._version = version
        self._limits_memory = request.max_memory > 0
        self._credit = {
            codec.Stream.STDOUT: request.stdout_credit,
            codec.Stream.STDERR: request.stderr_credit,
        }
        self._window = window
        # For each output stream, the number of bytes for which the guest has got credit, and which
        # the user has not read yet.
        self._unread = dict(self._credit)
        self._enter(CommandState.REQUESTED)

    def _enter(self, following: CommandState) -> None:
        self.state = following
        self._from_host = _FROM_HOST[following]
        self._from_guest = _FROM_GUEST[following]

    def silence(self) -> None:
        """Encode no more messages, because the session has ended or is about to end."""
        self._from_host = {}

    def _can_say(self, kind: type[codec.Message]) -> bool:
        return kind.TYPE in self._from_host

    def _say(self, message: codec.Message) -> bytes:
        return message.encode(self._version) if self._can_say(type(message)) else b""

    def signal(self, signal: int) -> bytes:
        """Encode a message that sends a signal to the process group of the command."""
        try:
            return self._say(codec.ExecSignal(self.id, signal))
        except codec.EncodeError:
            raise UsageError(f"no signal has the number {signal}") from None

    def kill(self) -> bytes:
        """Encode a message that kills the command. The guest still sends its `ExecResponse`."""
        return self._say(codec.ExecKill(self.id))

    def terminate(self) -> bytes:
        """Encode a message that sends SIGTERM to the command.

        When the command exits, the processes that it leaves behind are killed.
        """
        return self._say(codec.ExecTerminate(self.id))

    def resize(self, rows: int, columns: int) -> bytes:
        """Encode a message that sets the size of the command's terminal."""
        try:
            return self._say(codec.ExecResize(self.id, rows, columns))
        except codec.EncodeError:
            raise UsageError(f"no terminal has {rows} lines and {columns} columns") from None

    def stdin(self, data: bytes | memoryview) -> tuple[bytes | memoryview, ...]:
        """Encode standard input for the command; empty data closes its standard input.

        :param data: Input, at most `stdin_credit` and at most :data:`STDIN_CHUNK` bytes.
        :return: Parts of the encoded message. One of them is `data` itself, so the data must not
            change until it is sent. The tuple is empty if the command has exited.
        """
        if not self._can_say(codec.ExecStdin):
            return ()
        if len(data) > self.stdin_credit:
            raise UsageError(f"{len(data)} bytes are more than the credit of {self.stdin_credit}")
        self.stdin_credit -= len(data)
        return codec.ExecStdin(self.id, data).encode_parts(self._version)

    def consumed(self, stream: codec.Stream, amount: int) -> bytes:
        """Record that `amount` bytes of `stream` were read. Encode credit for more bytes.

        Return no bytes if only few bytes were read since the last such message, because a message
        for each read would be wasteful.
        """
        if not self._can_say(codec.ExecCredit):
            return b""
        self._unread[stream] -= amount
        window = self._window()
        if self._unread[stream] > window // 2:
            return b""
        more = window - self._unread[stream]
        self._unread[stream] = window
        self._credit[stream] += more
        return codec.ExecCredit(self.id, stream, more).encode(self._version)

    def accept(self, message: codec.Message) -> bool:
        """Update the state after a message of the guest; return False if it is out of order."""
        following = self._from_guest.get(message.TYPE)
        if following is None:
            return False
        match message:
            case codec.ExecOutput(stream=stream, data=data):
                if not 0 < len(data) <= self._credit[stream]:
                    return False
                self._credit[stream] -= len(data)
            case codec.ExecResponse() if not self._can_be(message):
                return False
            case codec.ExecStdinCredit(amount=amount):
                if not self.takes_stdin or not amount:
                    return False
                self.stdin_credit = min(self.stdin_credit + amount, _MAX_STDIN_CREDIT)
            case codec.ExecStdinClosed():
                if not self.takes_stdin:
                    return False
                self.takes_stdin = False
                self.stdin_credit = 0
        if following is not self.state:
            self._enter(following)
        return True

    def _can_be(self, response: codec.ExecResponse) -> bool:
        """Return True if the return code and signal that the guest reports are possible."""
        if response.ending is codec.Ending.EXITED:
            return True
        limited = response.ending is not codec.Ending.OUT_OF_MEMORY or self._limits_memory
        # A command killed by signal N gets the return code -N. So we refuse signal 0, which would
        # look like success.
        return limited and 0 < response.status < NSIG
