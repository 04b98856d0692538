"""Tests with random conversations between the host and carry, which the schema generates."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fuzz.generated import random_messages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microvm.guest.order import Order
from microvm.wire import files
from microvm.wire.files import Action
from microvm.wire.transfer import TRANSFER_GUEST, TRANSFER_HOST
from microvm_proto.drawing import Sent

any_ = random_messages("files")
CONDITIONS = {
    Action.LIST_TARGETS: "list",
    Action.MAKE_FOLDER: "change",
    Action.REMOVE: "change",
    Action.RENAME: "change",
}
TABLES = {"host": TRANSFER_HOST, "guest": TRANSFER_GUEST}
MODES = st.sampled_from([stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777])


def holds(condition: str, message: files.Message, sent: Sequence[Sent]) -> bool:
    """Return True if a condition of the schema holds for a message after others."""
    match message:
        case files.Request(action=action):
            return condition == CONDITIONS.get(action, action.name.lower())
        case files.Entry():
            return condition == content_of(message, sent)
        case files.Whole():
            begun = [each for each in sent if {"file", "folder"} & each.conditions]
            ended = [each for each in sent if isinstance(each.message, files.Whole)]
            return condition == "outermost" and len(begun) == len(ended) + 1
    return False


def content_of(entry: files.Entry, sent: Sequence[Sent]) -> str:
    """Return the kind of content that follows an entry; empty if none."""
    action = next((each.message.action for each in sent if hasattr(each.message, "action")), None)
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder"}
    kind = kinds.get(stat.S_IFMT(entry.mode), "")
    if action in (Action.GET, Action.PUT) or (action is Action.READ and kind == "file"):
        return kind
    return ""


def requests(actions: st.SearchStrategy[Action]) -> st.SearchStrategy[files.Message]:
    empty = st.just(b"")
    return any_.request(
        action=actions, path=st.just(b"/to"), name=empty, cwd=empty, user=empty, owner=empty
    )


def entries(sent: Sequence[Sent]) -> st.SearchStrategy[files.Message]:
    """Return a strategy for entries with names that no other entry has."""
    name = b"" if len(sent) < 2 else b"%d" % len(sent)
    return any_.entry(mode=MODES, name=st.just(name), target=st.just(b"x"))


ALL = any_.Conversations(
    {files.Request: lambda _: requests(st.sampled_from(Action)), files.Entry: entries}, holds
)
UPLOADS = any_.Conversations(
    {
        files.Request: lambda _: requests(st.just(Action.PUT)),
        files.Entry: entries,
        files.Done: lambda _: st.nothing(),
        files.Failure: lambda _: st.nothing(),
    },
    holds,
)


@given(ALL.correct())
def test_host_follows_correct_conversations(sent: list[Sent]) -> None:
    order = Order()
    for each in sent:
        if each.state:
            order.follow(each.message, TABLES[each.sender])
            assert order.state.name.lower() == each.state


@pytest.mark.thorough
@given(ALL.faulty())
def test_host_refuses_the_first_message_out_of_order(sent: list[Sent]) -> None:
    order = Order()
    *others, last = [each for each in sent if each.state != ""]
    for each in others:
        order.follow(each.message, TABLES[each.sender])
    with pytest.raises(ValueError, match=f"out of order in the state `{order.state.name.lower()}`"):
        order.follow(last.message, TABLES[last.sender])


@pytest.mark.thorough
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(UPLOADS.correct(), UPLOADS.faulty()))
def test_carry_answers_only_complete_trees(binary: Path, sent: list[Sent]) -> None:
    received = [each for each in sent if each.sender == "host"]
    command = [os.fspath(binary.with_name("carry")), f"{files.DIGEST:016x}"]
    with tempfile.TemporaryDirectory() as folder:
        frames = b"".join(placed(each.message, folder).encode() for each in received)
        done = subprocess.run(
            command, input=frames, stdout=subprocess.PIPE, check=False, timeout=60
        )
        # carry reads nothing after the end of the tree
        is_complete = any(each.state == "complete" for each in received)
        expected = (0, files.Done().encode(), 1) if is_complete else (1, b"", 0)
        assert (done.returncode, done.stdout, len([*Path(folder).iterdir()])) == expected


def placed(message: files.Message, folder: str) -> files.Message:
    """Return a copy of a request that writes to this folder, or any other message."""
    if isinstance(message, files.Request):
        return replace(message, path=os.fsencode(f"{folder}/to"))
    return message
