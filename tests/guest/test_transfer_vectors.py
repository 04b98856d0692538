"""Test that carry refuses what the test vectors of file transfers say, and takes the rest."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support import vectors
from tests.support.carry import decoded, encoded
from tests.support.told_transfers import messages_of, possible
from tests.support.vectors import Vector

from microvm.wire import files
from microvm.wire.files import Action

KNOWN = possible()

# carry reads only in these states. It reads nothing while it sends a tree, and nothing after that.
READING = ("new: ", "writing: ", "writing_file: ", "writing_folder: ")
REFUSED = [
    name
    for name, each in KNOWN.items()
    if each.out_of_order is not None
    and each.messages[-1].sender == "host"
    and name.startswith(READING)
]


def run(binary: Path, **stream: Any) -> tuple[int, bytes]:
    """Run carry with the `input` or the `stdin`, and return its exit status and its output."""
    command = [os.fspath(binary.with_name("carry")), f"{files.DIGEST:016x}"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, **stream)
    assert done.stderr == b""
    return done.returncode, done.stdout


def is_refused(binary: Path, sent: bytes) -> bool:
    """Return True if carry exits because of these bytes. Its input does not end after them."""
    reading, writing = os.pipe()
    try:
        os.write(writing, sent)
        return run(binary, stdin=reading) == (1, b"")
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("name", REFUSED)
def test_carry_refuses_a_message_out_of_order(binary: Path, tmp_path: Path, name: str) -> None:
    messages = messages_of(KNOWN[name], os.fsencode(tmp_path / "to"))
    assert is_refused(binary, encoded(*messages))
    assert [*tmp_path.iterdir()] == []


def before(vector: Vector, path: Path) -> list[files.Message]:
    """Return messages after which the message of a vector is in order, if it is well-formed."""
    kind = int.from_bytes(vector.frame[4:6], "little")
    conversation = KNOWN["writing_file: in order, 1"]
    request, entry, _ = messages_of(conversation, os.fsencode(path / "to"))
    if kind == files.Request.TYPE:
        return []
    return [request] if kind == files.Entry.TYPE else [request, entry]


def test_carry_refuses_every_malformed_frame(binary: Path, tmp_path: Path) -> None:
    known = [each for each in vectors.load(vectors.FILES) if each.sender == "host" and each.fault]
    assert len(known) > 50
    for vector in known:
        assert is_refused(binary, encoded(*before(vector, tmp_path)) + vector.frame), vector.name
    assert [*tmp_path.iterdir()] == []


def test_carry_takes_every_valid_request_and_content(binary: Path, tmp_path: Path) -> None:
    taken = set()
    for vector in vectors.load(vectors.FILES):
        is_put = vector.fields.get("action") == Action.PUT
        if vector.sender != "host" or vector.fault or vector.message == "entry" or is_put:
            continue
        end = files.Whole().encode() if vector.message == "data" else b""
        status, said = run(binary, input=encoded(*before(vector, tmp_path)) + vector.frame + end)
        assert status == 0, vector.name
        kinds = {type(each) for each in decoded(said)}
        if vector.fields.get("action") != Action.MATCH:  # which may find nothing
            expected = files.Failure if vector.message == "request" else files.Done
            assert kinds == {expected}, vector.name
        if vector.message == "data":
            assert (tmp_path / "to").read_bytes() == vector.fields["data"]
        taken.add(vector.message)
    assert taken == {"request", "data", "whole"}


def test_most_messages_of_the_host_are_tested() -> None:
    assert len(REFUSED) == 10
