"""The files of a root file system, as layers have them and trees keep them."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol


class FileData(Protocol):
    """The content of a file, which stays where it is until it is asked for."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the content in parts of bounded size.

        :raises ImageError: it is not as long as it was.
        """


@dataclass(frozen=True, slots=True)
class BytesData:
    """A content that is in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        """Yield the content."""
        yield self.data


@dataclass(slots=True, eq=False)
class FileNode:
    """A file, link, device or folder without its name; hard links are names of the same one.

    Texts are decoded as `os.fsdecode` does it, since Linux gives names no encoding.

    :ivar mode: type and permissions, as in `stat.st_mode`.
    :ivar mtime: in seconds since the epoch.
    :ivar device: the numbers of a device, major and minor.
    :ivar target: what a symbolic link says.
    :ivar xattrs: extended attributes, name and value, sorted by name.
    :ivar data: the content of a file.
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
        """Whether it is a device."""
        return stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode)

    @property
    def size(self) -> int:
        """The bytes of a file; 0 of all else."""
        return self.data.size if self.data else 0


@dataclass(slots=True, eq=False)
class Folder(FileNode):
    """A folder.

    :ivar children: what is in it, by name.
    """

    children: dict[str, FileNode] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HardLink:
    """Another name of a file that is there already.

    :ivar target: the path of that file, from the root.
    """

    target: str
