"""The wire between a supervisor and its clients: lines of JSON over a Unix socket.

A client connects and sends one request, a line, with descriptors (SCM_RIGHTS) at its first byte:
`{"wire": 1, "call": "exec", …}`. The reply is one line: `{"result": …}`, or `{"error": …, "status":
N}` with an error as :mod:`microvm.supervisor.error_json` encodes it. Until the reply, both sides
may send lines with one key. The client sends `{"signal": N}`, `{"resize": [lines, columns]}` and
`{"abandon": true}` for its command, and `{"ping": N}`. The supervisor sends `{"started": true}` and
`{"pong": N}`. For a detached command, the client also sends `{"eof": true}`, and the supervisor
`{"dropped": [N, N]}` and `{"exited": true}`. If a client closes its connection, its request is
cancelled: its command is killed, unless it is detached. A signal before the command has started
also cancels the request; the result is `{"returncode": -N}`.

Lines are ASCII. Lone surrogates represent bytes that are not UTF-8.
"""

from __future__ import annotations

import json

# Do not import TYPE_CHECKING from the module `typing`, because that import takes longer than
# running a short command in a machine.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WIRE = 1
"""The version of the wire. A client and a supervisor of different versions refuse each other."""

LIMIT = 4 << 20  # maximum number of bytes in a line
DESCRIPTORS = 8  # maximum number of descriptors that a request may carry


def encode(value: dict[str, Any]) -> bytes:
    """Return a JSON object as one line of at most `LIMIT` bytes; otherwise raise a ValueError."""
    line = json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > LIMIT:
        raise ValueError(f"more than {LIMIT >> 20} MiB")
    return line


def decode(line: bytes | bytearray) -> dict[str, Any]:
    """Return the JSON object that a received line contains; otherwise raise a ValueError."""
    try:
        value = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def plain(value: Any) -> Any:
    """Return the value of an option with all bytes decoded to text, because JSON has no bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        return {plain(name): plain(content) for name, content in value.items()}
    return value
