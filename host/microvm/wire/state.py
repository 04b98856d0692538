"""The states of a session, with the messages that each side may send and the following states.

The diagram in docs/architecture.md is drawn from these tables.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

from microvm.wire import codec


class State(enum.Enum):
    """A state of a session."""

    NEW = enum.auto()
    """No message has been sent."""
    GREETING = enum.auto()
    """The host waits for `Ready`. Other messages of the guest belong to an older session."""
    IDLE = enum.auto()
    """No command is running."""
    RUNNING = enum.auto()
    """A command is running."""
    FAILED = enum.auto()
    """The guest has violated the protocol. This state is final."""


Steps: TypeAlias = Mapping[State, Mapping[type[codec.Message], State]]
"""The messages that are allowed in each state, and the state that follows each message."""

HOST_STEPS: Steps = {
    State.NEW: {codec.Hello: State.GREETING},
    State.GREETING: {codec.Hello: State.GREETING},
    State.IDLE: {
        codec.Hello: State.GREETING,
        codec.Resume: State.IDLE,
        codec.Keep: State.IDLE,
        codec.Ping: State.IDLE,
        codec.StatusRequest: State.IDLE,
        codec.Shutdown: State.IDLE,
        codec.ExecRequest: State.RUNNING,
    },
    State.RUNNING: {
        codec.Hello: State.GREETING,
        codec.Ping: State.RUNNING,
        codec.StatusRequest: State.RUNNING,
        codec.Shutdown: State.RUNNING,
        codec.ExecStdin: State.RUNNING,
        codec.ExecCredit: State.RUNNING,
        codec.ExecResize: State.RUNNING,
        codec.ExecSignal: State.RUNNING,
        codec.ExecTerminate: State.RUNNING,
        codec.ExecKill: State.RUNNING,
    },
    State.FAILED: {},
}

GUEST_STEPS: Steps = {
    State.NEW: {},
    State.GREETING: {codec.Ready: State.IDLE},
    State.IDLE: {
        codec.Pong: State.IDLE,
        codec.Status: State.IDLE,
        codec.Goodbye: State.IDLE,
        codec.Error: State.FAILED,
    },
    State.RUNNING: {
        codec.Pong: State.RUNNING,
        codec.Status: State.RUNNING,
        codec.Goodbye: State.RUNNING,
        codec.Error: State.FAILED,
        codec.ExecOutput: State.RUNNING,
        codec.ExecStdinCredit: State.RUNNING,
        codec.ExecStdinClosed: State.RUNNING,
        codec.ExecResponse: State.IDLE,
        codec.ExecFailed: State.IDLE,
    },
    State.FAILED: {},
}
