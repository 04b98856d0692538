"""The messages of file transfers for the conversations in the test vectors."""

from __future__ import annotations

from dataclasses import replace
from stat import S_IFDIR, S_IFLNK, S_IFREG

from microvm.wire import files
from microvm.wire.files import Action, ModeRule, Subject

from .vectors import FILES, ConversationVector, SentVector, conversations

_ACTIONS = {"put": Action.PUT, "list": Action.LIST, "change": Action.MAKE_FOLDER}
_MODES = {"file": S_IFREG | 0o644, "folder": S_IFDIR | 0o755, "": S_IFLNK | 0o777}


def possible() -> dict[str, ConversationVector]:
    """Return the conversations that real programs can have, by name.

    The vectors choose freely whether the condition `outermost` holds for a `whole`; `nested` makes
    their choice possible. Only the vector that takes too much from the counter `incomplete` is left
    out: a tree of real programs is complete before the counter could become negative.
    """
    known = conversations(FILES.read_text())
    return {each.name: nested(each) for each in known if not each.name.endswith(" incomplete")}


def nested(conversation: ConversationVector) -> ConversationVector:
    """Return the conversation. If a `whole` must not be outermost, put the tree into a folder."""
    inner = [
        each
        for each in conversation.messages
        if each.name == "whole" and each.state and not each.conditions
    ]
    if not inner:
        return conversation
    request, *others = conversation.messages
    state = f"{request.state}_folder"
    folder = SentVector(inner[0].sender, "entry", 0, frozenset({"folder"}), {}, state)
    at = conversation.out_of_order
    return replace(conversation, messages=[request, folder, *others], out_of_order=at and at + 1)


def messages_of(conversation: ConversationVector, path: bytes = b"/to") -> list[files.Message]:
    """Return the messages of a conversation, with contents for which their conditions hold.

    :param path: Path in the requests.
    """
    action = _action(conversation)
    request = files.Request(action, ModeRule.PREFER, 0, 0, 0, path, *[b""] * 6)
    given: dict[str, files.Message] = {
        "request": request,
        "data": files.Data(b"x"),
        "whole": files.Whole(),
        "done": files.Done(),
        "failure": files.Failure(Subject.PATH, 2, path),
    }
    # The outermost entry has no name.
    named = 1 if action is Action.LIST else 2
    return [
        given.get(sent.name) or _entry(sent, b"" if index < named else b"%d" % index)
        for index, sent in enumerate(conversation.messages)
    ]


def _action(conversation: ConversationVector) -> Action:
    for condition in _ACTIONS.keys() & conversation.messages[0].conditions:
        return _ACTIONS[condition]
    has_content = any(
        each.name == "entry" and each.state and each.conditions for each in conversation.messages
    )
    return Action.GET if has_content else Action.LSTAT


def _entry(sent: SentVector, name: bytes) -> files.Entry:
    mode = next(_MODES[kind] for kind in _MODES if not kind or kind in sent.conditions)
    return files.Entry(mode, 0, 0, 0, 0, name, b"" if sent.conditions else b"x")
