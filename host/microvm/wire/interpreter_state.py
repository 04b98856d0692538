"""States of the conversations of interpreter. Generated from interpreter.toml."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

from microvm.wire import interpreter as codec


class InterpreterState(enum.Enum):
    """The conversation between a host and the guest.

    Each side tracks the state by the messages that it sends and receives.
    """

    NEW = 1
    """The guest has accepted the connection, and has not sent a message yet."""
    IDLE = 2
    """The guest executes no request.

    Messages of the host about the last request can still be on their way.
    """
    RUNNING = 3
    """The guest executes a cell."""
    CHANGING = 4
    """The guest sets a variable, or renews the state of the random number generators."""
    READING = 5
    """The guest converts the value of a variable to JSON."""
    FINISHED = 6
    """The worker is dead.

    The guest closes the connection, and its program ends.
    """


InterpreterSteps: TypeAlias = Mapping[
    InterpreterState, Mapping[type[codec.Message], InterpreterState]
]
"""For each state, the messages that one side may send, and the state that follows each."""


INTERPRETER_HOST: InterpreterSteps = {
    InterpreterState.NEW: {},
    InterpreterState.IDLE: {
        codec.Credit: InterpreterState.IDLE,
        codec.Piece: InterpreterState.IDLE,
        codec.Run: InterpreterState.RUNNING,
        codec.Assign: InterpreterState.CHANGING,
        codec.Renew: InterpreterState.CHANGING,
        codec.Fetch: InterpreterState.READING,
    },
    InterpreterState.RUNNING: {
        codec.Credit: InterpreterState.RUNNING,
        codec.Answer: InterpreterState.RUNNING,
        codec.Interrupt: InterpreterState.RUNNING,
        codec.KillStarted: InterpreterState.RUNNING,
        codec.Kill: InterpreterState.RUNNING,
    },
    InterpreterState.CHANGING: {
        codec.Credit: InterpreterState.CHANGING,
        codec.Interrupt: InterpreterState.CHANGING,
        codec.KillStarted: InterpreterState.CHANGING,
        codec.Kill: InterpreterState.CHANGING,
    },
    InterpreterState.READING: {
        codec.Credit: InterpreterState.READING,
        codec.Interrupt: InterpreterState.READING,
        codec.KillStarted: InterpreterState.READING,
        codec.Kill: InterpreterState.READING,
    },
    InterpreterState.FINISHED: {},
}
"""The messages that the host may send in each state."""


INTERPRETER_GUEST: InterpreterSteps = {
    InterpreterState.NEW: {
        codec.Ready: InterpreterState.IDLE,
        codec.Died: InterpreterState.FINISHED,
    },
    InterpreterState.IDLE: {
        codec.Died: InterpreterState.FINISHED,
    },
    InterpreterState.RUNNING: {
        codec.Output: InterpreterState.RUNNING,
        codec.Piece: InterpreterState.RUNNING,
        codec.Display: InterpreterState.RUNNING,
        codec.Ask: InterpreterState.RUNNING,
        codec.Result: InterpreterState.IDLE,
        codec.Died: InterpreterState.FINISHED,
    },
    InterpreterState.CHANGING: {
        codec.Done: InterpreterState.IDLE,
        codec.Failed: InterpreterState.IDLE,
        codec.Died: InterpreterState.FINISHED,
    },
    InterpreterState.READING: {
        codec.Piece: InterpreterState.READING,
        codec.Value: InterpreterState.IDLE,
        codec.Failed: InterpreterState.IDLE,
        codec.Died: InterpreterState.FINISHED,
    },
    InterpreterState.FINISHED: {},
}
"""The messages that the guest may send in each state."""


INTERPRETER_HOST_IGNORED: Mapping[InterpreterState, frozenset[type[codec.Message]]] = {
    InterpreterState.NEW: frozenset(),
    InterpreterState.IDLE: frozenset(
        {
            codec.Answer,
            codec.Interrupt,
            codec.KillStarted,
            codec.Kill,
        }
    ),
    InterpreterState.RUNNING: frozenset(),
    InterpreterState.CHANGING: frozenset({codec.Answer}),
    InterpreterState.READING: frozenset({codec.Answer}),
    InterpreterState.FINISHED: frozenset(
        {
            codec.Credit,
            codec.Piece,
            codec.Run,
            codec.Answer,
            codec.Assign,
            codec.Fetch,
            codec.Renew,
            codec.Interrupt,
            codec.KillStarted,
            codec.Kill,
        }
    ),
}
"""The messages of the host that are ignored in each state, unless a step of the state applies."""


INTERPRETER_GUEST_IGNORED: Mapping[InterpreterState, frozenset[type[codec.Message]]] = {
    InterpreterState.NEW: frozenset(),
    InterpreterState.IDLE: frozenset(),
    InterpreterState.RUNNING: frozenset(),
    InterpreterState.CHANGING: frozenset(),
    InterpreterState.READING: frozenset(),
    InterpreterState.FINISHED: frozenset({codec.Piece}),
}
"""The messages of the guest that are ignored in each state, unless a step of the state applies."""


INTERPRETER_MAXIMA: Mapping[str, int] = {
    "guest_credit": 4294967295,
}
"""The maximum of each counter that has one."""
