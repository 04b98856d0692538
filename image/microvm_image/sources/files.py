"""The classes that read the files of a stored image, from a folder or from a tar archive."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from microvm.errors import ImageError
from microvm_image.file_range import FileRange
from microvm_image.layer import sha256
from microvm_image.tree import RootfsTree

_JSON_LIMIT = 4 << 20  # maximum size of a manifest in a registry, in bytes (distribution-spec)


class Files(Protocol):
    """The files of an image that a tool such as `docker save` has stored, by name.

    Any of the files may be missing or damaged.
    """

    def has(self, name: str) -> bool:
        """Return True if there is a file of that name."""

    def open(self, name: str, files: ExitStack) -> FileRange:
        """Open a file of the stored image.

        Return the open file, and the range of its bytes that are the content.

        :param files: The exit stack that closes the file. It may also stay open longer.
        :raises ImageError: There is no such file.
        """


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files of an image that a tool such as skopeo has stored in a folder."""

    path: Path

    def has(self, name: str) -> bool:
        """Return True if there is a file of that name."""
        return (self.path / name).is_file()

    def open(self, name: str, files: ExitStack) -> FileRange:
        """Open a file in the folder. The exit stack `files` closes the file."""
        try:
            return FileRange.of(self.path / name, files)
        except OSError as error:
            raise ImageError(f"{self.path}: cannot read {name}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class TarFiles:
    """The files of an image in a tar archive, such as from `docker save`, which is not unpacked."""

    tree: RootfsTree
    name: str

    def has(self, name: str) -> bool:
        """Return True if there is a file of that name."""
        return self.tree.file(name) is not None

    def open(self, name: str, files: ExitStack) -> FileRange:
        """Return the range of the archive's bytes that holds the content of a file."""
        if isinstance(found := self.tree.file(name), FileRange):
            return found
        raise ImageError(f"{self.name}: there is no {name} in it")


def read_json(stored: Files, name: str, digest: str = "") -> Any:
    """Parse a JSON file of a stored image, after checking its `digest`, and return its value.

    :param digest: The SHA-256 that the file must have; "" for any.
    :raises ImageError: The file does not exist, is not JSON, is too long, or has another digest.
    """
    with ExitStack() as files:
        extent = stored.open(name, files)
        if extent.size > _JSON_LIMIT:
            raise ImageError(f"{name}: too long: {extent.size} bytes")
        if digest and (actual := sha256(extent)) != digest:
            raise ImageError(f"{name}: wrong digest: its SHA-256 is {actual}")
        data = b"".join(extent.chunks())
    return parse_json(data, name)


def parse_json(data: bytes, name: str) -> Any:
    """Parse the JSON text from the file `name`, and return its value.

    :raises ImageError: The text is not JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{name}: damaged: {error}") from error
