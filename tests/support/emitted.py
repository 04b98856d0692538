"""What a backend writes, without a file of its own in the schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from microvm_proto import backends
from microvm_proto.schema import Output, Schema


def emitted(backend: str, schema: Schema, file: str, style: str = "") -> Mapping[str, str]:
    """Return the text of each file that the backend writes for an output of this name."""
    path = Path(file)
    return backends.find(backend)(schema, Output(backend, path, path.stem, style))
