"""The order of the messages between the host and `carry`, the guest's program for files."""

from __future__ import annotations

from stat import S_ISDIR, S_ISREG

from microvm.wire import files
from microvm.wire.files import Action
from microvm.wire.transfer import TransferState, TransferSteps

_REQUESTS = {
    Action.PUT: "put",
    Action.LIST: "list",
    Action.LIST_TARGETS: "list",
    Action.MATCH: "list",
    Action.MAKE_FOLDER: "change",
    Action.REMOVE: "change",
    Action.RENAME: "change",
}


class Order:
    """The host's copy of the state of a transfer, which decides which messages are in order."""

    def __init__(self) -> None:
        """Begin a conversation, whose first message is the host's request."""
        self.state = TransferState.NEW
        self._action: Action | None = None
        self._incomplete = 0

    def follow(self, message: files.Message, steps: TransferSteps) -> None:
        """Change to the state that follows a message.

        :param steps: Messages of the side that sends this message, and the states that follow them.
        :raises ValueError: If the message is out of order.
        """
        if isinstance(message, files.Request):
            self._action = message.action
        condition = self._condition(message)
        following = steps[self.state].get(type(message), {})
        state = following.get(condition, following.get(""))
        if state is None:
            name = type(message).__name__.lower()
            raise ValueError(f"`{name}` is out of order in the state `{self.state.name.lower()}`")
        self.state = state
        if isinstance(message, files.Entry) and condition:
            self._incomplete += 1
        elif isinstance(message, files.Whole):
            self._incomplete -= 1

    def _condition(self, message: files.Message) -> str:
        """Return the name of the schema's condition that holds for a message; empty if none."""
        match message:
            case files.Request(action=action):
                return _REQUESTS.get(action, "")
            case files.Entry(mode=mode) if self._action is Action.READ:
                return "file" if S_ISREG(mode) else ""
            case files.Entry(mode=mode) if self._action in (Action.GET, Action.PUT):
                return "file" if S_ISREG(mode) else "folder" if S_ISDIR(mode) else ""
            case files.Whole() if self._incomplete == 1:
                return "outermost"
        return ""
