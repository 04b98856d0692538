"""The wire between a supervisor and its clients: lines of JSON over a Unix socket.

A client connects and sends one request, a line, with descriptors (SCM_RIGHTS) at its first byte:
`{"wire": 1, "call": "exec", …}`. The reply is one line, `{"result": …}` or `{"error": …, "status":
N}`, the error as :mod:`microvm.supervisor.error_json` has it. Until then either side may send lines
of one key each: the client `{"signal": N}`, `{"resize": [lines, columns]}` and `{"abandon": true}`
for its command, and `{"ping": N}`; the supervisor `{"started": true}` and `{"pong": N}`. A client
that closes its connection takes back what it has asked for: its command is killed.

Lines are ASCII; lone surrogates stand for bytes that are not UTF-8.
"""

from __future__ import annotations

import json

# The module `typing` takes longer to import than a command in a machine takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WIRE = 1
"""The number of the wire; a client and a supervisor with other numbers do not talk."""

LIMIT = 4 << 20
"""The most bytes that a line has."""

DESCRIPTORS = 8
"""The most descriptors that come with a request."""


def encode(value: dict[str, Any]) -> bytes:
    """Return the line for a value.

    :raises ValueError: it is longer than `LIMIT`.
    """
    line = json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > LIMIT:
        raise ValueError(f"more than {LIMIT >> 20} MiB")
    return line


def decode(line: bytes) -> dict[str, Any]:
    """Return the value of a line.

    :raises ValueError: it is none, or no object.
    """
    try:
        value = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def plain(value: Any) -> Any:
    """Return the value of an option as JSON has it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        return {plain(name): plain(content) for name, content in value.items()}
    return value
