"""Tests of carry with random uploads, which the schema generates."""

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

from microvm.wire import files
from microvm.wire.files import Action
from microvm_proto.drawing import Sent

any_ = random_messages("files")
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder"}
"""Condition of an entry whose contents follow, by its type."""

MODES = st.sampled_from([stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777])


def holds(condition: str, message: files.Message, sent: Sequence[Sent]) -> bool:
    """Return True if a condition of the schema holds for a message of an upload after others."""
    match message:
        case files.Request():
            return condition == "put"
        case files.Entry(mode=mode):
            return condition == KINDS.get(stat.S_IFMT(mode), "")
        case files.Whole():
            begun = [each for each in sent if {"file", "folder"} & each.conditions]
            ended = [each for each in sent if isinstance(each.message, files.Whole)]
            return condition == "outermost" and len(begun) == len(ended) + 1
    return False


def requests() -> st.SearchStrategy[files.Message]:
    put, path, empty = st.just(Action.PUT), st.just(b"/to"), st.just(b"")
    return any_.request(action=put, path=path, name=empty, cwd=empty, user=empty, owner=empty)


def entries(sent: Sequence[Sent]) -> st.SearchStrategy[files.Message]:
    """Return a strategy for entries with names that no other entry has."""
    name = b"" if len(sent) < 2 else b"%d" % len(sent)
    return any_.entry(mode=MODES, name=st.just(name), target=st.just(b"x"))


UPLOADS = any_.Conversations(
    {
        files.Request: lambda _: requests(),
        files.Entry: entries,
        files.Done: lambda _: st.nothing(),
        files.Failure: lambda _: st.nothing(),
    },
    holds,
)


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
