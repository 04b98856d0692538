"""Helpers that return the output of a backend, without an output in the schema."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping
from pathlib import Path

from microvm_proto import backends
from microvm_proto.schema import Output, Schema


def emitted(backend: str, schema: Schema, file: str, style: str = "") -> Mapping[str, str]:
    """Return the text of each file that a backend writes for an output of this name."""
    path = Path(file)
    return backends.find(backend)(schema, Output(backend, path, path.stem, style))


def compiled(schema: Schema, folder: Path, optimization: str) -> list[ctypes.CDLL]:
    """Compile the shim with the `protocol.h` of each style of C, and load the libraries."""
    libraries = []
    for style in backends.styles("c"):
        (folder / "protocol.h").write_text(*emitted("c", schema, "protocol.h", style).values())
        libraries.append(library(folder, f"{style}.so", optimization))
    return libraries


def library(folder: Path, name: str, optimization: str) -> ctypes.CDLL:
    """Compile the shim in a folder and load it. Undefined behaviour aborts this process."""
    flags = "-std=c11 -g -Wall -Wextra -Werror -shared -fPIC".split()
    flags += [optimization, "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    subprocess.run(["gcc", *flags, "-o", name, "shim.c"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / name))
