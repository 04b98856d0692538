"""Tables of the protocol interpreter. Generated from interpreter.toml."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIGEST = 0xFA76BF3313C0EFE5

MAX_TEXT = 4194304

STREAM_STDOUT = 1
STREAM_STDERR = 2

CELL_ENDING_COMPLETED = 0
CELL_ENDING_RAISED = 1
CELL_ENDING_EXITED = 2

DEATH_EXITED = 0
DEATH_SIGNALLED = 1
DEATH_OUT_OF_MEMORY = 2
DEATH_KILLED = 3
DEATH_BROKEN = 4

MESSAGES: dict[int, Any] = {
    1: ("ready", "guest", "none", (("digest", ["u64"]),)),
    2: ("credit", "host", "none", (("amount", ["u32"]),)),
    3: ("piece", "both", "none", (("offset", ["u32"]), ("data", ["tail", 65520]))),
    4: ("run", "host", "none", (("offset", ["u32"]), ("code", ["tail", 65520]))),
    5: (
        "output",
        "guest",
        "none",
        (("stream", ["u8", [[1, 1], [2, 1]]]), ("data", ["tail", 65520])),
    ),
    6: (
        "display",
        "guest",
        "none",
        (
            ("first", ["bool"]),
            ("of_value", ["bool"]),
            ("mime", ["text", 127, False]),
            ("offset", ["u32"]),
            ("data", ["tail", 65280]),
        ),
    ),
    7: (
        "ask",
        "guest",
        "none",
        (("question", ["u32"]), ("secret", ["bool"]), ("prompt", ["text", 4096, True])),
    ),
    8: (
        "answer",
        "host",
        "none",
        (("question", ["u32"]), ("given", ["bool"]), ("line", ["text", 65000, True])),
    ),
    9: (
        "result",
        "guest",
        "none",
        (
            ("ending", ["u8", [[0, 1], [1, 1], [2, 1]]]),
            ("status", ["u8"]),
            ("has_value", ["bool"]),
            ("error_type", ["text", 256, True]),
            ("error_message", ["text", 8192, True]),
            ("traceback", ["text", 32768, True]),
            ("offset", ["u32"]),
            ("value", ["tail", 16384]),
        ),
    ),
    10: (
        "assign",
        "host",
        "none",
        (("name", ["text", 255, False]), ("offset", ["u32"]), ("json", ["tail", 65000])),
    ),
    11: ("fetch", "host", "none", (("name", ["text", 255, False]),)),
    12: ("value", "guest", "none", (("offset", ["u32"]), ("json", ["tail", 65520]))),
    13: ("renew", "host", "none", (("seed", ["array", ["u8"], 32]),)),
    14: ("done", "guest", "none", ()),
    15: (
        "failed",
        "guest",
        "none",
        (("error_type", ["text", 256, True]), ("error_message", ["text", 8192, True])),
    ),
    16: ("interrupt", "host", "none", ()),
    17: ("kill_started", "host", "none", ()),
    18: ("kill", "host", "none", ()),
    19: (
        "died",
        "guest",
        "none",
        (("ending", ["u8", [[0, 1], [1, 1], [2, 1], [3, 1], [4, 1]]]), ("status", ["u32"])),
    ),
}
"""For each message's number: its name, its sender, the rule for its id, and its fields.

Each field is a name and a type. A type is a list of its name and its bounds: the maximum number of
bytes of a `tail`; for `bytes` and `text` also True if they may contain NUL; for an array, the type
and the number of its items. A closed enum is the name of its integer type, and a list of its
values, each with the version that added it.
"""

INTERPRETER: dict[str, Any] = {
    "host": {
        "new": {},
        "idle": {
            "answer": None,
            "interrupt": None,
            "kill_started": None,
            "kill": None,
            "credit": "idle",
            "piece": "idle",
            "run": "running",
            "assign": "changing",
            "renew": "changing",
            "fetch": "reading",
        },
        "running": {
            "credit": "running",
            "answer": "running",
            "interrupt": "running",
            "kill_started": "running",
            "kill": "running",
        },
        "changing": {
            "answer": None,
            "credit": "changing",
            "interrupt": "changing",
            "kill_started": "changing",
            "kill": "changing",
        },
        "reading": {
            "answer": None,
            "credit": "reading",
            "interrupt": "reading",
            "kill_started": "reading",
            "kill": "reading",
        },
        "finished": {
            "credit": None,
            "piece": None,
            "run": None,
            "answer": None,
            "assign": None,
            "fetch": None,
            "renew": None,
            "interrupt": None,
            "kill_started": None,
            "kill": None,
        },
    },
    "guest": {
        "new": {"ready": "idle", "died": "finished"},
        "idle": {"died": "finished"},
        "running": {
            "output": "running",
            "piece": "running",
            "display": "running",
            "ask": "running",
            "result": "idle",
            "died": "finished",
        },
        "changing": {"done": "idle", "failed": "idle", "died": "finished"},
        "reading": {"piece": "reading", "value": "idle", "failed": "idle", "died": "finished"},
        "finished": {"piece": None},
    },
}
"""For each side and each state, the messages that the side may send, with the state after each.

The state is None for a message that is ignored.
"""
