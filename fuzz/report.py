"""The report of a failure: an error, an explanation of its frames, and a file in the corpus."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

from microvm.wire import codec
from microvm_proto.explain import BrokenStream, explain
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from .frames import FrameReader

CORPUS = Path(__file__).parent / "corpus"

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "protocol/sandboxd.toml"

_MOST = 200  # maximum number of lines of a report that are shown of its start, and of its end


def corpus() -> list[Path]:
    """Return the files of the corpus, whose inputs caused failures or reach rare code."""
    return sorted(CORPUS.glob("*.bin"))


def keep(data: bytes, what: str, folder: Path | None = None, suffix: str = ".bin") -> Path:
    """Write the input of a failure to the corpus, and return the path."""
    words = re.sub(r"[^a-z]+", "-", what.lower()).strip("-") or "failure"
    path = (folder or CORPUS) / f"{words}-{hashlib.sha256(data).hexdigest()[:8]}{suffix}"
    path.write_bytes(data)
    return path


def explained(data: bytes, sender: str = "host") -> str:
    """Return an explanation of the frames in the bytes of one side.

    The bytes of a host are split into frames in the same way as the daemon splits them.
    """
    lines = list(_lines(data) if sender == "host" else _frame(1, data, sender))
    if len(lines) > 2 * _MOST:
        left = len(lines) - 2 * _MOST
        lines = [*lines[:_MOST], f"... {left} lines ...", *lines[-_MOST:]]
    return "\n".join(lines)


def _lines(data: bytes) -> Iterator[str]:
    reader = FrameReader()
    events = [(event.data, event.dropped) for event in reader.feed(data)]
    number, before = 1, 0
    for (frame, dropped), alike in groupby([*events, (reader.rest, reader.dropped)]):
        if dropped > before:
            yield f"({dropped - before} bytes dropped)"
        before = dropped
        yield from _frame(number, frame)
        count = len([*alike])
        if count > 1:
            yield f"(and {count - 1} more of the same)"
        number += count


def _frame(number: int, data: bytes, sender: str = "host") -> Iterator[str]:
    try:
        for line in explain(schema(), [data], sender):
            yield line.replace("frame 1, at 0", f"frame {number}", 1)
    except BrokenStream as error:
        yield f"          {str(error).replace('frame 1', 'it', 1)}"


@cache
def schema() -> Schema:
    """Return the schema that the codecs are generated from."""
    schema = read_schema(SCHEMA)
    assert schema.version == codec.VERSION
    return schema


class Disagreement(AssertionError):
    """A host, guest or decoder did not behave as its model requires.

    :ivar what: Short description of the problem, without numbers, so that it names one kind of
        failure.
    """

    def __init__(self, what: str, detail: object = "") -> None:
        super().__init__(f"{what}: {detail}")
        self.what = what


def agree(right: bool, what: str, detail: object = "") -> None:
    if not right:
        raise Disagreement(what, detail)


def kind_of(error: BaseException) -> str:
    """Return the kind of a failure, which also names its file in the corpus."""
    return getattr(error, "what", type(error).__name__)
