"""The limits of what a guest sends as files."""

from __future__ import annotations

from dataclasses import dataclass, field
from errno import EFBIG

from microvm.errors import FileError
from microvm.wire.files import Data, Entry, Whole

# The bytes that the names and targets of links may have together: for each file that may come, and
# beside that for a few long ones.
_NAME = 100
_LONG_NAMES = 1 << 20


@dataclass(slots=True)
class TransferLimits:
    """The limits of one transfer out of a guest, less what has come.

    :ivar size: in bytes.
    :ivar files: how many files, folders and links.
    :ivar names: the bytes of their names and of what links lead to, which are held in memory.
    """

    size: int
    files: int
    names: int = field(init=False)

    def __post_init__(self) -> None:
        self.names = _LONG_NAMES + _NAME * self.files

    def take(self, path: str, message: Entry | Data | Whole) -> None:
        """Count what has come.

        :param path: what it is about, in the guest.
        :raises FileError: it is too much.
        """
        match message:
            case Data():
                self.count(path, size=len(message.data))
            case Entry():
                self.count(path, names=len(message.name) + len(message.target), files=1)

    def count(self, path: str, *, size: int = 0, files: int = 0, names: int = 0) -> None:
        """Count so many bytes, files, and bytes of names; else as `take`."""
        self.size -= size
        self.files -= files
        self.names -= names
        if self.size < 0:
            raise _too_much(path, "max_size sets that limit")
        if self.files < 0:
            raise _too_much(path, "max_files sets that limit")
        if self.names < 0:
            raise _too_much(path, f"max_files sets that limit: {_NAME} bytes of names for each")


def _too_much(path: str, hint: str) -> FileError:
    return FileError(EFBIG, path, f"{path}: there is more of it than may come", hint=hint)
