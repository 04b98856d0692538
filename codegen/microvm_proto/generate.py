"""Writes what the backends make of a schema, or compares it with what is there."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from microvm_proto import backends
from microvm_proto.schema import Schema


@dataclass(frozen=True, slots=True)
class Generated:
    """One file as it should be; lines of `text` end in a bare newline."""

    path: Path
    text: str

    def current(self) -> str | None:
        """What is there, or None when nothing is.

        :raises OSError: it cannot be read, or is not a file that could be replaced.
        """
        if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
            raise OSError(errno.EINVAL, "Not a regular file")
        try:
            return self.path.read_bytes().decode()
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def diff(self, root: Path) -> str:
        """The unified diff from what is there; empty when it is right.

        :raises OSError: what is there cannot be read.
        """
        name = os.path.relpath(self.path, root)
        old = (self.current() or "").splitlines(keepends=True)
        new = self.text.splitlines(keepends=True)
        return "".join(difflib.unified_diff(old, new, name, f"{name} (generated)"))

    def write(self) -> bool:
        """Bring the file up to date, whole or not at all; False when it is already.

        :raises OSError: it cannot be written.
        """
        if self.current() == self.text:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(self.text)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(self.path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
        return True


def generate(schema: Schema) -> list[Generated]:
    """Everything that the schema's `[[output]]` tables ask for."""
    return [
        Generated(output.path.parent / name, text)
        for output in schema.outputs
        for name, text in backends.find(output.backend)(schema, output.path.name).items()
    ]
