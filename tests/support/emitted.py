"""What a backend writes, without a file of its own in the schema."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from microvm_proto import backends
from microvm_proto.schema import Output, Schema


def emitted(backend: str, schema: Schema, file: str, style: str = "") -> Mapping[str, str]:
    """Return the text of each file that the backend writes for an output of this name."""
    path = Path(file)
    return backends.find(backend)(schema, Output(backend, path, path.stem, style))


def compiled(schema: Schema, folder: Path, flags: Sequence[str]) -> list[Path]:
    """Compile the shim in a folder with a `protocol.h` of each style of C, to a library each."""
    libraries = []
    for style in backends.styles("c"):
        (folder / "protocol.h").write_text(*emitted("c", schema, "protocol.h", style).values())
        libraries.append(folder / f"{style}.so")
        command = ["gcc", *flags, "-o", libraries[-1].name, "shim.c"]
        subprocess.run(command, cwd=folder, check=True)
    return libraries
