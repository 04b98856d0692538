"""Generates files from a schema, writes them, and finds those that are not up to date."""

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
    """Path and text of a generated file. The file on the disk may differ, or not exist."""

    path: Path
    text: str

    def current(self) -> str | None:
        """Return the text of the file on the disk; None if it does not exist, or is not UTF-8."""
        if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
            raise OSError(errno.EINVAL, "Not a regular file")
        try:
            return self.path.read_bytes().decode()
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def diff(self, root: Path) -> str:
        """Return a diff from the file on the disk to the generated text, with paths below `root`.

        The result is empty if the file is up to date.
        """
        current = self.current()
        if current == self.text:
            return ""
        name = os.path.relpath(self.path, root)
        old = (current or "").splitlines(keepends=True)
        new = self.text.splitlines(keepends=True)
        return "".join(difflib.unified_diff(old, new, name, f"{name} (generated)"))


def write(files: Iterable[Generated]) -> list[Path]:
    """Write the files that are not up to date, and return their paths.

    Either all are written or none.

    :raises OSError: Raised if a file, which the error names, cannot be written. All files are then
        unchanged.
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
    """Context manager that makes an `OSError` name `path`, and not the path of a temporary file."""
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        raise


def _stage(file: Generated, on_failure: contextlib.ExitStack) -> Path:
    """Write a generated text to a temporary file in the folder of the final file; return its path.

    The temporary file is synced to the disk, because some file systems report a full disk only
    then. If writing any file fails, `on_failure` removes the temporary file.
    """
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
    """Copy `path` to `kept`, and add a callback to each of two exit stacks.

    The callback of `always` removes the copy. The callback of `on_failure` restores the file from
    the copy, or removes the new file if no file existed at `path`.
    """
    if not os.path.lexists(path):
        on_failure.callback(path.unlink, missing_ok=True)
        return
    always.callback(kept.unlink, missing_ok=True)
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:  # such as a file system without hard links
        shutil.copy2(path, kept, follow_symlinks=False)
    on_failure.callback(kept.replace, path)


def generate(schema: Schema) -> list[Generated]:
    """Run the backend of each `[[output]]` table in the schema, and return the generated files."""
    return [
        Generated(output.path.parent / name, text)
        for output in schema.outputs
        for name, text in backends.find(output.backend)(schema, output).items()
    ]
