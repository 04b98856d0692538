"""The host's side of the protocol with an interpreter in the guest, without I/O.

A session knows the state of the conversation, the credit of the guest, and the pieces of the text
that the guest is sending. A method that sends a message only returns its bytes, and the caller
writes them to the connection. The tables in :mod:`microvm.wire.interpreter_state` contain the
messages that are allowed in each state. Any other message comes from a broken or hostile guest.
"""

from __future__ import annotations

from collections.abc import Callable

from microvm.errors import ProtocolError, UsageError
from microvm.wire import interpreter
from microvm.wire.interpreter import (
    MAX_TEXT,
    Answer,
    Assign,
    Credit,
    DecodeError,
    Display,
    EncodeError,
    Fetch,
    Interrupt,
    Kill,
    KillStarted,
    Message,
    Output,
    Piece,
    Renew,
    Result,
    Run,
    Value,
)
from microvm.wire.interpreter_state import (
    INTERPRETER_GUEST,
    INTERPRETER_GUEST_IGNORED,
    INTERPRETER_HOST,
    InterpreterState,
)

WINDOW = 1 << 18
"""Number of bytes of output that the guest may send before the host allows more."""

_CHUNK = 1 << 15  # number of bytes in each piece of a long text of the host


class InterpreterSession:
    """The host's side of one connection to an interpreter.

    :ivar text: The complete text of the last event, if that is a `display`, a `result` or a
        `value`. The field of the event itself contains only the last bytes of the text.
    :ivar size: Size of that text in bytes. A `display` is incomplete if `text` is shorter.
    """

    def __init__(self) -> None:
        """Create a session whose guest has not sent a message yet."""
        self.text = b""
        self.size = 0
        self._decoder = interpreter.Decoder("guest")
        self._state = InterpreterState.NEW
        self._given = 0  # number of bytes that the guest may still send
        self._owed = WINDOW  # number of bytes for which the guest has not received credit yet
        self._max_stored = MAX_TEXT
        self._pieces = bytearray()
        self._size = 0  # number of bytes in the pieces, also of those that are not stored

    def run(self, code: str, *, max_display: int = 0) -> bytes:
        """Encode a request to execute a cell.

        :param max_display: Maximum number of bytes of a `display` to store; a value below
            :data:`MAX_TEXT` counts as :data:`MAX_TEXT`. The session drops all further bytes.
        :raises UsageError: If the code is too long or cannot be encoded.
        """
        self._max_stored = max(max_display, MAX_TEXT)
        return self._long("the code of a cell", code, Run)

    def assign(self, name: str, json: str) -> bytes:
        """Encode a request to set a variable to a value, which is given as JSON.

        :raises UsageError: If the value is too long or cannot be encoded.
        """
        return self._long(
            f"the value of {name}", json, lambda offset, rest: Assign(name, offset, rest)
        )

    def fetch(self, name: str) -> bytes:
        """Encode a request for the value of a variable."""
        return self._say(Fetch(name))

    def renew(self, seed: bytes) -> bytes:
        """Encode a request to seed the generators of random numbers with 32 bytes."""
        return self._say(Renew(seed))

    def answer(self, question: int, line: str | None) -> bytes:
        """Encode the answer to a question of the cell; None refuses to answer.

        A line that is too long or that cannot be encoded is refused, too.
        """
        try:
            return self._say(Answer(question, line is not None, line or ""))
        except (EncodeError, UnicodeError):
            return self._say(Answer(question, False, ""))

    def interrupt(self) -> bytes:
        """Encode a request to raise KeyboardInterrupt; no bytes if the guest executes nothing."""
        return self._say(Interrupt())

    def kill_started(self) -> bytes:
        """Encode a request to kill the processes that the current request has started.

        Return no bytes if the guest executes no request.
        """
        return self._say(KillStarted())

    def kill(self) -> bytes:
        """Encode a request to kill the interpreter; no bytes if it is already dead."""
        return self._say(Kill())

    def credit(self) -> bytes:
        """Encode new credit for the guest. Return no bytes if it has used less than half a window.

        A caller that cannot take more output calls this method later.
        """
        if self._owed < WINDOW // 2:
            return b""
        frame = self._say(Credit(self._owed))
        if frame:
            self._given += self._owed
            self._owed = 0
        return frame

    def receive_data(self, data: bytes) -> None:
        """Pass bytes of the connection to the decoder. Events can contain views of `data`."""
        self._decoder.receive_data(data)

    def next_event(self) -> Message | None:
        """Return the guest's next message except `piece`; None if more bytes are needed.

        :raises ProtocolError: If the guest sent an invalid message, or one that is out of order.
            The session cannot be used again.
        """
        try:
            while (message := self._decoder.next_message()) is not None:
                if self._follow(message):
                    return message
        except DecodeError as error:
            raise ProtocolError(f"the guest sent an invalid message: {error}") from None
        return None

    def _long(self, what: str, text: str, complete: Callable[[int, bytes], Message]) -> bytes:
        """Encode a text: its pieces, and the message that completes it."""
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{what} cannot be encoded: {error}") from None
        if len(data) > MAX_TEXT:
            raise UsageError(f"{what} has {len(data)} bytes, more than the maximum of {MAX_TEXT}")
        starts = range(0, max(len(data) - _CHUNK, 0), _CHUNK)
        pieces = [self._say(Piece(start, data[start : start + _CHUNK])) for start in starts]
        sent = len(starts) * _CHUNK
        return b"".join([*pieces, self._say(complete(sent, data[sent:]))])

    def _say(self, message: Message) -> bytes:
        """Encode a message, and change the state. Return no bytes if it is not allowed now."""
        following = INTERPRETER_HOST[self._state].get(type(message))
        if following is None:
            return b""
        frame = message.encode()
        self._state = following
        return frame

    def _follow(self, message: Message) -> bool:
        """Change to the state after a message. Return False if `next_event` must not return it."""
        kind = type(message)
        following = INTERPRETER_GUEST[self._state].get(kind)
        if following is None:
            if kind in INTERPRETER_GUEST_IGNORED[self._state]:
                return False
            name, state = kind.__name__.lower(), self._state.name.lower()
            raise ProtocolError(f"the guest sent `{name}` in the state `{state}`")
        self._state = following
        match message:
            case Output(data=data):
                self._take(len(data))
            case Piece(offset=offset, data=data):
                self._take(len(data))
                self._add(offset, data)
                return False
            case Display(offset=offset, data=data):
                self._take(len(data))
                self._complete(offset, data)
            case Result(offset=offset, value=data) | Value(offset=offset, json=data):
                self._complete(offset, data)
                if self.size > MAX_TEXT:
                    raise ProtocolError("the guest sent a text that is longer than the maximum")
        return True

    def _take(self, size: int) -> None:
        """Subtract the size of data from the credit of the guest."""
        if size > self._given:
            raise ProtocolError("the guest sent more data than the host allows")
        self._given -= size
        self._owed += size

    def _add(self, offset: int, data: bytes | memoryview) -> None:
        """Add a piece to the text. An offset of 0 begins a new text."""
        if offset == 0:
            self._pieces, self._size = bytearray(), 0
        if offset != self._size:
            raise ProtocolError("the guest sent a piece of a text that is out of order")
        room = self._max_stored - len(self._pieces)
        self._pieces += data[:room]
        self._size += len(data)

    def _complete(self, offset: int, data: bytes | memoryview) -> None:
        """Set `text` and `size` to the text whose last piece is in a message."""
        self._add(offset, data)
        self.text, self.size = bytes(self._pieces), self._size
        self._pieces, self._size = bytearray(), 0
