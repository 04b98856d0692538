"""The states of a session, and the messages that each side may send in each state.

Each message is listed with the state that follows it.

The diagram in docs/architecture.md is generated from these tables.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

from microvm.wire import codec


class State(enum.Enum):
    """A state of the session between host and guest, such as a running command."""

    NEW = enum.auto()
    """The host has not sent a message yet."""
    GREETING = enum.auto()
    """The host has sent `Hello` and waits for `Ready`.

    Other messages of the guest belong to an older session.
    """
    IDLE = enum.auto()
    """The guest is ready, and no command is running."""
    RUNNING = enum.auto()
    """The guest is running a command."""
    FAILED = enum.auto()
    """The guest has violated the protocol. No other state follows."""


Steps: TypeAlias = Mapping[State, Mapping[type[codec.Message], State]]
"""For each state, the messages that one side may send, and the state that follows each message."""

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
