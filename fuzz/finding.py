"""What a fuzzer has found: shown frame by frame, and kept as a file that every rung replays."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import click

from microvm_proto.explain import BrokenStream, explain
from microvm_proto.resolve import read_schema

ROOT = Path(__file__).resolve().parents[1]
CORPUS = Path(__file__).parent / "corpus"
SCHEMA = ROOT / "protocol/sandboxd.toml"


def keep(data: bytes, what: str) -> Path:
    """Write bytes that a daemon should be sent again into the corpus, named after what they do."""
    words = re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")[:60].strip("-")
    path = CORPUS / f"{words}-{hashlib.sha256(data).hexdigest()[:8]}.bin"
    path.write_bytes(data)
    return path


def describe(data: bytes) -> str:
    """Explain a host's bytes as `microvm-proto explain` does, as far as they are frames."""
    lines = []
    try:
        for line in explain(read_schema(SCHEMA), data, "host"):
            lines.append(line)
    except BrokenStream as error:
        lines.append(str(error))
    return click.unstyle("\n".join(lines))
