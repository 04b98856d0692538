"""The states of a session: what each side may say in them, and where that leads.

The picture in docs/architecture.md is drawn from these tables.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

from microvm.wire import codec


class State(enum.Enum):
    """A state of the conversation."""

    NEW = enum.auto()
    """Nothing has been said."""
    GREETING = enum.auto()
    """The guest has been greeted, and has not answered; what still comes is of an older session."""
    IDLE = enum.auto()
    """No command is in flight."""
    RUNNING = enum.auto()
    """A command is in flight."""
    FAILED = enum.auto()
    """The guest has broken the protocol; from here nothing leads on."""


Steps: TypeAlias = Mapping[State, Mapping[type[codec.Message], State]]
"""Each state's messages, and the state that each leads to; others are out of order."""

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
