"""States of the conversations of sandboxd. Generated from sandboxd.toml."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

from microvm.wire import codec


class SessionState(enum.Enum):
    """The conversation between a host and a guest, as the host sees it.

    If the guest sends a message that is not in order, the host changes to the state `failed`.
    Messages before the guest's `ready` are an exception: they belong to an older session, and the
    host drops them.
    """

    NEW = 1
    """The host has not sent a message yet."""
    GREETING = 2
    """The host has sent `hello`, and waits for `ready`."""
    IDLE = 3
    """The guest is ready, and no command is running."""
    RUNNING = 4
    """The guest is running a command."""
    FAILED = 5
    """The guest has violated the protocol.

    No other state follows.
    """


SessionSteps: TypeAlias = Mapping[SessionState, Mapping[type[codec.Message], SessionState]]
"""For each state, the messages that one side may send, and the state that follows each."""


SESSION_HOST: SessionSteps = {
    SessionState.NEW: {
        codec.Hello: SessionState.GREETING,
    },
    SessionState.GREETING: {
        codec.Hello: SessionState.GREETING,
    },
    SessionState.IDLE: {
        codec.Hello: SessionState.GREETING,
        codec.Resume: SessionState.IDLE,
        codec.Keep: SessionState.IDLE,
        codec.Ping: SessionState.IDLE,
        codec.StatusRequest: SessionState.IDLE,
        codec.Shutdown: SessionState.IDLE,
        codec.ExecRequest: SessionState.RUNNING,
    },
    SessionState.RUNNING: {
        codec.Hello: SessionState.GREETING,
        codec.Ping: SessionState.RUNNING,
        codec.StatusRequest: SessionState.RUNNING,
        codec.Shutdown: SessionState.RUNNING,
        codec.ExecStdin: SessionState.RUNNING,
        codec.ExecCredit: SessionState.RUNNING,
        codec.ExecResize: SessionState.RUNNING,
        codec.ExecSignal: SessionState.RUNNING,
        codec.ExecTerminate: SessionState.RUNNING,
        codec.ExecKill: SessionState.RUNNING,
    },
    SessionState.FAILED: {},
}
"""The messages that the host may send in each state."""


SESSION_GUEST: SessionSteps = {
    SessionState.NEW: {},
    SessionState.GREETING: {
        codec.Ready: SessionState.IDLE,
    },
    SessionState.IDLE: {
        codec.Pong: SessionState.IDLE,
        codec.Status: SessionState.IDLE,
        codec.Goodbye: SessionState.IDLE,
        codec.Error: SessionState.FAILED,
    },
    SessionState.RUNNING: {
        codec.Pong: SessionState.RUNNING,
        codec.Status: SessionState.RUNNING,
        codec.Goodbye: SessionState.RUNNING,
        codec.Error: SessionState.FAILED,
        codec.ExecOutput: SessionState.RUNNING,
        codec.ExecStdinCredit: SessionState.RUNNING,
        codec.ExecStdinClosed: SessionState.RUNNING,
        codec.ExecResponse: SessionState.IDLE,
        codec.ExecFailed: SessionState.IDLE,
    },
    SessionState.FAILED: {},
}
"""The messages that the guest may send in each state."""
