"""States of the conversations of files. Generated from files.toml."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

from microvm.wire import files as codec


class TransferState(enum.Enum):
    """The conversation about one request; the connection is one process `carry`.

    Both sides send trees with the same messages, so the states tell whose tree is sent. Each side
    has its own copy of the state, which changes when the side sends or receives a message.
    """

    NEW = 1
    """The host has not sent its request yet."""
    LISTING = 2
    """The guest sends an entry for each file and folder in a folder, or that matches a pattern."""
    SENDING = 3
    """The guest has sent nothing yet.

    It sends a tree, or one entry without content.
    """
    SENDING_FILE = 4
    """The guest sends the content of a file."""
    SENDING_FOLDER = 5
    """The guest sends the entries of a folder."""
    WRITING = 6
    """The host has not begun its tree yet.

    The guest can fail while it receives a tree.
    """
    WRITING_FILE = 7
    """The host sends the content of a file."""
    WRITING_FOLDER = 8
    """The host sends the entries of a folder."""
    COMPLETE = 9
    """The tree or the entry is complete, or the request needs neither."""
    FINISHED = 10
    """The guest has sent its last message.

    Messages of the host can still be on their way.
    """


TransferSteps: TypeAlias = Mapping[
    TransferState, Mapping[type[codec.Message], Mapping[str, TransferState]]
]
"""For each state, the messages that one side may send, and the state that follows each.

The key of a following state is the name of its condition, or empty.
"""


TRANSFER_HOST: TransferSteps = {
    TransferState.NEW: {
        codec.Request: {
            "put": TransferState.WRITING,
            "list": TransferState.LISTING,
            "change": TransferState.COMPLETE,
            "": TransferState.SENDING,
        },
    },
    TransferState.LISTING: {},
    TransferState.SENDING: {},
    TransferState.SENDING_FILE: {},
    TransferState.SENDING_FOLDER: {},
    TransferState.WRITING: {
        codec.Entry: {
            "file": TransferState.WRITING_FILE,
            "folder": TransferState.WRITING_FOLDER,
            "": TransferState.COMPLETE,
        },
    },
    TransferState.WRITING_FILE: {
        codec.Data: {"": TransferState.WRITING_FILE},
        codec.Whole: {"outermost": TransferState.COMPLETE, "": TransferState.WRITING_FOLDER},
    },
    TransferState.WRITING_FOLDER: {
        codec.Entry: {"file": TransferState.WRITING_FILE, "": TransferState.WRITING_FOLDER},
        codec.Whole: {"outermost": TransferState.COMPLETE, "": TransferState.WRITING_FOLDER},
    },
    TransferState.COMPLETE: {},
    TransferState.FINISHED: {},
}
"""The messages that the host may send in each state."""


TRANSFER_GUEST: TransferSteps = {
    TransferState.NEW: {},
    TransferState.LISTING: {
        codec.Entry: {"": TransferState.LISTING},
        codec.Done: {"": TransferState.FINISHED},
        codec.Failure: {"": TransferState.FINISHED},
    },
    TransferState.SENDING: {
        codec.Entry: {
            "file": TransferState.SENDING_FILE,
            "folder": TransferState.SENDING_FOLDER,
            "": TransferState.COMPLETE,
        },
        codec.Failure: {"": TransferState.FINISHED},
    },
    TransferState.SENDING_FILE: {
        codec.Data: {"": TransferState.SENDING_FILE},
        codec.Whole: {"outermost": TransferState.COMPLETE, "": TransferState.SENDING_FOLDER},
        codec.Failure: {"": TransferState.FINISHED},
    },
    TransferState.SENDING_FOLDER: {
        codec.Entry: {"file": TransferState.SENDING_FILE, "": TransferState.SENDING_FOLDER},
        codec.Whole: {"outermost": TransferState.COMPLETE, "": TransferState.SENDING_FOLDER},
        codec.Failure: {"": TransferState.FINISHED},
    },
    TransferState.WRITING: {
        codec.Failure: {"": TransferState.FINISHED},
    },
    TransferState.WRITING_FILE: {
        codec.Failure: {"": TransferState.FINISHED},
    },
    TransferState.WRITING_FOLDER: {
        codec.Failure: {"": TransferState.FINISHED},
    },
    TransferState.COMPLETE: {
        codec.Done: {"": TransferState.FINISHED},
        codec.Failure: {"": TransferState.FINISHED},
    },
    TransferState.FINISHED: {},
}
"""The messages that the guest may send in each state."""


TRANSFER_HOST_IGNORED: Mapping[TransferState, frozenset[type[codec.Message]]] = {
    TransferState.NEW: frozenset(),
    TransferState.LISTING: frozenset(),
    TransferState.SENDING: frozenset(),
    TransferState.SENDING_FILE: frozenset(),
    TransferState.SENDING_FOLDER: frozenset(),
    TransferState.WRITING: frozenset(),
    TransferState.WRITING_FILE: frozenset(),
    TransferState.WRITING_FOLDER: frozenset(),
    TransferState.COMPLETE: frozenset(),
    TransferState.FINISHED: frozenset({codec.Request, codec.Entry, codec.Data, codec.Whole}),
}
"""The messages of the host that are ignored in each state, unless a step of the state applies."""
