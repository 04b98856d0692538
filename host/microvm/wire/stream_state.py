"""States of the conversations of streams. Generated from streams.toml."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

from microvm.wire import streams as codec


class StreamState(enum.Enum):
    """The conversation about one stream.

    Each side has its own copy of the state, which changes when the side sends or receives a
    message.
    """

    NEW = 1
    """No `connect` has this id or a higher one."""
    CONNECTING = 2
    """The guest connects to the server."""
    OPEN = 3
    """Both sides can send data."""
    HOST_ENDED = 4
    """The host sends no more data.

    Credit of the guest can still be on its way.
    """
    GUEST_ENDED = 5
    """The guest sends no more data.

    Credit of the host can still be on its way.
    """
    CLOSED = 6
    """The stream is closed.

    Messages of the other side can still be on their way.
    """


StreamSteps: TypeAlias = Mapping[StreamState, Mapping[type[codec.Message], StreamState]]
"""For each state, the messages that one side may send, and the state that follows each."""


STREAM_HOST: StreamSteps = {
    StreamState.NEW: {
        codec.Connect: StreamState.CONNECTING,
    },
    StreamState.CONNECTING: {
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
    StreamState.CLOSED: {},
}
"""The messages that the host may send in each state."""


STREAM_GUEST: StreamSteps = {
    StreamState.NEW: {},
    StreamState.CONNECTING: {
        codec.Connected: StreamState.OPEN,
        codec.Refused: StreamState.CLOSED,
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
    StreamState.CLOSED: {},
}
"""The messages that the guest may send in each state."""


STREAM_HOST_IGNORED: Mapping[StreamState, frozenset[type[codec.Message]]] = {
    StreamState.NEW: frozenset(),
    StreamState.CONNECTING: frozenset(),
    StreamState.OPEN: frozenset(),
    StreamState.HOST_ENDED: frozenset(),
    StreamState.GUEST_ENDED: frozenset({codec.Credit}),
    StreamState.CLOSED: frozenset({codec.Data, codec.Credit, codec.Eof, codec.Reset}),
}
"""The messages of the host that are ignored in each state, unless a step of the state applies."""


STREAM_GUEST_IGNORED: Mapping[StreamState, frozenset[type[codec.Message]]] = {
    StreamState.NEW: frozenset(),
    StreamState.CONNECTING: frozenset(),
    StreamState.OPEN: frozenset(),
    StreamState.HOST_ENDED: frozenset({codec.Credit}),
    StreamState.GUEST_ENDED: frozenset(),
    StreamState.CLOSED: frozenset(
        {
            codec.Connected,
            codec.Refused,
            codec.Data,
            codec.Credit,
            codec.Eof,
            codec.Reset,
        }
    ),
}
"""The messages of the guest that are ignored in each state, unless a step of the state applies."""


STREAM_MAXIMA: Mapping[str, int] = {
    "host_credit": 4294967295,
    "guest_credit": 4294967295,
}
"""The maximum of each counter that has one."""
