"""The host's side of the protocol with the guest's program `relay`, without I/O.

A session knows the state of each stream and listener, and the credit of each stream. The credit is
the number of bytes that a side may still send. A method that sends a message only returns its
bytes, and the caller writes them to the program. The tables in :mod:`microvm.wire.stream_state`
contain the messages that are allowed in each state. Any other message comes from a broken or
hostile guest.
"""

from __future__ import annotations

from dataclasses import dataclass

from microvm.errors import ProtocolError, UsageError
from microvm.wire import streams
from microvm.wire.stream_state import (
    STREAM_GUEST,
    STREAM_GUEST_IGNORED,
    STREAM_HOST,
    STREAM_MAXIMA,
    StreamState,
)

WINDOW = 1 << 18
"""Number of bytes of each stream that the guest may send before the host allows more."""

_MAX_CREDIT = STREAM_MAXIMA["host_credit"]


@dataclass(slots=True)
class _Stream:
    """The host's copy of the state of an open stream or listener.

    :ivar credit: Number of bytes that the host may still send.
    :ivar given: Number of bytes that the guest may still send.
    :ivar owed: Number of consumed bytes for which the guest has not received new credit yet.
    """

    state: StreamState
    credit: int = 0
    given: int = WINDOW
    owed: int = 0


def check_server(server: int | str) -> None:
    """Check the TCP port, or the path of a Unix socket, to which a guest will connect.

    :raises UsageError: If it is invalid.
    """
    try:
        if server in (0, ""):
            raise ValueError("a port is at least 1, and a path is not empty")
        _connect(1, server).encode()
    except (streams.EncodeError, UnicodeError, ValueError, TypeError) as error:
        raise UsageError(f"the guest cannot connect to {server!r}: {error}") from None


def check_guest_port(port: int) -> None:
    """Check a TCP port on which a guest will listen. The number 0 stands for a free port.

    :raises UsageError: If it is invalid.
    """
    try:
        streams.Listen(1, port).encode()
    except (streams.EncodeError, TypeError) as error:
        raise UsageError(f"the guest cannot listen on port {port!r}: {error}") from None


def _connect(id_: int, server: int | str) -> streams.Connect:
    if isinstance(server, str):
        return streams.Connect(id_, WINDOW, 0, server.encode(errors="surrogateescape"))
    return streams.Connect(id_, WINDOW, server, b"")


class StreamSession:
    """The host's side of all streams of one run of `relay`.

    A method about a stream returns no bytes if the stream's state does not allow the message, for
    example because the guest has closed the stream.
    """

    def __init__(self) -> None:
        """Create a session without streams."""
        self._decoder = streams.Decoder("guest")
        self._streams: dict[int, _Stream] = {}
        self._last_id = 0

    def connect(self, server: int | str) -> tuple[int, bytes]:
        """Encode a message that begins a stream, and return the stream's id and the message.

        :param server: TCP port, or path of a Unix socket, to which the guest connects.
        """
        return self._begin(_connect(self._last_id + 1, server))

    def listen(self, port: int) -> tuple[int, bytes]:
        """Encode a message that opens a listener, and return the listener's id and the message."""
        return self._begin(streams.Listen(self._last_id + 1, port))

    def accept(self, listener: int) -> tuple[int, bytes]:
        """Encode a message that accepts the next client of a listener as a new stream.

        At most one such message may wait at each listener.

        :return: Id of the stream, and the message.
        """
        return self._begin(streams.Accept(self._last_id + 1, WINDOW, listener))

    def credit(self, id_: int) -> int:
        """Return the number of bytes that the host may send on a stream now."""
        stream = self._streams.get(id_)
        can_send = stream and streams.Data in STREAM_HOST[stream.state]
        return stream.credit if stream and can_send else 0

    def data(self, id_: int, data: bytes) -> bytes:
        """Encode data. They must not exceed the stream's credit or the size of a message."""
        if len(data) > self.credit(id_):
            raise UsageError(f"{len(data)} bytes are more than the credit of {self.credit(id_)}")
        self._streams[id_].credit -= len(data)
        return streams.Data(id_, data).encode()

    def eof(self, id_: int) -> bytes:
        """Encode the end of the host's data."""
        return self._say(streams.Eof(id_))

    def reset(self, id_: int) -> bytes:
        """Encode a message that closes a stream or a listener at once."""
        return self._say(streams.Reset(id_))

    def consumed(self, id_: int, amount: int) -> bytes:
        """Record consumed bytes. Return a `credit` message when half a window was consumed.

        Otherwise, return no bytes.
        """
        if (stream := self._streams.get(id_)) is None:
            return b""
        stream.owed += amount
        if stream.owed < WINDOW // 2:
            return b""
        amount, stream.owed = stream.owed, 0
        frame = self._say(streams.Credit(id_, amount))
        stream.given += amount
        return frame

    def receive_data(self, data: bytes) -> None:
        """Pass output of the program to the decoder. Data of messages can be views into `data`."""
        self._decoder.receive_data(data)

    def next_event(self) -> streams.Message | None:
        """Return the guest's next message; None if more bytes are needed.

        :raises ProtocolError: If the guest sent an invalid message, or one that is out of order.
            The session cannot be used again.
        """
        try:
            while (message := self._decoder.next_message()) is not None:
                if self._follow(message):
                    return message
        except streams.DecodeError as error:
            raise ProtocolError(f"the guest sent an invalid message: {error}") from None
        return None

    def _begin(
        self, message: streams.Connect | streams.Listen | streams.Accept
    ) -> tuple[int, bytes]:
        self._last_id = message.id
        self._streams[message.id] = _Stream(STREAM_HOST[StreamState.NEW][type(message)])
        return message.id, message.encode()

    def _say(self, message: streams.Eof | streams.Reset | streams.Credit) -> bytes:
        """Encode a message, and change to the state that follows it."""
        stream = self._streams.get(message.id)
        following = STREAM_HOST[stream.state].get(type(message)) if stream else None
        if following is None:
            return b""
        self._enter(message.id, following)
        return message.encode()

    def _enter(self, id_: int, following: StreamState) -> None:
        if following is StreamState.CLOSED:
            del self._streams[id_]
        else:
            self._streams[id_].state = following

    def _follow(self, message: streams.Message) -> bool:
        """Change to the state after a message of the guest. Return False if it is ignored."""
        stream, kind = self._streams.get(message.id), type(message)
        if stream is None:
            state = StreamState.NEW if message.id > self._last_id else StreamState.CLOSED
        else:
            state = stream.state
        following = STREAM_GUEST[state].get(kind)
        if stream is None or following is None:
            if kind in STREAM_GUEST_IGNORED[state]:
                return False
            name = kind.__name__.lower()
            raise ProtocolError(f"the guest sent `{name}` in the state `{state.name.lower()}`")
        match message:
            case (
                streams.Connected(credit=amount)
                | streams.Accepted(credit=amount)
                | streams.Credit(amount=amount)
            ):
                stream.credit = min(stream.credit + amount, _MAX_CREDIT)
            case streams.Data(data=data):
                if len(data) > stream.given:
                    raise ProtocolError("the guest sent more data than the host allows")
                stream.given -= len(data)
        self._enter(message.id, following)
        return True
