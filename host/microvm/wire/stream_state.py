"""States of the conversations of streams. Generated from streams.toml."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

from microvm.wire import streams as codec


class StreamState(enum.Enum):
    """The conversation about one stream or listener.

    Each side has its own copy of the state, which changes when the side sends or receives a
    message.
    """

    NEW = 1
    """The host has sent no message with this id or a higher one."""
    CONNECTING = 2
    """The guest connects to the server."""
    ACCEPTING = 3
    """The guest waits for a client of the listener."""
    OPEN = 4
    """Both sides can send data."""
    HOST_ENDED = 5
    """The host sends no more data.

    Credit that the guest has sent can still arrive.
    """
    GUEST_ENDED = 6
    """The guest sends no more data.

    Credit of the host can still be on its way.
    """
    BINDING = 7
    """The guest opens the sockets of the listener."""
    LISTENING = 8
    """Clients in the guest can connect to the listener."""
    CLOSED = 9
    """The stream or listener is closed.

    Messages that the other side has sent before can still arrive.
    """


StreamSteps: TypeAlias = Mapping[StreamState, Mapping[type[codec.Message], StreamState]]
"""For each state, the messages that one side may send, and the state that follows each."""


STREAM_HOST: StreamSteps = {
    StreamState.NEW: {
        codec.Connect: StreamState.CONNECTING,
        codec.Accept: StreamState.ACCEPTING,
        codec.Listen: StreamState.BINDING,
    },
    StreamState.CONNECTING: {
        codec.Reset: StreamState.CLOSED,
    },
    StreamState.ACCEPTING: {
        codec.Reset: StreamState.CLOSED,
    },
    StreamState.OPEN: {
        codec.Data: StreamState.OPEN,
        codec.Credit: StreamState.OPEN,
        codec.Eof: StreamState.HOST_ENDED,
        codec.Reset: StreamState.CLOSED,
    },
    StreamState.HOST_ENDED: {
        codec.Credit: StreamState.HOST_ENDED,
        codec.Reset: StreamState.CLOSED,
    },
    StreamState.GUEST_ENDED: {
        codec.Data: StreamState.GUEST_ENDED,
        codec.Eof: StreamState.CLOSED,
        codec.Reset: StreamState.CLOSED,
    },
    StreamState.BINDING: {
        codec.Reset: StreamState.CLOSED,
    },
    StreamState.LISTENING: {
        codec.Reset: StreamState.CLOSED,
    },
    StreamState.CLOSED: {},
}
"""The messages that the host may send in each state."""


STREAM_GUEST: StreamSteps = {
    StreamState.NEW: {},
    StreamState.CONNECTING: {
        codec.Connected: StreamState.OPEN,
        codec.Refused: StreamState.CLOSED,
    },
    StreamState.ACCEPTING: {
        codec.Accepted: StreamState.OPEN,
        codec.NotAccepted: StreamState.CLOSED,
    },
    StreamState.OPEN: {
        codec.Data: StreamState.OPEN,
        codec.Credit: StreamState.OPEN,
        codec.Eof: StreamState.GUEST_ENDED,
        codec.Reset: StreamState.CLOSED,
    },
    StreamState.HOST_ENDED: {
        codec.Data: StreamState.HOST_ENDED,
        codec.Eof: StreamState.CLOSED,
        codec.Reset: StreamState.CLOSED,
    },
    StreamState.GUEST_ENDED: {
        codec.Credit: StreamState.GUEST_ENDED,
        codec.Reset: StreamState.CLOSED,
    },
    StreamState.BINDING: {
        codec.Listening: StreamState.LISTENING,
        codec.NotListening: StreamState.CLOSED,
    },
    StreamState.LISTENING: {},
    StreamState.CLOSED: {},
}
"""The messages that the guest may send in each state."""


STREAM_HOST_IGNORED: Mapping[StreamState, frozenset[type[codec.Message]]] = {
    StreamState.NEW: frozenset(),
    StreamState.CONNECTING: frozenset(),
    StreamState.ACCEPTING: frozenset(),
    StreamState.OPEN: frozenset(),
    StreamState.HOST_ENDED: frozenset(),
    StreamState.GUEST_ENDED: frozenset({codec.Credit}),
    StreamState.BINDING: frozenset(),
    StreamState.LISTENING: frozenset(),
    StreamState.CLOSED: frozenset({codec.Data, codec.Credit, codec.Eof, codec.Reset}),
}
"""The messages of the host that are ignored in each state, unless a step of the state applies."""


STREAM_GUEST_IGNORED: Mapping[StreamState, frozenset[type[codec.Message]]] = {
    StreamState.NEW: frozenset(),
    StreamState.CONNECTING: frozenset(),
    StreamState.ACCEPTING: frozenset(),
    StreamState.OPEN: frozenset(),
    StreamState.HOST_ENDED: frozenset({codec.Credit}),
    StreamState.GUEST_ENDED: frozenset(),
    StreamState.BINDING: frozenset(),
    StreamState.LISTENING: frozenset(),
    StreamState.CLOSED: frozenset(
        {
            codec.Connected,
            codec.Refused,
            codec.Data,
            codec.Credit,
            codec.Eof,
            codec.Reset,
            codec.Listening,
            codec.NotListening,
            codec.Accepted,
            codec.NotAccepted,
        }
    ),
}
"""The messages of the guest that are ignored in each state, unless a step of the state applies."""


STREAM_MAXIMA: Mapping[str, int] = {
    "host_credit": 4294967295,
    "guest_credit": 4294967295,
}
"""The maximum of each counter that has one."""
