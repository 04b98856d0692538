"""States of the conversations of sandboxd. Generated from sandboxd.toml."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

from microvm.wire import codec


class SessionState(enum.Enum):
    """The conversation between a host and a guest.

    Each side has its own copy of the state, which changes when the side sends or receives a
    message. A new host is in the state `new`, whatever the state of the guest is.
    """

    NEW = 1
    """The host has not sent a message yet.

    The guest drops all bytes before its first `hello`.
    """
    GREETING = 2
    """The host has sent `hello`, and waits for `ready`.

    Any other message of the guest belongs to an older session.
    """
    READY = 3
    """The guest has answered `hello`."""
    SEARCHING = 4
    """The guest has received a malformed frame, and drops all bytes before the next `hello`."""
    CLOSING = 5
    """The host has sent `shutdown`, and sends nothing more.

    The guest completes its answers.
    """
    FINISHED = 6
    """The guest has sent its last frame."""


SessionSteps: TypeAlias = Mapping[
    SessionState, Mapping[type[codec.Message], Mapping[str, SessionState]]
]
"""For each state, the messages that one side may send, and the state that follows each.

The key of a following state is the name of its condition, or empty.
"""


SESSION_HOST: SessionSteps = {
    SessionState.NEW: {
        codec.Hello: {"": SessionState.GREETING},
    },
    SessionState.GREETING: {
        codec.Hello: {"": SessionState.GREETING},
    },
    SessionState.READY: {
        codec.Hello: {"": SessionState.GREETING},
        codec.Resume: {"": SessionState.READY},
        codec.Keep: {"free": SessionState.READY},
        codec.Ping: {"": SessionState.READY},
        codec.StatusRequest: {"": SessionState.READY},
        codec.Shutdown: {"": SessionState.CLOSING},
    },
    SessionState.SEARCHING: {
        codec.Hello: {"": SessionState.GREETING},
    },
    SessionState.CLOSING: {},
    SessionState.FINISHED: {},
}
"""The messages that the host may send in each state."""


SESSION_GUEST: SessionSteps = {
    SessionState.NEW: {},
    SessionState.GREETING: {
        codec.Ready: {"own_nonce": SessionState.READY},
    },
    SessionState.READY: {
        codec.Pong: {"": SessionState.READY},
        codec.Status: {"": SessionState.READY},
        codec.Error: {"malformed": SessionState.SEARCHING},
        codec.Goodbye: {"": SessionState.FINISHED},
    },
    SessionState.SEARCHING: {
        codec.Goodbye: {"": SessionState.FINISHED},
    },
    SessionState.CLOSING: {
        codec.Pong: {"": SessionState.CLOSING},
        codec.Status: {"": SessionState.CLOSING},
        codec.Error: {"malformed": SessionState.SEARCHING},
        codec.Goodbye: {"": SessionState.FINISHED},
    },
    SessionState.FINISHED: {},
}
"""The messages that the guest may send in each state."""


SESSION_HOST_IGNORED: Mapping[SessionState, frozenset[type[codec.Message]]] = {
    SessionState.NEW: frozenset(
        {
            codec.Resume,
            codec.Ping,
            codec.StatusRequest,
            codec.Shutdown,
            codec.Keep,
            codec.ExecRequest,
            codec.ExecSignal,
            codec.ExecKill,
            codec.ExecTerminate,
            codec.ExecCredit,
            codec.ExecStdin,
            codec.ExecResize,
        }
    ),
    SessionState.GREETING: frozenset(),
    SessionState.READY: frozenset(),
    SessionState.SEARCHING: frozenset(
        {
            codec.Resume,
            codec.Ping,
            codec.StatusRequest,
            codec.Shutdown,
            codec.Keep,
            codec.ExecRequest,
            codec.ExecSignal,
            codec.ExecKill,
            codec.ExecTerminate,
            codec.ExecCredit,
            codec.ExecStdin,
            codec.ExecResize,
        }
    ),
    SessionState.CLOSING: frozenset(),
    SessionState.FINISHED: frozenset(),
}
"""The messages of the host that are ignored in each state, unless a step of the state applies."""


SESSION_GUEST_IGNORED: Mapping[SessionState, frozenset[type[codec.Message]]] = {
    SessionState.NEW: frozenset(
        {
            codec.Ready,
            codec.Pong,
            codec.Status,
            codec.Goodbye,
            codec.Error,
            codec.ExecOutput,
            codec.ExecResponse,
            codec.ExecFailed,
            codec.ExecStdinCredit,
            codec.ExecStdinClosed,
        }
    ),
    SessionState.GREETING: frozenset(
        {
            codec.Ready,
            codec.Pong,
            codec.Status,
            codec.Goodbye,
            codec.Error,
            codec.ExecOutput,
            codec.ExecResponse,
            codec.ExecFailed,
            codec.ExecStdinCredit,
            codec.ExecStdinClosed,
        }
    ),
    SessionState.READY: frozenset(),
    SessionState.SEARCHING: frozenset(),
    SessionState.CLOSING: frozenset(),
    SessionState.FINISHED: frozenset(),
}
"""The messages of the guest that are ignored in each state, unless a step of the state applies."""


SESSION_IDS: Mapping[SessionState, frozenset[str]] = {
    SessionState.NEW: frozenset(),
    SessionState.GREETING: frozenset(),
    SessionState.READY: frozenset({"host", "guest"}),
    SessionState.SEARCHING: frozenset({"guest"}),
    SessionState.CLOSING: frozenset({"guest"}),
    SessionState.FINISHED: frozenset(),
}
"""The sides that may send messages of the conversations per id in each state.

A state without a side ends all these conversations.
"""


class CommandState(enum.Enum):
    """The conversation about one command.

    Each command has its own id. A `hello` ends the conversations of all commands.
    """

    NEW = 1
    """No request has this id or a higher one."""
    REQUESTED = 2
    """The host has requested the command.

    The guest has not sent a message about it yet.
    """
    RUNNING = 3
    """The guest has sent output of the command, or a message about its standard input."""
    ENDED = 4
    """The guest has sent its last message about the command.

    An id below that of a request counts as ended, too.
    """


CommandSteps: TypeAlias = Mapping[
    CommandState, Mapping[type[codec.Message], Mapping[str, CommandState]]
]
"""For each state, the messages that one side may send, and the state that follows each.

The key of a following state is the name of its condition, or empty.
"""


COMMAND_HOST: CommandSteps = {
    CommandState.NEW: {
        codec.ExecRequest: {"": CommandState.REQUESTED},
    },
    CommandState.REQUESTED: {
        codec.ExecStdin: {"": CommandState.REQUESTED},
        codec.ExecCredit: {"": CommandState.REQUESTED},
        codec.ExecResize: {"": CommandState.REQUESTED},
        codec.ExecSignal: {"": CommandState.REQUESTED},
        codec.ExecTerminate: {"": CommandState.REQUESTED},
        codec.ExecKill: {"": CommandState.REQUESTED},
    },
    CommandState.RUNNING: {
        codec.ExecStdin: {"": CommandState.RUNNING},
        codec.ExecCredit: {"": CommandState.RUNNING},
        codec.ExecResize: {"": CommandState.RUNNING},
        codec.ExecSignal: {"": CommandState.RUNNING},
        codec.ExecTerminate: {"": CommandState.RUNNING},
        codec.ExecKill: {"": CommandState.RUNNING},
    },
    CommandState.ENDED: {},
}
"""The messages that the host may send in each state."""


COMMAND_GUEST: CommandSteps = {
    CommandState.NEW: {},
    CommandState.REQUESTED: {
        codec.ExecOutput: {"": CommandState.RUNNING},
        codec.ExecStdinCredit: {"": CommandState.RUNNING},
        codec.ExecStdinClosed: {"": CommandState.RUNNING},
        codec.ExecResponse: {"": CommandState.ENDED},
        codec.ExecFailed: {"": CommandState.ENDED},
        codec.Error: {"busy": CommandState.ENDED},
    },
    CommandState.RUNNING: {
        codec.ExecOutput: {"": CommandState.RUNNING},
        codec.ExecStdinCredit: {"": CommandState.RUNNING},
        codec.ExecStdinClosed: {"": CommandState.RUNNING},
        codec.ExecResponse: {"": CommandState.ENDED},
    },
    CommandState.ENDED: {},
}
"""The messages that the guest may send in each state."""


COMMAND_HOST_IGNORED: Mapping[CommandState, frozenset[type[codec.Message]]] = {
    CommandState.NEW: frozenset(),
    CommandState.REQUESTED: frozenset(),
    CommandState.RUNNING: frozenset(),
    CommandState.ENDED: frozenset(
        {
            codec.ExecSignal,
            codec.ExecKill,
            codec.ExecTerminate,
            codec.ExecCredit,
            codec.ExecStdin,
            codec.ExecResize,
        }
    ),
}
"""The messages of the host that are ignored in each state, unless a step of the state applies."""


COMMAND_MAXIMA: Mapping[str, int] = {
    "stdout_credit": 4294967295,
    "stderr_credit": 4294967295,
    "stdin_credit": 1048576,
}
"""The maximum of each counter that has one."""
