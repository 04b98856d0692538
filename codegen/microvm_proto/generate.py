"""The files that the backends make of a schema: written, or compared with those on the disk."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from microvm_proto import backends
from microvm_proto.schema import Schema


@dataclass(frozen=True, slots=True)
class Generated:
    """A file as it should be; lines of `text` end in a bare newline."""

    path: Path
    text: str

    def current(self) -> str | None:
        """Return the text that is there, or None when there is none.

        :raises OSError: it cannot be read, or is not a file that could be replaced.
        """
        if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
            raise OSError(errno.EINVAL, "Not a regular file")
        try:
            return self.path.read_bytes().decode()
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def diff(self, root: Path) -> str:
        """Return the unified diff from what is there, empty when it is up to date.

        :raises OSError: what is there cannot be read.
        """
        current = self.current()
        if current == self.text:
            return ""
        name = os.path.relpath(self.path, root)
        old = (current or "").splitlines(keepends=True)
        new = self.text.splitlines(keepends=True)
        return "".join(difflib.unified_diff(old, new, name, f"{name} (generated)"))


def write(files: Iterable[Generated]) -> list[Path]:
    """Bring the files up to date, all of them or none, and return those that were not.

    :raises OSError: one of them cannot be written, its `filename`; all is as it was.
    """
    stale = []
    for file in files:
        with _naming(file.path):
            if file.current() != file.text:
                stale.append(file)
    with contextlib.ExitStack() as always, contextlib.ExitStack() as on_failure:
        staged = []
        for file in stale:
            with _naming(file.path):
                staged.append((_stage(file, on_failure), file.path))
        for temporary, path in staged:
            with _naming(path):
                _back_up(path, temporary.with_name(f"{temporary.name}.old"), always, on_failure)
                temporary.replace(path)
        on_failure.pop_all()
    return [path for _, path in staged]


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Make errors name the file that is meant, not a temporary one in its place."""
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        raise


def _stage(file: Generated, on_failure: contextlib.ExitStack) -> Path:
    """Write the text beside its file and sync it: a full disk may fail as late as that."""
    for folder in reversed([each for each in file.path.parents if not each.exists()]):
        folder.mkdir()
        on_failure.callback(folder.rmdir)
    descriptor, name = tempfile.mkstemp(dir=file.path.parent, prefix=f".{file.path.name}.")
    temporary = Path(name)
    on_failure.callback(temporary.unlink, missing_ok=True)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as text:
        text.write(file.text)
        text.flush()
        os.fchmod(text.fileno(), 0o644)
        os.fsync(text.fileno())
    return temporary


def _back_up(
    path: Path, kept: Path, always: contextlib.ExitStack, on_failure: contextlib.ExitStack
) -> None:
    """Arrange that what is at the path, if anything is, comes back on failure."""
    if not os.path.lexists(path):
        on_failure.callback(path.unlink, missing_ok=True)
        return
    always.callback(kept.unlink, missing_ok=True)
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:  # such as on file systems without links
        shutil.copy2(path, kept, follow_symlinks=False)
    on_failure.callback(kept.replace, path)


def generate(schema: Schema) -> list[Generated]:
    """Run the backends of all `[[output]]` tables of the schema."""
    return [
        Generated(output.path.parent / name, text)
        for output in schema.outputs
        for name, text in backends.find(output.backend)(schema, output).items()
    ]
