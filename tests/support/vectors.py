"""The generated test vectors."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROTOCOL = Path(__file__).parents[2] / "protocol"
COMMITTED = _PROTOCOL / "vectors.json"
FILES = _PROTOCOL / "files.vectors.json"
STREAMS = _PROTOCOL / "streams.vectors.json"
INTERPRETER = _PROTOCOL / "interpreter.vectors.json"


@dataclass(frozen=True)
class Vector:
    """A frame and the expected result of decoding it.

    :ivar fault: code, offset and field of the fault; None if the frame is valid.
    :ivar message: name of the message if the frame is valid.
    """

    name: str
    sender: str
    frame: bytes
    fault: tuple[int, int, int] | None
    message: str
    id: int
    fields: dict[str, Any]


@dataclass(frozen=True)
class SentVector:
    """A message of a conversation.

    :ivar fields: values of the fields that change counters; for bytes, their number.
    :ivar state: state that follows; None if the message is ignored or out of order.
    """

    sender: str
    name: str
    id: int
    conditions: frozenset[str]
    fields: dict[str, int]
    state: str | None


@dataclass(frozen=True)
class ConversationVector:
    """A conversation, and the index of its first message that is out of order, if there is one."""

    name: str
    messages: list[SentVector]
    out_of_order: int | None


def conversations(text: str) -> list[ConversationVector]:
    """Return the conversations in a file of vectors."""
    return [
        ConversationVector(
            each["name"],
            [
                SentVector(sender, name, id_, frozenset(held), fields, state)
                for sender, name, id_, held, fields, state in each["messages"]
            ],
            each["out_of_order"],
        )
        for each in json.loads(text).get("conversations", [])
    ]


def agree(right: bool, said: object) -> None:
    """Check that a program agrees with a vector of a conversation.

    :param right: True if it agrees.
    :param said: Message or name of the vector, for the error.
    :raises AssertionError: If it does not agree. `fuzz.mutants.finders` searches for the text.
    """
    assert right, f"disagrees with the vector: {said}"


def load(path: Path) -> list[Vector]:
    """Return the vectors of a file, the valid ones first."""
    data = json.loads(path.read_text())
    return [
        Vector(
            each["name"],
            each["sender"],
            unpack(each["frame"]),
            (each["code"], each["offset"], each["field"]) if "code" in each else None,
            each.get("message", ""),
            each.get("id", 0),
            {name: _value(value) for name, value in each.get("fields", {}).items()},
        )
        for each in (*data["valid"], *data["invalid"])
    ]


def _value(value: Any) -> Any:
    match value:
        case str():
            return unpack(value)
        case list():
            return tuple(
                item for each, times in value for item in itertools.repeat(_value(each), times)
            )
        case dict():
            return {name: _value(each) for name, each in value.items()}
    return value


def unpack(text: str) -> bytes:
    """Return the bytes that the notation of the vectors describes."""
    chunks = (chunk.partition("*") for chunk in text.split())
    return b"".join(bytes.fromhex(digits) * int(times or 1) for digits, _, times in chunks)
