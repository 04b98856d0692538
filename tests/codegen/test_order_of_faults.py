"""Tests that of several faults in a frame, the first in the documented order is reported.

The vectors check the same for generated decoders; see `tests/codegen/test_vectors.py`.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from microvm.wire import codec
from microvm_proto.frame import Malformed, read
from microvm_proto.resolve import read_schema

PROTOCOL = Path(__file__).parents[2] / "protocol"

HELLO, READY, PING, RESUME, EXEC, CREDIT = 1, 2, 4, 3, 16, 22
FULL = b"".join(struct.pack("<I", 131068) + b"x" * 131068 for _ in range(8))
"""Items with the maximum total length of a list."""


def frame(body: bytes, type_: int, *, flags: int = 0, id_: int = 0, length: int = -1) -> bytes:
    return struct.pack("<IHHI", length if length >= 0 else len(body), type_, flags, id_) + body


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def arguments(count: int, items: bytes) -> bytes:
    """Return an `exec_request` that ends in its third field."""
    return frame(bytes(8) + number(count) + items, EXEC, id_=1)


LATER = 10**6
CASES = [
    ("the header", "unknown_type", "reserved_flags", frame(b"", 999, flags=1, length=LATER)),
    ("the header", "bad_direction", "reserved_flags", frame(b"", READY, flags=1, length=LATER)),
    ("the header", "reserved_flags", "bad_id", frame(b"", PING, flags=1, id_=1, length=LATER)),
    ("the header", "bad_id", "body_too_long", frame(b"", PING, id_=1, length=LATER)),
    ("`bytes`, `text`", "too_long", "truncated", frame(bytes(8) + number(65), RESUME)),
    ("`bytes`, `text`", "truncated", "embedded_nul", frame(number(2) + b"\0", EXEC, id_=1)),
    ("a list", "too_many", "truncated", arguments(16385, b"")),
    ("a list", "too_long", "total_too_long", arguments(9, FULL + number(131072))),
    ("a list", "truncated", "total_too_long", arguments(9, FULL + number(1))),
    ("a list", "embedded_nul", "total_too_long", arguments(9, FULL + number(1) + b"\0")),
]


@pytest.mark.parametrize(
    ("of", "first", "second", "data"), CASES, ids=lambda value: value if type(value) is str else ""
)
def test_the_first_of_two_is_reported(of: str, first: str, second: str, data: bytes) -> None:
    schema = read_schema(PROTOCOL / "sandboxd.toml")
    with pytest.raises(Malformed) as by_schema:
        list(read(schema, data, "host"))
    decoder = codec.Decoder("host")
    decoder.receive_data(data)
    with pytest.raises(codec.DecodeError) as by_codec:
        decoder.next_message()
    assert by_schema.value.fault.name == by_codec.value.fault.name.lower() == first
    order = documented()[of]
    last = len(order) - 1 - order[::-1].index(second)
    assert order.index(first) < last


def documented() -> dict[str, list[str]]:
    """Return the faults of each check, in the order of the table in the specification."""
    found: dict[str, list[str]] = {}
    of = ""
    text = (PROTOCOL / "SPEC.md").read_text()
    table = text.partition("## Malformed frames")[2].partition("\n## ")[0]
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0] not in ("of", "---"):
            of = of if cells[0] in ("", "each item of a list") else cells[0]
            whole = found["`bytes`, `text`"] if cells[0] == "each item of a list" else []
            found.setdefault(of, []).extend(whole or re.findall(r"\w+", cells[2]))
    return found
