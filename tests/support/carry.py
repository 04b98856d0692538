"""Requests to carry, the program that reads and writes files of a guest, and its answers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from microvm.wire import files
from microvm.wire.files import Action, ModeRule

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Carry = Callable[..., list[files.Message]]

DONE: list[files.Message] = [files.Done()]


def request(action: Action, path: Path | str, **fields: Any) -> files.Request:
    given: dict[str, Any] = {"mode_rule": ModeRule.PREFER}
    given |= dict.fromkeys(("replace", "recursive", "idempotent"), 0)
    given |= dict.fromkeys(("name", "new_path", "pattern", "cwd", "user", "owner"), b"") | fields
    return files.Request(action=action, path=os.fsencode(path), **given)


def encoded(*messages: files.Message) -> bytes:
    return b"".join(message.encode() for message in messages)


def decoded(stream: bytes) -> list[files.Message]:
    decoder = files.Decoder("guest")
    decoder.receive_data(stream)
    return list(iter(decoder.next_message, None))


def failure(answers: list[files.Message]) -> tuple[int, str]:
    last = answers[-1]
    assert isinstance(last, files.Failure), last
    assert last.subject is files.Subject.PATH
    return last.error_number, os.fsdecode(last.path)
