"""The classes for files, folders and links in the root file system of an image."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

Way = tuple["Way", str] | None
"""A path, as the path of its parent folder and a name; None for the root. It takes less memory than
a text of up to 4 KiB."""


def joined(way: Way) -> str:
    """Convert a path to text, with slashes between the names."""
    names: list[str] = []
    while way is not None:
        way, name = way
        names.append(name)
    return "/".join(reversed(names))


class FileData(Protocol):
    """The content of a file in an image. It is read when it is needed."""

    @property
    def size(self) -> int:
        """Size of the content in bytes."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the content in chunks of limited size.

        :raises ImageError: The content is shorter than before.
        """


@dataclass(frozen=True, slots=True)
class BytesData:
    """The content of a file of an image, as bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """Size of the content in bytes."""
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        """Yield the content as one chunk."""
        yield self.data


@dataclass(slots=True, eq=False)
class FileNode:
    """A file, symbolic link, device or folder of an image, without its name.

    All hard links to a file share one object.

    Texts are decoded as by `os.fsdecode`, because names in Linux are bytes without an encoding.

    :ivar mode: The type and the permissions, as in `stat.st_mode`.
    :ivar mtime: The time of the last modification, in seconds since 1970.
    :ivar device: The major and the minor number of a device.
    :ivar target: The target of a symbolic link.
    :ivar xattrs: The names and values of extended attributes, sorted by name.
    :ivar data: The content of a file.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    device: tuple[int, int] = (0, 0)
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    data: FileData | None = None

    @property
    def is_device(self) -> bool:
        """True if the file is a device."""
        return stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode)

    @property
    def size(self) -> int:
        """Size of the content of a file in bytes; 0 for links, devices and folders."""
        return self.data.size if self.data else 0


@dataclass(slots=True, eq=False)
class Folder(FileNode):
    """A folder in the root file system of an image.

    :ivar children: The files and folders in this folder, by name.
    """

    children: dict[str, FileNode] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HardLink:
    """A hard link: another name of a file in the same image.

    :ivar target: The path of that file, from the root.
    """

    target: str
